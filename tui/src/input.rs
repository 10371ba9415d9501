//! The inputs of the dashboard, and the effects that it requests.

use std::time::Duration;

use crossterm::event::KeyEvent;
use tbtoken_proto::{Event, Reply, StatusReply};

/// The inputs of the event loop: a closed list, handled by [`App::update`](crate::app::App::update).
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is handled at once")]
pub enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted. It must not act as keys.
    Paste(String),
    /// The terminal has a new size, in columns and rows.
    Resize(u16, u16),
    /// The daemon answered the poll.
    Status(Box<StatusReply>),
    /// Events since the last poll, oldest first.
    Events(Vec<Event>),
    /// The daemon cannot be reached, or does not answer.
    Disconnected {
        /// What happened, for people.
        why: String,
        /// What to do about it.
        hint: Option<String>,
        /// The time until the next try.
        retry_in: Duration,
    },
    /// An action ended.
    Done(Action, Result<Reply, ActionError>),
    /// A new second began.
    Tick,
    /// The process continues after a suspension: the screen shows something else.
    Continued,
    /// The dashboard must end.
    End(Ending),
}

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionError {
    /// What happened, for people.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A request of the operator to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start the loop.
    Start,
    /// Stop the loop.
    Stop,
    /// Renew this customer now, by its id.
    Refresh(String),
    /// Renew this customer now, also with a password that ThingsBoard has rejected, or one more than the budget allows.
    ForceRefresh(String),
    /// Renew all customers that are due.
    RefreshDue,
}

/// An effect that [`App::update`](crate::app::App::update) requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Draw what changed.
    Draw,
    /// Draw the whole screen: another program may have overwritten it.
    Redraw,
    /// Send an action to the daemon.
    Act(Action),
    /// Restore the terminal and stop, as other programs do on Ctrl-Z, until the shell continues the process.
    Suspend,
    /// Put text into the clipboard of the operator's terminal.
    Copy(String),
    /// End the dashboard.
    Quit(Ending),
}

/// Why the dashboard ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By a key, or by a signal (SIGTERM, SIGINT, SIGHUP).
    Requested,
    /// The terminal is lost.
    TerminalGone,
    /// The thread with this name panicked.
    Panicked(&'static str),
}
