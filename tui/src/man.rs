//! The man page, made from the command line and the help, so that it cannot grow stale.

use std::io;

use clap::{Args as _, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args::{Args, EXIT_CODES, NAME, Options, WITHOUT_DAEMON};
use crate::render::help::{self, Entry};

/// tbtui(1), in roff.
///
/// # Errors
/// `out` does not take it.
pub(crate) fn write(out: &mut impl io::Write) -> io::Result<()> {
    // Without what stands after the help, which has sections of its own here, and without the command for packagers.
    let told = Args::command();
    let command = Options::augment_args(clap::Command::new(NAME).version(env!("CARGO_PKG_VERSION")));
    // After the options, whose own description would take its place.
    let man = Man::new(command.about(told.get_about().cloned().unwrap_or_default()))
        .title("TBTUI")
        .manual("tbtoken")
        .source(concat!("tbtoken ", env!("CARGO_PKG_VERSION")));
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    let mut more = Roff::new();
    more.control("PP", []).text([roman(WITHOUT_DAEMON)]);
    more.to_writer(out)?;
    man.render_options_section(out)?;

    let mut more = Roff::new();
    more.control("SH", ["KEYS"]);
    entries(&mut more, help::KEYS);
    more.control("SH", ["THE WORDS ON THE SCREEN"]);
    entries(&mut more, help::WORDS);
    more.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        item(&mut more, &code.to_string(), meaning);
    }
    more.control("SH", ["ENVIRONMENT"]);
    item(&mut more, "TBTOKEND_SOCKET", "the daemon's socket, where --socket does not say");
    item(&mut more, "NO_COLOR", "no colours, unless it is empty");
    item(&mut more, "LC_ALL, LC_CTYPE, LANG", "the first that is set says whether the terminal knows UTF-8");
    item(&mut more, "TERM", "linux: drawn with ASCII characters; dumb: refused");
    more.control("SH", ["SEE ALSO"]);
    more.text([bold("tbctl"), roman("(1), "), bold("tbtokend"), roman("(8)")]);
    more.to_writer(out)
}

fn entries(roff: &mut Roff, entries: &[Entry]) {
    for entry in entries {
        match entry {
            Entry::Heading(heading) => {
                roff.control("SS", [*heading]);
            }
            Entry::Key(key, does) => item(roff, key, does),
        }
    }
}

fn item(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []).text([bold(name)]).text([roman(meaning)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_man_page_has_all_that_a_reader_looks_for() {
        let mut page = Vec::new();
        write(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for section in
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "KEYS", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"]
        {
            assert!(
                page.contains(&format!(".SH {section}\n")) || page.contains(&format!(".SH \"{section}\"\n")),
                "{section} in\n{page}"
            );
        }
        assert!(!page.contains("subcommand"), "{page}");
        for word in ["socket", "ascii", "Ctrl", "start or stop the loop", "expiring soon"] {
            assert!(page.contains(word), "{word} in\n{page}");
        }
    }
}
