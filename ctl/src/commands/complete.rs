//! `complete`: what the completion scripts ask. It is fast, and where it knows nothing it says nothing.
//!
//! Commands, options and their values come from the definition of the command line; customers and users from the
//! running daemon. A line of the answer is a candidate, for zsh and fish with its description after a tab; the line
//! `:files` hands over to the shell's own completion of paths.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use tbtoken_proto::client::Client;
use tbtoken_proto::words::printable;
use tbtoken_proto::{Customer, Reply, Request, StatusQuery, socket_path};

use crate::args::{Args, CompleteArgs, Shell};
use crate::names::begins_with;
use crate::output::Report;

/// Nobody waits longer for the answer to a Tab key.
const PATIENCE: Duration = Duration::from_millis(700);

/// More candidates than this help nobody, and a shell takes long to sort them.
const MAX_CANDIDATES: usize = 500;

/// Answers; an empty answer where there is nothing to say.
pub(super) fn run(wanted: &CompleteArgs) -> Report {
    let line = match wanted.shell {
        Shell::Bash => Line::of_bash(&wanted.words),
        Shell::Zsh | Shell::Fish => Line { words: wanted.words.clone(), kept: 0, quote: None },
    };
    let mut data = String::new();
    if line.wants_a_path() {
        data.push_str(":files\n");
    } else {
        for candidate in line.candidates() {
            if let Some(text) = written(&candidate, wanted.shell, line.kept, line.quote) {
                data.push_str(&text);
                data.push('\n');
            }
        }
    }
    Report { data, ..Report::default() }
}

/// A command line up to the cursor.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// Its words; the last one, which may be empty, is to be completed.
    words: Vec<OsString>,
    /// So many characters at the beginning of the last word stay where they are, because the shell replaces only what
    /// follows them.
    kept: usize,
    /// The quotation in which the last word stands, and which the shell closes itself.
    quote: Option<char>,
}

impl Line {
    /// What bash hands over: the line, and the end of it that will be replaced. bash cuts words at `@`, `:` and `=`,
    /// where users and options have them inside.
    fn of_bash(handed: &[OsString]) -> Self {
        let text = |at: usize| handed.get(at).map(|text| text.to_string_lossy()).unwrap_or_default();
        let (words, last) = split(&text(0));
        let replaced = text(1);
        // The quote that opens a word stays, but bash does not count it.
        let quote = last.chars().next().filter(|c| matches!(c, '\'' | '"') && last.matches(*c).count() == 1);
        let typed = last.get(usize::from(quote.is_some())..).unwrap_or_default();
        let kept = typed.strip_suffix(&*replaced).map_or(0, |kept| kept.chars().count());
        Self { words: words.into_iter().map(OsString::from).collect(), kept, quote }
    }

    fn current(&self) -> &OsStr {
        self.words.last().map(OsString::as_os_str).unwrap_or_default()
    }

    /// Whether a socket is to be named here.
    fn wants_a_path(&self) -> bool {
        let before = self.words.len().checked_sub(2).and_then(|at| self.words.get(at));
        before.is_some_and(|word| word == "--socket")
            || self.current().to_string_lossy().starts_with("--socket=")
    }

    /// The socket that the line names so far.
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

/// The command line, its customers completed from the daemon at `socket`. It is asked only if a customer is wanted.
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
            // An option is typed, though a customer might stand here, too.
            Some(current) if !current.starts_with('-') => {
                everyone(&socket).map_or_else(Vec::new, |everyone| customers(current, &everyone))
            }
            _ => Vec::new(),
        });
        command.mut_subcommand(sub, |sub| sub.mut_arg(id, |arg| arg.add(completer)))
    })
}

fn everyone(socket: &std::path::Path) -> Option<Vec<Customer>> {
    let mut client = Client::connect(socket, PATIENCE).ok()?;
    match client.send(&Request::Status(StatusQuery::default())).ok()? {
        Reply::Status(reply) => reply.tokens.customers,
        _ => None,
    }
}

/// The ids that begin with what is typed, and, once something is typed, the users that do and that one customer has
/// alone.
fn customers(typed: &str, everyone: &[Customer]) -> Vec<CompletionCandidate> {
    let candidate = |value: &str, about: &str, row: &Customer| {
        let about = format!("{about}, {}", row.token_status.word());
        CompletionCandidate::new(value).help(Some(printable(&about).into()))
    };
    let ids = everyone.iter().filter(|row| begins_with(&row.customer_id, typed));
    let ids = ids.map(|row| candidate(&row.customer_id, &row.tb_username, row));
    if typed.is_empty() {
        return fewer(ids.collect());
    }
    let mut owners: HashMap<&str, usize> = HashMap::new();
    for row in everyone {
        *owners.entry(&row.tb_username).or_default() += 1;
    }
    let users = everyone.iter().filter(|row| {
        let begins = row.tb_username.get(..typed.len()).is_some_and(|head| head.eq_ignore_ascii_case(typed));
        begins && owners.get(row.tb_username.as_str()) == Some(&1)
    });
    let users = users.map(|row| candidate(&row.tb_username, &row.customer_id, row));
    fewer(ids.chain(users).collect())
}

/// The first and the last ones, if there are too many: what all have in common, which a shell fills in, they have in
/// common, too.
fn fewer(mut candidates: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    candidates.sort();
    if candidates.len() > MAX_CANDIDATES {
        let last = candidates.pop();
        candidates.truncate(MAX_CANDIDATES - 1);
        candidates.extend(last);
    }
    candidates
}

/// The candidate as this shell reads it; nothing if it cannot stand on a line.
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
        // bash puts it on the command line as it is: whatever it would heed there is escaped.
        Shell::Bash => escaped(value, quote)?.chars().skip(kept).collect(),
        Shell::Zsh | Shell::Fish if help.is_empty() => value.to_owned(),
        Shell::Zsh | Shell::Fish => format!("{value}\t{}", printable(help)),
    })
}

/// `text` so that a shell takes it for itself, inside this quotation or outside of any; nothing where that cannot be.
fn escaped(text: &str, quote: Option<char>) -> Option<String> {
    let heeded = |c: char| match quote {
        None => !c.is_alphanumeric() && !"@%+=:,./_-".contains(c),
        Some('\'') => false,
        Some(_) => "$`\"\\".contains(c),
    };
    // Nothing ends the one quotation; `!` is heeded in the other, and no backslash helps.
    let impossible = match quote {
        None => None,
        Some('\'') => Some('\''),
        Some(_) => Some('!'),
    };
    if impossible.is_some_and(|c| text.contains(c)) {
        return None;
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if heeded(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    Some(escaped)
}

/// Takes a line apart as a shell does, without carrying anything out: the words, the last one also as it is typed. A
/// quotation that is not closed goes on to the end.
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
