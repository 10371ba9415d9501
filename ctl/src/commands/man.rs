//! `man`: the manual page, made from the definition of the command line and of the exit codes, so that it cannot say
//! anything else. A package makes its page with `tbctl man > tbctl.1`.

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use tbtoken_proto::{DEFAULT_SOCKET, SOCKET_VARIABLE};

use crate::args::Args;
use crate::error::Error;
use crate::exit;
use crate::output::Report;

/// When the text was last worked on. A date of the build would make every build another one.
const DATE: &str = "2026-11-25";

const ABOUT: &str = "asks and steers tbtokend";

/// The page.
pub(super) fn run() -> Result<Report, Error> {
    let page = page().map_err(Error::Output)?;
    Ok(Report { data: String::from_utf8_lossy(&page).into_owned(), ..Report::default() })
}

fn page() -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let command = Args::command().about(ABOUT).after_help("").subcommand_value_name("command");
    let source = concat!("tbtoken ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title("TBCTL").date(DATE).manual("tbtoken").source(source);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    description().to_writer(&mut page)?;
    commands(&command, &mut page)?;
    man.render_options_section(&mut page)?;
    rest().to_writer(&mut page)?;
    Ok(page)
}

fn section(roff: &mut Roff, name: &str) {
    roff.control("SH", [name]);
}

fn paragraph(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    roff.text([roman(text)]);
}

/// A term, and below it what it means.
fn term(roff: &mut Roff, term: impl Into<Vec<Inline>>, meaning: &str) {
    roff.control("TP", []);
    roff.text(term);
    roff.text([roman(meaning)]);
}

fn description() -> Roff {
    let mut roff = Roff::new();
    section(&mut roff, "DESCRIPTION");
    roff.text([roman(
        "tbctl asks and steers tbtokend, which keeps the ThingsBoard tokens of all customers fresh. Without a \
         command it shows the status.",
    )]);
    paragraph(
        &mut roff,
        "A customer is named by its id, by the beginning of its id (four characters or more, if that fits only one; \
         the letters of a GUID count the same in either case), or by its ThingsBoard user. A whole id is never taken for \
         the beginning of another one, even if its row cannot be renewed; the error then says why.",
    );
    paragraph(
        &mut roff,
        "Data goes to standard output, everything else to standard error. On a terminal tables are fitted to it; in \
         a pipe they are plain text whose columns are at least two spaces apart. Control characters in what servers \
         and the table say are replaced.",
    );
    roff
}

/// Each command with its own options.
fn commands(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let mut roff = Roff::new();
    section(&mut roff, "COMMANDS");
    roff.to_writer(page)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let mut heading = format!("tbctl {}", sub.get_name());
        for argument in sub.get_positionals() {
            let name =
                argument.get_value_names().unwrap_or_default().first().map_or("", |name| name.as_str());
            let many = argument.get_num_args().is_some_and(|many| many.max_values() > 1)
                || matches!(argument.get_action(), clap::ArgAction::Append);
            let (open, close) = if argument.is_required_set() { ("", "") } else { ("[", "]") };
            heading.push_str(&format!(" {open}{name}{}{close}", if many { "…" } else { "" }));
        }
        let mut roff = Roff::new();
        roff.control("SS", [heading.as_str()]);
        let about = sub.get_long_about().or_else(|| sub.get_about()).map(ToString::to_string);
        roff.text([roman(format!("{}.", about.unwrap_or_default().trim_end_matches('.')))]);
        roff.to_writer(page)?;
        page.extend(options(sub)?);
        if let Some(help) = sub.get_after_help() {
            after(&help.to_string()).to_writer(page)?;
        }
    }
    Ok(())
}

/// The options of a command as the generator writes them, without its heading and without the help that all have.
fn options(sub: &Command) -> std::io::Result<Vec<u8>> {
    let mut section = Vec::new();
    let sub = sub.clone().disable_help_flag(true);
    Man::new(sub).render_options_section(&mut section)?;
    let text = String::from_utf8_lossy(&section);
    let lines = text.lines().filter(|line| !line.starts_with(".SH"));
    Ok(lines.flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect())
}

/// What stands below the options: paragraphs, or lines that are to stay as they are.
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

fn rest() -> Roff {
    let mut roff = Roff::new();
    section(&mut roff, "EXIT STATUS");
    for (code, meaning) in exit::MEANINGS {
        term(&mut roff, [bold(code.to_string())], meaning);
    }
    paragraph(
        &mut roff,
        "tbctl check has the codes of a monitoring plugin instead: 0 OK, 1 WARNING, 2 CRITICAL (the daemon cannot be \
         reached, too), 3 UNKNOWN (wrong arguments, too).",
    );
    section(&mut roff, "ENVIRONMENT");
    term(&mut roff, [bold(SOCKET_VARIABLE)], "The daemon's socket, unless --socket names one.");
    term(
        &mut roff,
        [bold("NO_COLOR")],
        "If it is set and not empty, there is no colour unless --color asks for it.",
    );
    section(&mut roff, "FILES");
    term(
        &mut roff,
        [italic(DEFAULT_SOCKET)],
        "The control socket of tbtokend, unless another one is named. Who may use it is the configuration's to say \
         (control.mode, control.group).",
    );
    term(
        &mut roff,
        [italic("/etc/tbtokend/config.toml")],
        "The daemon's configuration; tbctl does not read it.",
    );
    section(&mut roff, "EXAMPLES");
    for (command, meaning) in EXAMPLES {
        term(&mut roff, [bold(command)], meaning);
    }
    section(&mut roff, "SEE ALSO");
    roff.text([
        bold("tbtui"),
        roman("(1), "),
        bold("tbtokend"),
        roman("(8), "),
        bold("journalctl"),
        roman("(1)"),
    ]);
    roff
}

/// What people do with it.
const EXAMPLES: [(&str, &str); 10] = [
    ("tbctl", "Is everyone fine? Whoever is not comes first."),
    ("tbctl show 8f1c", "Why is this one not, what happens next, and what can be done?"),
    ("tbctl status --problems --watch", "A line for each change of a customer in trouble, until Ctrl-C."),
    ("tbctl refresh ops@acme.example", "Renews this customer now, even if it is parked."),
    ("tbctl events --since 1h", "What happened in the last hour, as far back as the daemon remembers."),
    ("tbctl events -f 8f1c", "What happens to this customer, as it happens."),
    (
        "tbctl refresh --all && tbctl wait --timeout 5m",
        "Renews everyone and waits until all have a valid token.",
    ),
    ("tbctl check --warning 0 --critical 10%", "For the monitoring: any customer in trouble is a warning."),
    (
        "tbctl status | awk -F '  +' '$1 == \"expired\" {print $2}'",
        "The ids of the customers whose token has ended.",
    ),
    (
        "tbctl --json status | jq -r '.tokens.customers[] | select(.state == \"parked\").customer_id'",
        "The ids of the parked ones.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_code_is_on_the_page() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for sub in Args::command().get_subcommands() {
            let heading = format!(".SS \"tbctl {}", sub.get_name());
            assert_eq!(page.contains(&heading), !sub.is_hide_set(), "{heading}");
        }
        for (code, _) in exit::MEANINGS {
            assert!(page.contains(&format!("\\fB{code}\\fR")), "{code}");
        }
        for name in ["EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"] {
            assert!(
                page.contains(&format!(".SH \"{name}\"")) || page.contains(&format!(".SH {name}")),
                "{name}"
            );
        }
    }
}
