//! `complete`: the answers for the completion scripts. It is fast, and prints no errors.
//!
//! Commands, options and their values come from the definition of the command line; customers and users from the
//! running daemon. Each line of the answer is a candidate, for zsh and fish with its description after a tab. The line
//! `:files` asks the shell to complete a path itself.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use tbtoken_proto::client::Client;
use tbtoken_proto::words::printable;
use tbtoken_proto::{Customer, StatusQuery, socket_path};

use crate::args::{Args, CompleteArgs, Shell};
use crate::names::begins_with;
use crate::output::Report;
use crate::session;

/// The time for an answer to the Tab key.
const TIMEOUT: Duration = Duration::from_millis(700);

/// The most candidates: more are of no use, and a shell takes long to sort them.
const MAX_CANDIDATES: usize = 500;

/// Returns the candidates, a line each.
pub(super) fn run(wanted: &CompleteArgs) -> Report {
    let line = match wanted.shell {
        Shell::Bash => Line::of_bash(&wanted.words),
        Shell::Zsh | Shell::Fish => Line { words: wanted.words.clone(), kept: 0, quote: None },
    };
    if line.wants_a_path() {
        return Report::of(":files\n");
    }
    let candidates = line.candidates().into_iter();
    let texts = candidates.filter_map(|candidate| written(&candidate, wanted.shell, line.kept, line.quote));
    Report::of(texts.map(|text| text + "\n").collect::<String>())
}

/// A command line up to the cursor.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// Its words; the last one, which may be empty, is to be completed.
    words: Vec<OsString>,
    /// The characters at the beginning of the last word that the shell does not replace.
    kept: usize,
    /// The quote that is open around the last word; the shell closes it itself.
    quote: Option<char>,
}

impl Line {
    /// Reads the words from the script for bash: the line, and the part at its end that bash replaces. Users and options
    /// contain `@`, `:` and `=`, at which bash splits words.
    fn of_bash(passed: &[OsString]) -> Self {
        let text = |at: usize| passed.get(at).map(|text| text.to_string_lossy()).unwrap_or_default();
        let (words, last) = split(&text(0));
        let replaced = text(1);
        // bash keeps the quote before a word, but does not count it.
        let quote = last.chars().next().filter(|c| matches!(c, '\'' | '"') && last.matches(*c).count() == 1);
        let typed = last.get(usize::from(quote.is_some())..).unwrap_or_default();
        let kept = typed.strip_suffix(&*replaced).map_or(0, |kept| kept.chars().count());
        Self { words: words.into_iter().map(OsString::from).collect(), kept, quote }
    }

    fn current(&self) -> &OsStr {
        self.words.last().map(OsString::as_os_str).unwrap_or_default()
    }

    /// Whether the last word is the path of a socket.
    fn wants_a_path(&self) -> bool {
        let before = self.words.len().checked_sub(2).and_then(|at| self.words.get(at));
        before.is_some_and(|word| word == "--socket")
            || self.current().to_string_lossy().starts_with("--socket=")
    }

    /// Returns the socket that the line names.
    fn socket(&self) -> PathBuf {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        let spaced = words.windows(2).filter(|pair| pair[0] == "--socket").map(|pair| pair[1].as_ref());
        let joined = words.iter().filter_map(|word| word.strip_prefix("--socket="));
        let named = spaced.chain(joined).next().map(|path| match path.strip_prefix("~/") {
            Some(rest) => std::env::home_dir().unwrap_or_default().join(rest),
            None => PathBuf::from(path),
        });
        socket_path(named)
    }

    fn candidates(&self) -> Vec<CompletionCandidate> {
        let Some(last) = self.words.len().checked_sub(1) else { return Vec::new() };
        let mut command = with_customers(Args::command(), &self.socket());
        clap_complete::engine::complete(&mut command, self.words.clone(), last, None).unwrap_or_default()
    }
}

/// Adds the customers of the daemon at `socket` to the command line. They are requested only for the argument of a customer.
fn with_customers(command: Command, socket: &std::path::Path) -> Command {
    let names = command
        .get_subcommands()
        .flat_map(|sub| sub.get_arguments().map(move |arg| (sub.get_name(), arg)))
        .filter(|(_, arg)| arg.get_value_names().is_some_and(|names| *names == ["ID"]))
        .map(|(sub, arg)| (sub.to_owned(), arg.get_id().clone()))
        .collect::<Vec<_>>();
    names.into_iter().fold(command, |command, (sub, id)| {
        let socket = socket.to_owned();
        let completer = ArgValueCompleter::new(move |current: &OsStr| match current.to_str() {
            // Before a dash the operator types an option, though a customer could also follow.
            Some(current) if !current.starts_with('-') => {
                all_customers(&socket).map_or_else(Vec::new, |all| customers(current, &all))
            }
            _ => Vec::new(),
        });
        command.mut_subcommand(sub, |sub| sub.mut_arg(id, |arg| arg.add(completer)))
    })
}

fn all_customers(socket: &std::path::Path) -> Option<Vec<Customer>> {
    let mut client = Client::connect(socket, TIMEOUT).ok()?;
    session::status(&mut client, StatusQuery::default()).ok()?.tokens.customers
}

/// Returns the ids that begin with the typed text and, if there is some, the users of one customer each that do.
fn customers(typed: &str, all: &[Customer]) -> Vec<CompletionCandidate> {
    let candidate = |value: &str, about: &str, row: &Customer| {
        let about = format!("{about}, {}", row.token_status.word());
        CompletionCandidate::new(value).help(Some(printable(&about).into()))
    };
    let ids = all.iter().filter(|row| begins_with(&row.customer_id, typed));
    let ids = ids.map(|row| candidate(&row.customer_id, &row.tb_username, row));
    if typed.is_empty() {
        return fewer(ids.collect());
    }
    let mut owners: HashMap<&str, usize> = HashMap::new();
    for row in all {
        *owners.entry(&row.tb_username).or_default() += 1;
    }
    let users = all.iter().filter(|row| {
        let begins = row.tb_username.get(..typed.len()).is_some_and(|head| head.eq_ignore_ascii_case(typed));
        begins && owners.get(row.tb_username.as_str()) == Some(&1)
    });
    let users = users.map(|row| candidate(&row.tb_username, &row.customer_id, row));
    fewer(ids.chain(users).collect())
}

/// Keeps the first candidates and the last one. They have the same common beginning as all, which the shell fills in.
fn fewer(mut candidates: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    candidates.sort();
    if candidates.len() > MAX_CANDIDATES {
        let last = candidates.pop();
        candidates.truncate(MAX_CANDIDATES - 1);
        candidates.extend(last);
    }
    candidates
}

/// Writes a candidate in the form of this shell; `None` if it does not fit on a line.
fn written(
    candidate: &CompletionCandidate,
    shell: Shell,
    kept: usize,
    quote: Option<char>,
) -> Option<String> {
    let value = candidate.get_value().to_str()?;
    if value.is_empty() || value != printable(value) || value.starts_with(':') {
        return None;
    }
    let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.lines().next().unwrap_or_default();
    Some(match shell {
        // bash puts it on the command line without changes, so it must be escaped.
        Shell::Bash => escaped(value, quote)?.chars().skip(kept).collect(),
        Shell::Zsh | Shell::Fish if help.is_empty() => value.to_owned(),
        Shell::Zsh | Shell::Fish => format!("{value}\t{}", printable(help)),
    })
}

/// Escapes `text` for a shell, inside this quote or outside of quotes; `None` if that is impossible.
fn escaped(text: &str, quote: Option<char>) -> Option<String> {
    let (is_special, impossible): (fn(char) -> bool, _) = match quote {
        None => (|c| !c.is_alphanumeric() && !"@%+=:,./_-".contains(c), None),
        // Nothing can escape the closing quote here, nor `!` between double quotes.
        Some('\'') => (|_| false, Some('\'')),
        Some(_) => (|c| "$`\"\\".contains(c), Some('!')),
    };
    if impossible.is_some_and(|c| text.contains(c)) {
        return None;
    }
    Some(text.chars().flat_map(|c| is_special(c).then_some('\\').into_iter().chain([c])).collect())
}

/// Splits a line into words as a shell does, without running anything; the last word is also returned as typed. An open
/// quote ends with the line.
fn split(line: &str) -> (Vec<String>, String) {
    let mut words = Vec::new();
    let (mut word, mut typed) = (String::new(), String::new());
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !typed.is_empty() {
                words.push(std::mem::take(&mut word));
                typed.clear();
            }
            continue;
        }
        typed.push(c);
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => {
                if let Some(next) = chars.next() {
                    typed.push(next);
                    word.push(next);
                }
            }
            (_, c) => word.push(c),
        }
    }
    words.push(word);
    (words, typed)
}

#[cfg(test)]
mod tests;
