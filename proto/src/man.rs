//! The man pages of the programs. The fixed text is roff in `packaging/man/`; generated parts replace lines such as
//! `@OPTIONS@` there, so that they never disagree with the program.

use std::io::{self, Write as _};

use clap::Command;
use clap_mangen::Man;
pub use clap_mangen::roff::Roff;
use clap_mangen::roff::{bold, roman};

/// Makes the page of a program from `text`. `parts` are its own placeholder lines, each with its replacement.
///
/// # Errors
/// Never: it writes to memory.
pub fn page(command: &Command, text: &str, parts: &[(&str, Roff)]) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone().subcommand_value_name("command"));
    let mut page = Vec::new();
    for line in text.replace("@VERSION@", env!("CARGO_PKG_VERSION")).lines() {
        match line {
            "@SYNOPSIS@" => man.render_synopsis_section(&mut page)?,
            "@OPTIONS@" => man.render_options_section(&mut page)?,
            "@COMMANDS@" => commands(command.get_name(), command, &mut page)?,
            line => match parts.iter().find(|(name, _)| *name == line) {
                Some((_, part)) => part.to_writer(&mut page)?,
                None => writeln!(page, "{line}")?,
            },
        }
    }
    // What clap_mangen writes and mandoc warns of: spaces at the end of a line, and line breaks around an empty one.
    let page = String::from_utf8_lossy(&page).replace("\n.br\n\n.br\n", "\n.sp\n");
    Ok(page.lines().flat_map(|line| [line.trim_end(), "\n"]).collect::<String>().into_bytes())
}

/// Adds a term and its meaning to a page.
pub fn item(page: &mut Roff, term: &str, meaning: &str) {
    page.control("TP", []).text([bold(term)]).text([roman(meaning)]);
}

/// Writes each command of `program` with its own options, and its subcommands.
fn commands(program: &str, command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let about = sub.get_long_about().or_else(|| sub.get_about()).map(ToString::to_string);
        let mut roff = Roff::new();
        roff.control("SS", [heading(program, sub).as_str()]);
        roff.text([roman(format!("{}.", about.unwrap_or_default().trim_end_matches('.')))]);
        roff.to_writer(page)?;
        options(sub, page)?;
        if let Some(help) = sub.get_after_help() {
            after(&help.to_string()).to_writer(page)?;
        }
        commands(&format!("{program} {}", sub.get_name()), sub, page)?;
    }
    Ok(())
}

/// Returns the command line of a command without its options.
fn heading(program: &str, sub: &Command) -> String {
    let usage = sub.clone().bin_name(format!("{program} {}", sub.get_name())).render_usage().to_string();
    usage.trim_start_matches("Usage: ").replace(" [OPTIONS]", "")
}

/// Writes the options of a command as clap_mangen does, without the heading and the `--help` of every command.
fn options(sub: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut section = Vec::new();
    Man::new(sub.clone().disable_help_flag(true)).render_options_section(&mut section)?;
    let text = String::from_utf8_lossy(&section);
    text.lines().filter(|line| !line.starts_with(".SH")).try_for_each(|line| writeln!(page, "{line}"))
}

/// Converts the help after the options: paragraphs are filled, tables keep their lines.
fn after(help: &str) -> Roff {
    let mut roff = Roff::new();
    for piece in help.split("\n\n") {
        roff.control("PP", []);
        if piece.contains("   ") {
            roff.control("nf", []);
            for line in piece.lines() {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
        } else {
            roff.text([roman(piece.replace('\n', " "))]);
        }
    }
    roff
}
