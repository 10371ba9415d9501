//! The state of the dashboard, and the one place where it changes.
//!
//! `App::take` takes an [`Input`] and the time, and returns what should be done about it; `App::fit` is told how much
//! of that there is room for. Neither does I/O or reads a clock, so that every key and every accident can be tested
//! without a terminal. How things are drawn is not known here.

mod keys;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::{Customer, Event, OutcomeStatus, Reply, StatusReply, words};

use crate::explain::Loop;
use crate::input::{Action, ActionError, Effect, Ending, Input};
use crate::mode::Mode;
use crate::picture::{Change, Picture};
use crate::text::{sentence, time, with_local_times};
use crate::theme::Theme;
use crate::view::View;

/// How many events are kept.
const MAX_EVENTS: usize = 1000;

/// The daemon is asked once a second. Without an answer for this long it is said to be silent.
const SILENCE: TimeDelta = TimeDelta::seconds(3);

/// The state of the dashboard.
#[derive(Debug)]
pub struct App {
    pub(crate) theme: Theme,
    /// Where the daemon should be.
    pub(crate) socket: String,
    pub(crate) now: DateTime<Utc>,
    pub(crate) link: Link,
    pub(crate) mode: Mode,
    pub(crate) view: View,
    /// Actions that were asked for and have not ended.
    pub(crate) running: Vec<Action>,
    notice: Option<Notice>,
    live: Scene,
    frozen: Option<Frozen>,
    pub(crate) size: (u16, u16),
    viewport: Viewport,
}

/// What the screen has room for, as the renderer measures it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Viewport {
    /// The customers that the table shows at a time.
    pub(crate) rows: usize,
    /// How far the text that the mode shows can be scrolled.
    pub(crate) surplus: usize,
}

/// What is there to be seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scene {
    pub(crate) picture: Picture,
    /// The last events, oldest first.
    pub(crate) events: VecDeque<Event>,
}

/// A scene that stands still while the real one goes on behind it.
#[derive(Debug)]
struct Frozen {
    at: DateTime<Utc>,
    scene: Scene,
}

/// How the connection to the daemon stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing was heard yet, neither good nor bad.
    Connecting,
    /// The last poll was answered.
    Up { heard: DateTime<Utc> },
    /// The poll has waited for its answer for so long that what is shown may be no longer true.
    Silent { heard: DateTime<Utc> },
    /// The last poll was not answered.
    Down {
        since: DateTime<Utc>,
        /// The last answer, if there ever was one.
        heard: Option<DateTime<Utc>>,
        retry_at: DateTime<Utc>,
        why: String,
        hint: Option<String>,
    },
}

/// A line of news for the operator, shown for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) tone: Tone,
    until: DateTime<Utc>,
}

/// Whether news are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
}

impl App {
    /// A dashboard that knows nothing yet. `socket` is where the daemon should be, for its messages.
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

    /// Takes one input in and says what to do about it. `now` is the time at which it came.
    pub(crate) fn take(&mut self, input: Input, now: DateTime<Utc>) -> Vec<Effect> {
        self.now = now;
        match input {
            Input::Key(key) => self.key(key),
            Input::Paste(text) => self.paste(&text),
            Input::Resize(columns, rows) => {
                self.size = (columns, rows);
                vec![Effect::Draw]
            }
            Input::Status(reply) => self.heard(*reply),
            Input::Events(events) => self.happened(events),
            Input::Disconnected { why, hint, retry_in } => {
                let (since, heard) = match self.link {
                    Link::Connecting => (now, None),
                    Link::Up { heard } => (now, Some(heard)),
                    Link::Silent { heard } => (heard, Some(heard)),
                    Link::Down { since, heard, .. } => (since, heard),
                };
                let retry_at = now + TimeDelta::from_std(retry_in).unwrap_or_default();
                self.link = Link::Down { since, heard, retry_at, why, hint };
                vec![Effect::Draw]
            }
            Input::Done(action, outcome) => self.done(&action, outcome),
            Input::Tick => {
                self.listen();
                vec![Effect::Draw]
            }
            Input::Continued => vec![Effect::Redraw],
            Input::Terminate => vec![Effect::Quit(Ending::Asked)],
            Input::TerminalGone => vec![Effect::Quit(Ending::TerminalGone)],
            Input::Broken(thread) => vec![Effect::Quit(Ending::Broken(thread))],
        }
    }

    /// Brings what is scrolled back within its bounds, after anything.
    pub(crate) fn fit(&mut self, viewport: Viewport) {
        self.viewport = viewport;
        self.view.follow(viewport.rows);
        match &mut self.mode {
            Mode::Detail { scroll, .. } | Mode::Events { scroll } | Mode::Help { scroll, .. } => {
                *scroll = (*scroll).min(viewport.surplus);
            }
            Mode::Table | Mode::Filter | Mode::SortMenu { .. } | Mode::Confirm { .. } => {}
        }
    }

    /// What is shown: the frozen scene if there is one.
    pub(crate) fn scene(&self) -> &Scene {
        self.frozen.as_ref().map_or(&self.live, |frozen| &frozen.scene)
    }

    /// The time for which it is shown.
    pub(crate) fn scene_time(&self) -> DateTime<Utc> {
        self.frozen_at().unwrap_or(self.now)
    }

    /// Since when the scene stands still, if it does.
    pub(crate) fn frozen_at(&self) -> Option<DateTime<Utc>> {
        self.frozen.as_ref().map(|frozen| frozen.at)
    }

    /// The customer that keys are about.
    pub(crate) fn subject(&self) -> Option<&Customer> {
        let id = match &self.mode {
            Mode::Detail { id, .. } => id,
            _ if self.view.len() > 0 => self.view.selected()?,
            _ => return None,
        };
        self.scene().picture.find(id)
    }

    /// Whether the loop will do what the daemon said it would.
    pub(crate) fn loop_state(&self) -> Loop {
        match (&self.link, &self.scene().picture.overview) {
            (Link::Up { .. }, Some(overview)) if overview.cron.running => Loop::Running,
            (Link::Up { .. }, Some(_)) => Loop::Stopped,
            (Link::Connecting | Link::Silent { .. } | Link::Down { .. }, _) | (_, None) => Loop::Unknown,
        }
    }

    /// The news to show now.
    pub(crate) fn notice(&self) -> Option<&Notice> {
        self.notice.as_ref().filter(|notice| notice.until > self.now)
    }

    /// An id as short as the table shows it, safe to show.
    pub(crate) fn short_id(&self, id: &str) -> String {
        let length = self.scene().picture.widths().short_id;
        words::short_id(&self.theme.foreign(id), length, self.theme.glyphs.ellipsis).into_owned()
    }

    fn page(&self) -> usize {
        self.viewport.rows
    }

    /// A daemon that hangs is no daemon: its `loop RUNNING` must not stand there until the poll gives up.
    fn listen(&mut self) {
        if let Link::Up { heard } = self.link
            && self.now - heard >= SILENCE
        {
            self.link = Link::Silent { heard };
        }
    }

    fn heard(&mut self, reply: StatusReply) -> Vec<Effect> {
        let was_up = matches!(self.link, Link::Up { .. });
        self.link = Link::Up { heard: self.now };
        let change = self.live.picture.merge(reply);
        if self.frozen.is_some() {
            // Only the first line can have changed.
            return if was_up { vec![] } else { vec![Effect::Draw] };
        }
        if change == Change::Rows {
            self.view.arrange(self.live.picture.customers());
        }
        // The clock alone is the tick's business.
        if change == Change::Nothing && was_up { vec![] } else { vec![Effect::Draw] }
    }

    fn happened(&mut self, events: Vec<Event>) -> Vec<Effect> {
        let count = events.len();
        self.live.events.extend(events);
        let surplus = self.live.events.len().saturating_sub(MAX_EVENTS);
        self.live.events.drain(..surplus);
        if self.frozen.is_some() || count == 0 {
            return vec![];
        }
        // Whoever reads older events keeps them under the eye.
        if let Mode::Events { scroll } = &mut self.mode
            && *scroll > 0
        {
            *scroll += count;
        }
        vec![Effect::Draw]
    }

    fn done(&mut self, action: &Action, outcome: Result<Reply, ActionError>) -> Vec<Effect> {
        self.running.retain(|running| running != action);
        match outcome {
            Ok(Reply::Steer(reply)) => {
                let message = sentence(&with_local_times(&reply.message));
                if let Some(overview) = &mut self.live.picture.overview {
                    overview.cron = reply.cron;
                }
                self.tell(Tone::Good, message);
            }
            Ok(Reply::Refresh(reply)) => {
                let (tone, text) = self.refresh_news(action, reply);
                self.tell(tone, text);
            }
            // The client matches answers to requests; no other reply can come.
            Ok(Reply::Status(_) | Reply::Events(_) | Reply::Version(_) | Reply::Reload(_)) => {}
            Err(ActionError { why, hint }) => {
                let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                self.tell(Tone::Bad, format!("{}{hint}", sentence(&why)));
            }
        }
        vec![Effect::Draw]
    }

    /// What came of a manual pass, in one line.
    fn refresh_news(&self, action: &Action, reply: tbtoken_proto::RefreshReply) -> (Tone, String) {
        let Some(result) = reply.result else { return (Tone::Plain, sentence(&reply.message)) };
        match (action, result.details.as_slice()) {
            (Action::Refresh(_) | Action::ForceRefresh(_), [outcome]) => {
                let id = self.short_id(&outcome.customer_id);
                let message = outcome.message.as_deref().unwrap_or("no reason was given");
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
                let left_alone = if skipped > 0 { format!(", {skipped} left alone") } else { String::new() };
                (tone, format!("{} renewed, {} failed{left_alone}.", result.updated, result.errors))
            }
        }
    }

    /// Tells the operator something, for as long as it takes to read: bad news longer.
    fn tell(&mut self, tone: Tone, text: String) {
        let seconds = if tone == Tone::Bad { 20 } else { 8 };
        self.notice = Some(Notice { text, tone, until: self.now + TimeDelta::seconds(seconds) });
    }

    /// Freezes the scene, or lets it go on.
    fn freeze(&mut self) {
        self.frozen = match self.frozen.take() {
            None => Some(Frozen { at: self.now, scene: self.live.clone() }),
            Some(_) => None,
        };
        self.arrange();
    }

    fn arrange(&mut self) {
        let scene = self.frozen.as_ref().map_or(&self.live, |frozen| &frozen.scene);
        self.view.arrange(scene.picture.customers());
    }
}
