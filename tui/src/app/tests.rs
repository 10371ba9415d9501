//! The effect of each input, tested without a terminal. This file holds the customers and keys that the tests share.

mod answers;
mod keys;

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tbtoken_proto::{FailureKind, Revision};

use super::*;
use crate::support::{self, customer, failing, noon, parked, status};

/// Creates an app that shows these customers.
fn app(customers: Vec<Customer>) -> App {
    let mut app = App::new(Theme::new(true, false), "/run/x.sock".to_owned(), (100, 30), noon());
    app.update(Input::Status(Box::new(status(customers, noon()))), noon());
    app
}

/// Creates an app with four customers; problems first: `bad` (parked), `slow` (retrying), `one`, `two`.
fn four() -> App {
    let slow = customer("slow", "s@x.example", "s.example", -60, noon());
    app(vec![
        parked("bad", "b@x.example", "b.example", noon()),
        customer("one", "o@x.example", "o.example", 600, noon()),
        failing(slow, FailureKind::Timeout, support::TIMED_OUT, (2, 60), Some(40), noon()),
        customer("two", "t@x.example", "t.example", 800, noon()),
    ])
}

fn press(app: &mut App, keys: &str) -> Vec<Effect> {
    let mut effects = vec![];
    for word in keys.split(' ') {
        let (code, modifiers) = match word.strip_prefix("C-") {
            Some(letter) => (KeyCode::Char(letter.chars().next().unwrap()), KeyModifiers::CONTROL),
            None => (code(word), KeyModifiers::NONE),
        };
        effects.extend(app.update(Input::Key(KeyEvent::new(code, modifiers)), noon()));
    }
    effects.retain(|effect| *effect != Effect::Draw);
    effects
}

fn code(word: &str) -> KeyCode {
    match word {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Tab" => KeyCode::Tab,
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "Left" => KeyCode::Left,
        "Right" => KeyCode::Right,
        "PgUp" => KeyCode::PageUp,
        "PgDn" => KeyCode::PageDown,
        "Home" => KeyCode::Home,
        "End" => KeyCode::End,
        "Backspace" => KeyCode::Backspace,
        "Space" => KeyCode::Char(' '),
        letter => KeyCode::Char(letter.chars().next().unwrap()),
    }
}

fn selected(app: &App) -> &str {
    app.view.selected().unwrap()
}

fn shown(app: &App) -> Vec<String> {
    let rows = app.view.visible(app.scene().snapshot.customers(), 1000);
    rows.map(|(_, customer)| customer.customer_id.clone()).collect()
}

fn notice(app: &App) -> &str {
    app.notice().map_or("", |notice| &notice.text)
}

/// Creates an answer to a poll with a revision, which holds only changes.
fn delta(customers: Vec<Customer>, removed: &[&str]) -> Input {
    let mut reply = status(customers, noon());
    reply.tokens.complete = false;
    reply.tokens.removed = removed.iter().map(|&id| id.to_owned()).collect();
    reply.daemon.revision = Revision(982);
    Input::Status(Box::new(reply))
}

fn lost() -> Input {
    let (why, hint) = ("not running".to_owned(), Some("start it".to_owned()));
    Input::Disconnected { why, hint, retry_in: Duration::from_secs(3) }
}
