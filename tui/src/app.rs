//! The state of the dashboard, and the one place where it changes.
//!
//! `App::apply_input` takes an [`Input`] and the time, and returns the effects to carry out. `App::clamp_scrolling` takes
//! the size of the viewport. Neither does I/O or reads a clock, so that tests need no terminal. Drawing is elsewhere.

mod keys;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::{Customer, Event, OutcomeStatus, Reply, StatusReply, SteerReply, words};

use crate::explain::Loop;
use crate::input::{Action, ActionError, Effect, Input};
use crate::mode::Mode;
use crate::snapshot::{Change, Snapshot};
use crate::text::{sentence, time, with_local_times};
use crate::theme::Theme;
use crate::view::View;

/// The most events that are kept.
const MAX_EVENTS: usize = 1000;

/// How long the daemon may be silent before the screen says so. It is polled once a second.
const SILENCE: TimeDelta = TimeDelta::seconds(3);

/// The state of the dashboard.
#[derive(Debug)]
pub struct App {
    pub(crate) theme: Theme,
    /// The path of the daemon's socket.
    pub(crate) socket: String,
    pub(crate) now: DateTime<Utc>,
    pub(crate) link: Link,
    pub(crate) mode: Mode,
    pub(crate) view: View,
    /// Actions that have not ended.
    pub(crate) running: Vec<Action>,
    notice: Option<Notice>,
    live: Scene,
    frozen: Option<FrozenScene>,
    pub(crate) size: (u16, u16),
    viewport: Viewport,
}

/// The room on the screen, as the renderer measures it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Viewport {
    /// The customers that the table shows at a time.
    pub(crate) rows: usize,
    /// How far the text of the current mode can be scrolled.
    pub(crate) surplus: usize,
}

/// Everything that the screen can show of the daemon.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene {
    pub(crate) snapshot: Snapshot,
    /// The last events, oldest first.
    pub(crate) events: VecDeque<Event>,
}

/// A scene that stays the same while the live one changes.
#[derive(Debug)]
struct FrozenScene {
    at: DateTime<Utc>,
    scene: Scene,
}

/// The state of the connection to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// No poll has succeeded or failed yet.
    Connecting,
    /// The daemon answered the last poll.
    Up { last_answer: DateTime<Utc> },
    /// The poll waits for its answer for so long that the screen may be out of date.
    Silent { last_answer: DateTime<Utc> },
    /// The last poll failed.
    Down {
        since: DateTime<Utc>,
        /// When the daemon last answered, if ever.
        last_answer: Option<DateTime<Utc>>,
        retry_at: DateTime<Utc>,
        why: String,
        hint: Option<String>,
    },
}

/// A message to the operator, shown for a few seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) tone: Tone,
    until: DateTime<Utc>,
}

/// Whether a notice is good or bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
}

impl App {
    /// Creates a dashboard without data. `socket` is the path of the daemon's socket, for messages.
    pub fn new(theme: Theme, socket: String, size: (u16, u16), now: DateTime<Utc>) -> Self {
        Self {
            theme,
            socket,
            now,
            link: Link::Connecting,
            mode: Mode::default(),
            view: View::default(),
            running: Vec::new(),
            notice: None,
            live: Scene::default(),
            frozen: None,
            size,
            viewport: Viewport::default(),
        }
    }

    /// Applies an input that came at `now`, and returns the effects to carry out.
    pub(crate) fn apply_input(&mut self, input: Input, now: DateTime<Utc>) -> Vec<Effect> {
        self.now = now;
        match input {
            Input::Key(key) => self.handle_key(key),
            Input::Paste(text) => self.handle_paste(&text),
            Input::Resize(columns, rows) => {
                self.size = (columns, rows);
                vec![Effect::Draw]
            }
            Input::Status(reply) => self.apply_status(*reply),
            Input::Events(events) => self.add_events(events),
            Input::Disconnected { why, hint, retry_in } => {
                let (since, last_answer) = match self.link {
                    Link::Connecting => (now, None),
                    Link::Up { last_answer } => (now, Some(last_answer)),
                    Link::Silent { last_answer } => (last_answer, Some(last_answer)),
                    Link::Down { since, last_answer, .. } => (since, last_answer),
                };
                let retry_at = now + TimeDelta::from_std(retry_in).unwrap_or_default();
                self.link = Link::Down { since, last_answer, retry_at, why, hint };
                vec![Effect::Draw]
            }
            Input::Done(action, outcome) => self.finish_action(&action, outcome),
            Input::Tick => {
                self.detect_silence();
                vec![Effect::Draw]
            }
            Input::Continued => vec![Effect::Redraw],
            Input::End(ending) => vec![Effect::Quit(ending)],
        }
    }

    /// Keeps every scroll position within the viewport.
    pub(crate) fn clamp_scrolling(&mut self, viewport: Viewport) {
        self.viewport = viewport;
        self.view.follow(viewport.rows);
        match &mut self.mode {
            Mode::Detail { scroll, .. } | Mode::Events { scroll } | Mode::Help { scroll, .. } => {
                *scroll = (*scroll).min(viewport.surplus);
            }
            Mode::Table | Mode::Filter | Mode::SortMenu { .. } | Mode::Confirm { .. } => {}
        }
    }

    /// Returns the scene to show: the frozen one if there is one.
    pub(crate) fn scene(&self) -> &Scene {
        self.frozen.as_ref().map_or(&self.live, |frozen| &frozen.scene)
    }

    /// Returns the time of the scene to show.
    pub(crate) fn scene_time(&self) -> DateTime<Utc> {
        self.frozen_at().unwrap_or(self.now)
    }

    /// Returns when the scene was frozen, if it is.
    pub(crate) fn frozen_at(&self) -> Option<DateTime<Utc>> {
        self.frozen.as_ref().map(|frozen| frozen.at)
    }

    /// Returns the customer that keys apply to.
    pub(crate) fn subject(&self) -> Option<&Customer> {
        let id = match &self.mode {
            Mode::Detail { id, .. } => id,
            _ if self.view.len() > 0 => self.view.selected()?,
            _ => return None,
        };
        self.scene().snapshot.find(id)
    }

    /// Returns whether the daemon will carry out what it plans.
    pub(crate) fn loop_state(&self) -> Loop {
        match (&self.link, &self.scene().snapshot.overview) {
            (Link::Up { .. }, Some(overview)) if overview.cron.running => Loop::Running,
            (Link::Up { .. }, Some(_)) => Loop::Stopped,
            (Link::Connecting | Link::Silent { .. } | Link::Down { .. }, _) | (_, None) => Loop::Unknown,
        }
    }

    /// Returns the notice to show now.
    pub(crate) fn notice(&self) -> Option<&Notice> {
        self.notice.as_ref().filter(|notice| notice.until > self.now)
    }

    /// Shortens an id as the table does, and makes it printable.
    pub(crate) fn short_id(&self, id: &str) -> String {
        let length = self.scene().snapshot.widths().short_id;
        words::short_id(&self.theme.printable(id), length, self.theme.glyphs.ellipsis).into_owned()
    }

    fn page(&self) -> usize {
        self.viewport.rows
    }

    /// Marks the link as silent when no answer comes: a daemon that hangs must not be shown as `loop RUNNING` until the
    /// poll times out.
    fn detect_silence(&mut self) {
        if let Link::Up { last_answer } = self.link
            && self.now - last_answer >= SILENCE
        {
            self.link = Link::Silent { last_answer };
        }
    }

    fn apply_status(&mut self, reply: StatusReply) -> Vec<Effect> {
        let was_up = matches!(self.link, Link::Up { .. });
        self.link = Link::Up { last_answer: self.now };
        let change = self.live.snapshot.merge(reply);
        if self.frozen.is_some() {
            // On a frozen screen only the first line can change.
            return if was_up { vec![] } else { vec![Effect::Draw] };
        }
        if change == Change::Rows {
            self.view.arrange(self.live.snapshot.customers());
        }
        // A change of the clock alone is drawn on the tick.
        if change == Change::Nothing && was_up { vec![] } else { vec![Effect::Draw] }
    }

    fn add_events(&mut self, events: Vec<Event>) -> Vec<Effect> {
        let count = events.len();
        self.live.events.extend(events);
        let surplus = self.live.events.len().saturating_sub(MAX_EVENTS);
        self.live.events.drain(..surplus);
        if self.frozen.is_some() || count == 0 {
            return vec![];
        }
        // After scrolling to older events the operator must keep seeing them.
        if let Mode::Events { scroll } = &mut self.mode
            && *scroll > 0
        {
            *scroll += count;
        }
        vec![Effect::Draw]
    }

    fn finish_action(&mut self, action: &Action, outcome: Result<Reply, ActionError>) -> Vec<Effect> {
        self.running.retain(|running| running != action);
        match outcome {
            Ok(Reply::Steer(reply)) => {
                let message = sentence(&self.shorten_stop(&reply));
                if let Some(overview) = &mut self.live.snapshot.overview {
                    overview.cron = reply.cron;
                }
                self.show_notice(Tone::Good, message);
            }
            Ok(Reply::Refresh(reply)) => {
                let (tone, text) = self.summarize_refresh(action, reply);
                self.show_notice(tone, text);
            }
            // The client matches answers to requests; no other reply can come.
            Ok(
                Reply::Status(_)
                | Reply::Events(_)
                | Reply::Version(_)
                | Reply::Metrics(_)
                | Reply::Notify(_)
                | Reply::Reload(_),
            ) => {}
            Err(ActionError { why, hint }) => {
                let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                self.show_notice(Tone::Bad, format!("{}{hint}", sentence(&why)));
            }
        }
        vec![Effect::Draw]
    }

    /// Shortens the answer to a stop to one line: the header says how to start the loop.
    fn shorten_stop(&self, reply: &SteerReply) -> String {
        let message = with_local_times(&reply.message);
        let Some(since) = reply.cron.stopped_since else { return message };
        message.replace(&words::stopped(Some(since)), &format!("was stopped at {}", time(since, self.now)))
    }

    /// Summarizes a manual pass in one line.
    fn summarize_refresh(&self, action: &Action, reply: tbtoken_proto::RefreshReply) -> (Tone, String) {
        let Some(result) = reply.result else { return (Tone::Plain, sentence(&reply.message)) };
        match (action, result.details.as_slice()) {
            (Action::Refresh(_) | Action::ForceRefresh(_), [outcome]) => {
                let id = self.short_id(&outcome.customer_id);
                let message = outcome.message.as_deref().unwrap_or("the daemon gives no reason");
                match outcome.status {
                    OutcomeStatus::Success => {
                        let until = outcome
                            .new_expiry
                            .map(|expiry| format!(", good until {}", time(expiry, self.now)));
                        (Tone::Good, format!("{id} renewed{}.", until.unwrap_or_default()))
                    }
                    OutcomeStatus::Error => (Tone::Bad, format!("{id} failed: {}", sentence(message))),
                    OutcomeStatus::Skipped | OutcomeStatus::Unknown => {
                        (Tone::Plain, format!("{id} was not tried: {}", sentence(message)))
                    }
                }
            }
            (_, []) => (Tone::Good, sentence(&reply.message)),
            _ => {
                let skipped = result.total.saturating_sub(result.updated + result.errors);
                let tone = if result.errors > 0 { Tone::Bad } else { Tone::Good };
                let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
                (tone, format!("{} renewed, {} failed{skipped}.", result.updated, result.errors))
            }
        }
    }

    /// Shows a notice for as long as it takes to read: a bad one longer.
    fn show_notice(&mut self, tone: Tone, text: String) {
        let seconds = if tone == Tone::Bad { 20 } else { 8 };
        self.notice = Some(Notice { text, tone, until: self.now + TimeDelta::seconds(seconds) });
    }

    /// Freezes the scene, or unfreezes it.
    fn toggle_freeze(&mut self) {
        self.frozen = match self.frozen.take() {
            None => Some(FrozenScene { at: self.now, scene: self.live.clone() }),
            Some(_) => None,
        };
        self.arrange();
    }

    fn arrange(&mut self) {
        let scene = self.frozen.as_ref().map_or(&self.live, |frozen| &frozen.scene);
        self.view.arrange(scene.snapshot.customers());
    }
}
