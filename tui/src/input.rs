//! Everything that can reach the dashboard, and everything that it can ask for in return.

use std::time::Duration;

use crossterm::event::KeyEvent;
use tbtoken_proto::{Event, Reply, StatusReply};

/// All that the event loop can hear: a closed list, handled by [`App::update`](crate::app::App::update).
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is handled at once")]
pub enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted. It is no key presses, so a stray paste starts nothing.
    Paste(String),
    /// The terminal has another size, in columns and rows.
    Resize(u16, u16),
    /// The daemon answered the poll.
    Status(Box<StatusReply>),
    /// Events newer than those reported before, oldest first.
    Events(Vec<Event>),
    /// The daemon cannot be reached, or does not answer.
    Disconnected {
        /// What happened, for people.
        why: String,
        /// What to do about it.
        hint: Option<String>,
        /// When it is tried again, from now.
        retry_in: Duration,
    },
    /// An action ended.
    Done(Action, Result<Reply, ActionError>),
    /// A second of the clock began.
    Tick,
    /// The process came back from a suspension: the screen holds something else now.
    Continued,
    /// Asked to end from outside (SIGTERM, SIGINT, SIGHUP).
    Terminate,
    /// There is no terminal any more.
    TerminalGone,
    /// A thread of the dashboard died; its name.
    Broken(&'static str),
}

/// Why an action was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionError {
    /// What happened, for people.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Something that the daemon is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Let the loop run.
    Start,
    /// Let no other pass begin.
    Stop,
    /// Renew this customer now, by its id.
    Refresh(String),
    /// The same, also with a password that ThingsBoard has rejected, or one more than the budget allows.
    ForceRefresh(String),
    /// Renew everyone who is due.
    RefreshDue,
}

/// What [`App::update`](crate::app::App::update) wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Something visible changed: draw.
    Draw,
    /// The screen cannot be trusted: draw all of it.
    Redraw,
    /// Ask the daemon.
    Act(Action),
    /// Give the terminal back and stop, as other programs do on Ctrl-Z, until the shell says to go on.
    Suspend,
    /// Put text into the clipboard of the operator's terminal.
    Copy(String),
    /// End.
    Quit(Ending),
}

/// How the dashboard ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The operator or a signal wished so.
    Asked,
    /// The terminal vanished.
    TerminalGone,
    /// A thread died; its name.
    Broken(&'static str),
}
