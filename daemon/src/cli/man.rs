//! tbtokend(8) and tbtokend.toml(5), made from the command line, the kinds of events and the file of the defaults, so
//! that they cannot grow stale.

use std::io::{self, Write};

use clap::{Args as _, CommandFactory, ValueEnum};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{Args, Options};
use crate::config::{DEFAULT_FILE, DEFAULTS, is_taken_over};
use crate::model::{NoticeKind, Priority};

/// A man page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// The daemon.
    #[value(name = "tbtokend.8")]
    Daemon,
    /// Its configuration.
    #[value(name = "tbtokend.toml.5")]
    Configuration,
}

/// Writes a page, in roff.
///
/// # Errors
/// `out` does not take it.
pub fn write(page: Page, out: &mut impl Write) -> io::Result<()> {
    match page {
        Page::Daemon => daemon(out),
        Page::Configuration => configuration(out),
    }
}

const SIGNALS: [(&str, &str); 2] = [
    ("SIGTERM, SIGINT", "End within 5 seconds: no login is begun, and a token that was obtained is saved."),
    (
        "SIGHUP",
        "Read the configuration again. The log says what was taken over (the schedule, the level of the log, the limits) and what counts only after a restart. A file with an error is refused, and the old settings stay.",
    ),
];

const EXIT_CODES: [(&str, &str); 4] = [
    (
        "0",
        "It ended as it was asked to. doctor: there is nothing to do. schema: printed. --check-config: the configuration can be used.",
    ),
    (
        "1",
        "It could not start: the socket has another owner, for example; systemd tries again every 10 seconds. doctor: it has warnings or errors to tell, or could not look. schema: standard output does not take what is printed.",
    ),
    ("2", "The command line is wrong. systemd does not try again."),
    (
        "6",
        "The configuration cannot be used, or may not be read; also with doctor, schema and --check-config. systemd does not try again.",
    ),
];

const FILES: [(&str, &str); 5] = [
    (DEFAULT_FILE, "The configuration, see tbtokend.toml(5)."),
    (
        "/etc/tbtokend/mssql-password",
        "The password of the database, readable for root alone; the unit hands it over as the credential mssql-password.",
    ),
    (
        "/run/tbtokend/control.sock",
        "The socket for tbctl(1) and tbtui(1); members of the group tbtokend may use it.",
    ),
    (
        "/var/lib/tbtokend",
        "The SQLite file, if there is no SQL Server; else ledger.db, if the server has no table for it. The daemon's working folder.",
    ),
    ("/usr/lib/systemd/catalog/tbtokend.catalog", "What each event means and what to do, for journalctl -x."),
];

const ENVIRONMENT: [(&str, &str); 6] = [
    ("MSSQL_SERVER, MSSQL_DATABASE, MSSQL_USER, MSSQL_PASSWORD", "The database, over the file."),
    ("THINGSBOARD_URL", "thingsboard.fallback_url, over the file."),
    ("RUST_LOG", "log.level, over the file."),
    (
        "CREDENTIALS_DIRECTORY",
        "Where systemd puts the credential mssql-password, which stands in for store.password_file.",
    ),
    (
        "STATE_DIRECTORY, XDG_STATE_HOME, HOME",
        "Where ledger.db is, if SQL Server has no table for it: in the first, else in tbtokend of the second, else in .local/state/tbtokend of the third.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS, JOURNAL_STREAM",
        "systemd's own; they say how to report readiness, status and signs of life, which sockets are there already, and whether stderr is the journal.",
    ),
];

const FIELDS: [(&str, &str); 7] = [
    ("MESSAGE_ID", "The kind of event, see EVENTS."),
    ("TBTOKEND_CUSTOMER", "customer_id."),
    ("TBTOKEND_URL", "The ThingsBoard server."),
    ("TBTOKEND_KIND", "The kind of failure: credentials_rejected, timeout, unreachable and so on."),
    ("TBTOKEND_ATTEMPT", "Failures in a row."),
    ("TBTOKEND_NEXT_AT", "When it is tried again, if it is tried again by itself."),
    ("TBTOKEND_LATENCY_MS", "How long the server took to give a token."),
];

fn daemon(out: &mut impl Write) -> io::Result<()> {
    // The page is about serving; the commands for packagers are not in it.
    let about = Args::command().get_about().cloned().unwrap_or_default();
    let command = clap::Command::new("tbtokend").version(env!("CARGO_PKG_VERSION"));
    let command = Options::augment_args(command).about(about);
    let man = Man::new(command).section("8").manual("System administration");
    man.render_title(out)?;
    man.render_name_section(out)?;

    let mut page = Roff::new();
    page.control("SH", ["SYNOPSIS"]);
    for (number, line) in synopsis().into_iter().enumerate() {
        if number > 0 {
            page.control("br", []);
        }
        page.text([bold("tbtokend"), roman(line)]);
    }
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "tbtokend polls a database table with one row per customer, gets a new ThingsBoard token for those whose token ends soon, and writes it back for applications to read. A customer whose password is rejected is parked. Each password is charged to its account before it is sent, and at most thingsboard.wrong_password_budget charges are open, so that no sequence of faults locks an account.",
    )]);
    paragraph(
        &mut page,
        "It is steered with tbctl(1) and watched with tbtui(1). It logs to the journal, with a text for each kind of event in journalctl -x, and systemctl status tells in one sentence how all customers stand.",
    );
    page.to_writer(out)?;
    man.render_options_section(out)?;

    let mut page = Roff::new();
    commands(&mut page);
    section(&mut page, "SIGNALS", &SIGNALS);
    section(&mut page, "EXIT STATUS", &EXIT_CODES);
    section(&mut page, "FILES", &FILES);
    section(&mut page, "ENVIRONMENT", &ENVIRONMENT);
    section(&mut page, "FIELDS IN THE JOURNAL", &FIELDS);
    page.control("SH", ["EVENTS"]);
    page.text([roman("For journalctl MESSAGE_ID=ID; journalctl -x explains each.")]);
    for kind in NoticeKind::all() {
        let text = format!("{}, {}", kind.name(), priority(kind.priority()));
        item(&mut page, kind.message_id(), &text);
    }
    see_also(&mut page, &["tbctl(1)", "tbtui(1)", "tbtokend.toml(5)", "systemctl(1)", "journalctl(1)"]);
    page.to_writer(out)
}

/// What the program can do besides serving, each with its options.
fn commands(page: &mut Roff) {
    page.control("SH", ["COMMANDS"]);
    page.text([roman(
        "The options --config, --socket and --log-level are for them as well, before or behind the command.",
    )]);
    let command = Args::command();
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        item(page, command.get_name(), &format!("{about}."));
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            let Some(long) = option.get_long().filter(|long| *long != "help") else { continue };
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            page.control("br", []);
            page.text([
                bold(format!("--{long}")),
                roman(format!("{}: {help}{}.", value(option), choices(option))),
            ]);
        }
    }
}

/// How the program is called, without its name: to serve, and each command.
fn synopsis() -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut global = String::new();
    for option in Options::augment_args(clap::Command::new("")).get_arguments() {
        if let Some(long) = option.get_long() {
            let text = format!(" [--{long}{}]", value(option));
            if option.is_global_set() {
                global.push_str(&text);
            }
            lines[0].push_str(&text);
        }
    }
    for command in Args::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let mut line = format!(" {}{global}", command.get_name());
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            let Some(long) = option.get_long().filter(|long| *long != "help") else { continue };
            let value = value(option);
            line.push_str(&match option.is_required_set() {
                true => format!(" --{long}{value}"),
                false => format!(" [--{long}{value}]"),
            });
        }
        lines.push(line);
    }
    lines
}

/// ` NAME` for an option with a value.
fn value(option: &clap::Arg) -> String {
    let names = option.get_value_names().filter(|_| option.get_action().takes_values()).into_iter().flatten();
    names.map(|name| format!(" {name}")).collect()
}

/// What the value can be.
fn choices(option: &clap::Arg) -> String {
    let possible = option.get_possible_values();
    let names: Vec<_> = possible.iter().map(|value| value.get_name().to_owned()).collect();
    match names.is_empty() || !option.get_action().takes_values() {
        true => String::new(),
        false => format!(", one of {}", names.join(", ")),
    }
}

fn configuration(out: &mut impl Write) -> io::Result<()> {
    let mut page = Roff::new();
    let version = concat!("tbtokend ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["tbtokend.toml", "5", "", version, "File formats"]);
    page.control("SH", ["NAME"]);
    page.text([roman("tbtokend.toml - the configuration of tbtokend")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([roman(DEFAULT_FILE)]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A TOML file. Every key has a default, which is shown here; a file that is empty, or not there, is complete. A key that does not exist is refused, and the error names the known one that looks most like it. Durations are written \"60s\", \"5m\", \"2h\".",
    )]);
    paragraph(
        &mut page,
        "tbtokend --check-config says whether a file is right, and prints all settings as they will be used, secrets as ***. The environment wins over the file, and the command line over both, see tbtokend(8).",
    );
    paragraph(
        &mut page,
        "systemctl reload tbtokend takes over the keys that are marked so; the others count from the next start.",
    );
    let mut section = "";
    for line in DEFAULTS.lines() {
        match Line::of(line) {
            Some(Line::Section(name)) => {
                section = name;
                page.control("SH", [name.to_uppercase().as_str()]);
            }
            Some(Line::Key { key, value, comment }) => {
                page.control("TP", []);
                page.text([bold(key), roman(" = "), italic(value)]);
                page.text(about_key(section, key, comment));
            }
            None => {}
        }
    }
    see_also(&mut page, &["tbtokend(8)", "tbctl(1)"]);
    page.to_writer(out)
}

/// What the comment of a key says, and whether a reload takes it over.
fn about_key(section: &str, key: &str, comment: &str) -> Vec<Inline> {
    let mut text = vec![roman(format!("{comment}."))];
    if is_taken_over(&format!("{section}.{key}")) {
        text.push(roman(" Taken over by a reload."));
    }
    text
}

/// A line of the file of the defaults, as far as it says something about a key.
enum Line<'a> {
    Section(&'a str),
    Key { key: &'a str, value: &'a str, comment: &'a str },
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        if let Some(name) = line.strip_prefix('[') {
            return Some(Self::Section(name.trim_end_matches(']')));
        }
        let (key, rest) = line.split_once('=').filter(|(key, _)| !key.starts_with('#'))?;
        let (value, comment) = rest.split_once(" #").unwrap_or((rest, ""));
        Some(Self::Key { key: key.trim(), value: value.trim(), comment: comment.trim() })
    }
}

const fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Crit => "crit",
        Priority::Err => "err",
        Priority::Warning => "warning",
        Priority::Notice => "notice",
        Priority::Info => "info",
        Priority::Debug => "debug",
    }
}

fn paragraph(page: &mut Roff, text: &str) {
    page.control("PP", []).text([roman(text)]);
}

fn section(page: &mut Roff, title: &str, items: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (name, text) in items {
        item(page, name, text);
    }
}

fn item(page: &mut Roff, name: &str, text: &str) {
    page.control("TP", []).text([bold(name)]).text([roman(text)]);
}

fn see_also(page: &mut Roff, pages: &[&str]) {
    page.control("SH", ["SEE ALSO"]).text([roman(pages.join(", "))]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: Page) -> String {
        let mut out = Vec::new();
        write(page, &mut out).unwrap();
        // Roff writes a hyphen as \\-.
        String::from_utf8(out).unwrap().replace("\\-", "-")
    }

    #[test]
    fn every_key_is_in_its_page_with_its_default_and_what_it_is_for() {
        let page = text(Page::Configuration);
        let defaults: toml::Table = toml::from_str(DEFAULTS).unwrap();
        for (section, keys) in &defaults {
            assert!(page.contains(&format!(".SH {}", section.to_uppercase())), "{section}");
            for key in keys.as_table().unwrap().keys() {
                let entry = page.split(".TP").find(|entry| entry.contains(&format!("\\fB{key}\\fR = ")));
                let entry = entry.unwrap_or_else(|| panic!("no {section}.{key}"));
                assert!(
                    entry.trim().lines().nth(1).is_some_and(|text| text.len() > 10),
                    "no comment: {entry}"
                );
            }
        }
    }

    #[test]
    fn every_option_and_every_event_is_in_the_page_of_the_daemon() {
        let page = text(Page::Daemon);
        for option in Options::augment_args(clap::Command::new("x")).get_arguments() {
            let long = option.get_long().unwrap();
            assert!(page.contains(&format!("--{long}")), "{long}");
        }
        for kind in NoticeKind::all() {
            assert!(page.contains(kind.message_id()), "{kind:?}");
        }
    }

    #[test]
    fn the_page_says_how_each_command_is_called_and_how_it_ends() {
        let page = text(Page::Daemon);
        for said in [
            " [--config FILE] [--check-config] [--quiet] [--socket PATH] [--log-level LEVEL]",
            " doctor [--config FILE] [--socket PATH] [--log-level LEVEL] [--json]",
            " schema [--config FILE] [--socket PATH] [--log-level LEVEL] [--dialect DIALECT] [--table NAME] [--grants USER]",
            "one of mssql, sqlite.",
            "before or behind the command.",
            "doctor: it has warnings or errors to tell",
            "may not be read; also with doctor",
        ] {
            assert!(page.contains(said), "no {said:?} in:\n{page}");
        }
        // A terminal without UTF-8 shows nothing else.
        let known = |byte: char| byte.is_ascii();
        assert!(page.chars().all(known), "{:?}", page.chars().find(|char| !char.is_ascii()));
        assert!(text(Page::Configuration).chars().all(known));
    }
}
