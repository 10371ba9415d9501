//! The man page: the parts of it that come from the help.

use std::io;

use clap::Args as _;
use tbtoken_proto::man::{self, Roff, item};

use crate::args::{EXIT_CODES, NAME, Options};
use crate::render::help::{self, Entry};

/// Makes tbtui(1), in roff.
///
/// # Errors
/// Those of the generator.
pub(crate) fn page() -> io::Result<Vec<u8>> {
    // The command for packagers is left out.
    let command = Options::augment_args(clap::Command::new(NAME).version(env!("CARGO_PKG_VERSION")));
    let mut codes = Roff::new();
    for (code, meaning) in EXIT_CODES {
        item(&mut codes, &code.to_string(), meaning);
    }
    let parts =
        [("@KEYS@", entries(help::KEYS)), ("@WORDS@", entries(help::WORDS)), ("@EXIT STATUS@", codes)];
    man::page(&command, include_str!("../../packaging/man/tbtui.1"), &parts)
}

fn entries(entries: &[Entry]) -> Roff {
    let mut page = Roff::new();
    for entry in entries {
        match entry {
            Entry::Heading(heading) => {
                page.control("SS", [*heading]);
            }
            Entry::Key(key, does) => item(&mut page, key, does),
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_man_page_has_every_section_and_key() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        assert!(!page.contains("\n@"), "an unreplaced placeholder:\n{page}");
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
