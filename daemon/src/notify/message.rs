//! Messages as text: what they say, and how each format writes it. No text of a row or a server can add a line, a header, a
//! mention or a link. Pure.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::timing::{Event, Message};
use crate::engine::view::{Trouble, title};
use crate::text::{self, length, printable, short};

/// The most characters of a chat message: Discord takes no more.
const LONGEST_CHAT: usize = 1_900;

/// The most characters of a name of a customer or a user, of which there may be twenty: a message of the format `standard` has
/// less than 20 kB.
const LONGEST_NAME: usize = 100;

/// What all messages of this daemon have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// The name of this machine.
    pub host: String,
    /// Whether messages hold user names.
    pub names: bool,
    /// A link for people, such as the address of the admin page.
    pub link: String,
}

/// The format of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The event and its data, as in Standard Webhooks.
    Standard,
    /// `{"text": …}`, for Slack, Mattermost, Rocket.Chat, and Discord's `/slack` address.
    Slack,
    /// An Adaptive Card, for a workflow of Teams.
    Teams,
}

impl Frame {
    /// The subject of a mail, and the first line of every text.
    pub fn headline(&self, message: &Message) -> String {
        headline(message, short)
    }

    /// The lines after the first one: a label and a value each. `quote` writes what a row or a server says.
    fn facts(&self, message: &Message, quote: fn(&str) -> String) -> Vec<(&'static str, String)> {
        let trouble = &message.trouble;
        let is_over = message.event == Event::Resolved;
        let lasted = message.over_since.map(|over| length((over - message.since).max(TimeDelta::zero())));
        let severity: &str = trouble.severity.into();
        let worst = trouble.worst.iter().map(|(id, user)| match self.names {
            true => format!("{} ({})", quote(&brief(id)), quote(&brief(user))),
            false => quote(&brief(id)),
        });
        let worst = worst.collect::<Vec<_>>().join(", ");
        let lapsed = match (trouble.lapsed, is_over) {
            (0, _) => String::new(),
            (lapsed, true) => format!("{lapsed} at the worst"),
            (lapsed, false) => lapsed.to_string(),
        };
        let first_lapse = trouble.first_lapse.map(time).unwrap_or_default();
        let now = |text: String| if is_over { String::new() } else { text };
        let from = format!("tbtokend {} on {}", env!("CARGO_PKG_VERSION"), self.host);
        let (more, from) = (("More", self.link.clone()), ("From", from));
        // A chat may cut the end.
        let mut facts = match message.event {
            Event::Test => vec![more, from],
            _ => vec![
                ("Severity", now(severity.to_owned())),
                ("Without a valid token", lapsed),
                ("First lapse", now(first_lapse)),
                ("Since", time(message.since)),
                ("Lasted", lasted.unwrap_or_default()),
                ("What happened", now(quote(&self.said(trouble)))),
                ("What to do", now(printable(&trouble.remedy))),
                ("Command", now(trouble.command.to_owned())),
                more,
                from,
                ("Worst", now(worst)),
            ],
        };
        facts.retain(|(_, value)| !value.is_empty());
        facts
    }

    /// What a server said, which may name a user.
    fn said(&self, trouble: &Trouble) -> String {
        let names = trouble.worst.iter().filter(|_| !self.names);
        names
            .fold(trouble.text.clone(), |text, (_, user)| hide(&hide(&text, user), &user.replace('@', "%40")))
    }

    /// The text of a mail.
    pub fn text(&self, message: &Message) -> String {
        self.lines(message, short)
    }

    fn lines(&self, message: &Message, quote: fn(&str) -> String) -> String {
        let facts = self.facts(message, quote).into_iter();
        let lines = facts.map(|(label, value)| format!("{label}: {value}\n"));
        format!("{}.\n\n{}", headline(message, quote), lines.collect::<String>())
    }

    /// The body of a webhook.
    pub fn body(&self, message: &Message, format: Format) -> Value {
        match format {
            Format::Standard => self.standard(message),
            Format::Slack => json!({ "text": entities(&self.lines(message, neutralize)) }),
            Format::Teams => {
                let facts = self.facts(message, neutralize).into_iter().filter(|(title, _)| *title != "More");
                let facts = facts.map(|(title, value)| json!({ "title": title, "value": escape(&value) }));
                let headline = escape(&headline(message, neutralize));
                let mut card = json!({
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [
                        { "type": "TextBlock", "text": headline, "wrap": true, "weight": "Bolder" },
                        { "type": "FactSet", "facts": facts.collect::<Vec<_>>() },
                    ],
                });
                if !self.link.is_empty() {
                    card["actions"] =
                        json!([{ "type": "Action.OpenUrl", "title": "More", "url": self.link }]);
                }
                let kind = "application/vnd.microsoft.card.adaptive";
                json!({ "type": "message", "attachments": [{ "contentType": kind, "content": card }] })
            }
        }
    }

    fn standard(&self, message: &Message) -> Value {
        let trouble = &message.trouble;
        let event: &str = message.event.into();
        let kind = match message.event {
            Event::Test => "tbtokend.test".to_owned(),
            _ => format!("tbtokend.trouble.{event}"),
        };
        let severity: &str = trouble.severity.into();
        let mut data = json!({
            "cause": short(&trouble.cause),
            "severity": severity,
            "customers": trouble.customers,
            "lapsed": trouble.lapsed,
            "first_lapse_at": trouble.first_lapse.map(time),
            "worst": trouble.worst.iter().map(|(id, _)| brief(id)).collect::<Vec<_>>(),
            "title": self.headline(message),
            "text": short(&self.said(trouble)),
            "remedy": printable(&trouble.remedy),
            "command": trouble.command,
            "link": self.link,
            "since": time(message.since),
            "daemon": { "host": self.host, "version": env!("CARGO_PKG_VERSION") },
        });
        if self.names {
            data["users"] = trouble.worst.iter().map(|(_, user)| brief(user)).collect();
        }
        json!({ "type": kind, "timestamp": time(message.at), "data": data })
    }
}

/// The id of a message: the same from each daemon that tells of the same event.
pub fn id(message: &Message) -> String {
    let event: &str = message.event.into();
    hash(message, event, message.number)
}

/// The id of the message that told of the beginning.
pub fn first_id(message: &Message) -> String {
    hash(message, Event::Firing.into(), 0)
}

fn hash(message: &Message, event: &str, number: u64) -> String {
    text::hash(&format!("{}\n{}\n{event}\n{number}", message.trouble.cause, message.since.timestamp()))
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn headline(message: &Message, quote: fn(&str) -> String) -> String {
    let trouble = &message.trouble;
    let title = quote(&title(&trouble.cause));
    let customers = match trouble.customers {
        0 => String::new(),
        1 => ": 1 customer".to_owned(),
        customers => format!(": {customers} customers"),
    };
    match message.event {
        Event::Firing => format!("{title}{customers}"),
        Event::Grown => format!("worse: {title}{customers}"),
        Event::Repeat => format!("still: {title}{customers}"),
        Event::Resolved => format!("resolved: {title}{customers}"),
        Event::Test => "this is a test; nothing is wrong".to_owned(),
    }
}

/// One of many names.
fn brief(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", printable(name.get(..end).unwrap_or_default())),
        None => printable(name),
    }
}

/// Replaces a name in a text, where it is no part of a longer word.
fn hide(text: &str, name: &str) -> String {
    let (lower, name) = (text.to_ascii_lowercase(), name.trim().to_ascii_lowercase());
    let is_word = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphanumeric);
    let (mut hidden, mut rest) = (String::new(), 0);
    for (at, found) in lower.match_indices(&name).filter(|(_, found)| !found.is_empty()) {
        let (before, after) = (text.get(rest..at).unwrap_or_default(), at + found.len());
        let next = text.get(after..).and_then(|after| after.chars().next());
        if !is_word(text.get(..at).and_then(|before| before.chars().next_back())) && !is_word(next) {
            hidden.push_str(before);
            hidden.push_str("***");
            rest = after;
        }
    }
    hidden + text.get(rest..).unwrap_or_default()
}

/// Takes their meaning from what chats make mentions, links and emphasis of, also in plain text: an invisible space serves in
/// all of them.
fn neutralize(text: &str) -> String {
    let text = short(text);
    let mut safe = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        safe.push(character);
        let has_meaning = match (character, characters.peek()) {
            ('@' | '*' | '~' | '`' | ']', _) | (':', Some('/')) => true,
            ('.', Some(next)) => next.is_alphanumeric(),
            _ => false,
        };
        safe.extend(has_meaning.then_some('\u{200b}'));
    }
    safe
}

/// Writes the three characters that Slack reads as markup, up to the longest message. It ends before an entity, not in it.
fn entities(text: &str) -> String {
    let mut text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    if let Some((end, _)) = text.char_indices().nth(LONGEST_CHAT) {
        text.truncate(end);
        let cut = text.rsplit_once('&').filter(|(_, entity)| !entity.contains(';'));
        text.truncate(cut.map_or(end, |(whole, _)| whole.len()));
        text.push('…');
    }
    text
}

/// Escapes the Markdown of Adaptive Cards.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\`*_~[]()<>#".contains(character) {
            safe.push('\\');
        }
        safe.push(character);
    }
    safe
}
