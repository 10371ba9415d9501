//! The man pages tbtokend(8) and tbtokend.toml(5): the parts that come from the event kinds and the default file.

use std::io;

use clap::{CommandFactory, ValueEnum};
use tbtoken_proto::man::{Roff, item, page};

use super::Args;
use crate::config::{DEFAULTS, is_taken_over};
use crate::model::NoticeKind;

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

/// Makes a page, in roff.
///
/// # Errors
/// Those of the generator.
pub fn write(which: Page) -> io::Result<Vec<u8>> {
    let (text, part) = match which {
        Page::Daemon => (include_str!("../../../packaging/man/tbtokend.8"), ("@EVENTS@", events())),
        Page::Configuration => (include_str!("../../../packaging/man/tbtokend.toml.5"), ("@KEYS@", keys())),
    };
    page(&Args::command(), text, &[part])
}

fn events() -> Roff {
    let mut page = Roff::new();
    for kind in NoticeKind::all() {
        let priority: &str = kind.priority().into();
        item(&mut page, kind.message_id(), &format!("{}, {priority}", kind.name()));
    }
    page
}

/// Converts the default file: each section becomes a section of the page, with the comment of each key.
fn keys() -> Roff {
    let mut page = Roff::new();
    let mut section = "";
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            page.control("SH", [section.to_uppercase().as_str()]);
        } else if let Some((key, rest)) = line.split_once('=').filter(|(key, _)| !key.starts_with('#')) {
            let (key, (value, comment)) = (key.trim(), rest.split_once(" #").unwrap_or((rest, "")));
            let reload =
                if is_taken_over(&format!("{section}.{key}")) { " Taken over by a reload." } else { "" };
            let meaning = format!("{}.{reload}", comment.trim());
            item(&mut page, &format!("{key} = {}", value.trim()), &meaning);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;
    use crate::cli::Options;

    fn text(page: Page) -> String {
        // Roff writes a hyphen as \\-.
        let text = String::from_utf8(write(page).unwrap()).unwrap().replace("\\-", "-");
        assert!(!text.contains("\n@"), "an unreplaced placeholder:\n{text}");
        text
    }

    #[test]
    fn mandoc_has_nothing_to_warn_of() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        for page in [Page::Daemon, Page::Configuration] {
            let mut mandoc = Command::new("mandoc");
            mandoc.args(["-T", "lint", "-W", "warning"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let Ok(mut mandoc) = mandoc.spawn() else { return eprintln!("skipped: there is no mandoc") };
            mandoc.stdin.take().unwrap().write_all(&write(page).unwrap()).unwrap();
            let output = mandoc.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }

    #[test]
    fn every_key_is_in_its_page_with_its_default_and_meaning() {
        let page = text(Page::Configuration);
        let defaults: toml::Table = toml::from_str(DEFAULTS).unwrap();
        for (section, keys) in &defaults {
            assert!(page.contains(&format!(".SH {}", section.to_uppercase())), "{section}");
            for key in keys.as_table().unwrap().keys() {
                let entry = page.split(".TP").find(|entry| entry.contains(&format!("\\fB{key} = ")));
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
    fn the_page_has_the_synopsis_and_exit_codes_of_each_command() {
        let page = text(Page::Daemon);
        for said in [
            ".SS \"tbtokend doctor\"",
            "\\fB--json\\fR",
            ".SS \"tbtokend schema\"",
            "\\fB--dialect\\fR \\fI<DIALECT>\\fR",
            "\\fB--table\\fR \\fI<NAME>\\fR",
            "\\fB--grants\\fR \\fI<USER>\\fR",
            "mssql\n",
            "Exit codes: 0 nothing to do",
            "also work with a command, before or after it.",
            "doctor: it found warnings or errors",
            "may not be read; also with doctor",
        ] {
            assert!(page.contains(said), "no {said:?} in:\n{page}");
        }
        // A terminal without UTF-8 shows only ASCII.
        let known = |byte: char| byte.is_ascii();
        assert!(page.chars().all(known), "{:?}", page.chars().find(|char| !char.is_ascii()));
        assert!(text(Page::Configuration).chars().all(known));
    }
}
