//! Messages as text: what they say, and how each format writes it. No text of a row or a server can add a line, a header or a
//! mention; a bare URL in it may become a link in a chat. Pure.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::timing::{Event, Message};
use crate::engine::view::title;
use crate::text::{self, length, printable, short};

/// The most characters of a chat message: Discord takes no more.
const LONGEST_CHAT: usize = 1_900;

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
        let trouble = &message.trouble;
        let title = short(&title(&trouble.cause));
        let customers = match trouble.customers {
            0 => String::new(),
            1 => ": 1 customer".to_owned(),
            customers => format!(": {customers} customers"),
        };
        match message.event {
            Event::Firing => format!("{title}{customers}"),
            Event::Grown => format!("worse: {title}{customers}"),
            Event::Repeat => format!("still: {title}{customers}"),
            Event::Resolved => format!("over: {title}{customers}"),
            Event::Test => "this is a test; nothing is wrong".to_owned(),
        }
    }

    /// The lines after the first one: a label and a value each.
    fn facts(&self, message: &Message) -> Vec<(&'static str, String)> {
        let trouble = &message.trouble;
        let is_over = message.event == Event::Resolved;
        let severity: &str = trouble.severity.into();
        let worst = trouble.worst.iter().map(|(id, user)| match self.names {
            true => format!("{} ({})", short(id), short(user)),
            false => short(id),
        });
        let worst = worst.collect::<Vec<_>>().join(", ");
        let lasted = length(message.at - message.since);
        let lapsed = match (trouble.lapsed, is_over) {
            (0, _) => String::new(),
            (lapsed, true) => format!("{lapsed} at the worst"),
            (lapsed, false) => lapsed.to_string(),
        };
        let first_lapse = trouble.first_lapse.map(time).unwrap_or_default();
        let now = |text: String| if is_over { String::new() } else { text };
        let mut facts = vec![
            ("Severity", now(severity.to_owned())),
            ("Without a valid token", lapsed),
            ("First lapse", now(first_lapse)),
            ("Since", time(message.since)),
            ("Lasted", if is_over { lasted } else { String::new() }),
            ("What happened", now(short(&trouble.text))),
            ("What to do", now(printable(&trouble.remedy))),
            ("Command", now(trouble.command.to_owned())),
            ("Worst", now(worst)),
        ];
        if message.event == Event::Test {
            facts.clear();
        }
        facts.push(("More", self.link.clone()));
        facts.push(("From", format!("tbtokend {} on {}", env!("CARGO_PKG_VERSION"), self.host)));
        facts.retain(|(_, value)| !value.is_empty());
        facts
    }

    /// The text of a mail.
    pub fn text(&self, message: &Message) -> String {
        let lines = self.facts(message).into_iter().map(|(label, value)| format!("{label}: {value}\n"));
        format!("{}.\n\n{}", self.headline(message), lines.collect::<String>())
    }

    /// The body of a webhook.
    pub fn body(&self, message: &Message, format: Format) -> Value {
        match format {
            Format::Standard => self.standard(message),
            Format::Slack => {
                let mut text = neutralize(&self.text(message));
                if let Some((end, _)) = text.char_indices().nth(LONGEST_CHAT) {
                    text.truncate(end);
                    text.push('…');
                }
                json!({ "text": text })
            }
            Format::Teams => {
                let facts = self.facts(message).into_iter();
                let facts = facts.map(|(title, value)| json!({ "title": title, "value": escape(&value) }));
                let headline = escape(&self.headline(message));
                json!({ "type": "message", "attachments": [{
                    "contentType": "application/vnd.microsoft.card.adaptive",
                    "content": {
                        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                        "type": "AdaptiveCard",
                        "version": "1.4",
                        "body": [
                            { "type": "TextBlock", "text": headline, "wrap": true, "weight": "Bolder" },
                            { "type": "FactSet", "facts": facts.collect::<Vec<_>>() },
                        ],
                    },
                }] })
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
            "worst": trouble.worst.iter().map(|(id, _)| short(id)).collect::<Vec<_>>(),
            "title": self.headline(message),
            "text": short(&trouble.text),
            "remedy": printable(&trouble.remedy),
            "command": trouble.command,
            "link": self.link,
            "since": time(message.since),
            "daemon": { "host": self.host, "version": env!("CARGO_PKG_VERSION") },
        });
        if self.names {
            data["users"] = trouble.worst.iter().map(|(_, user)| short(user)).collect();
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

/// Takes their meaning from the characters of chats. Slack knows no escape but its entities; an invisible space after a
/// character serves there and in Mattermost and Discord, which also know links and mentions in plain text.
fn neutralize(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '@' | '*' | '~' | '`' | ']' => safe.extend([character, '\u{200b}']),
            character => safe.push(character),
        }
    }
    safe
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
