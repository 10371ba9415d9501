//! When which receiver is told of a trouble: the names and defaults of Alertmanager, but a resolve waits for no grid and is
//! damped. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use chrono::{DateTime, TimeDelta, Utc};
use strum::IntoStaticStr;

use crate::clock::Clock;
use crate::engine::view::{Severity, Trouble};
use crate::model::StoredNotice;

/// Warnings are repeated this rarely at most: no person must be woken for them.
const WARNING_REPEAT: TimeDelta = TimeDelta::hours(24);

/// A trouble has grown with this many more customers, if they are a fifth more as well.
const GROWTH: usize = 10;

/// The times between messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// A trouble must last so long before people are told.
    pub group_wait: TimeDelta,
    /// The shortest time between two messages about growth.
    pub group_interval: TimeDelta,
    /// A trouble must be over for so long before people are told; one that comes back sooner is the same trouble.
    pub resolve_wait: TimeDelta,
    /// The time between repeats.
    pub repeat_interval: TimeDelta,
}

/// Which troubles a receiver is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Only those at least so bad.
    pub min_severity: Severity,
    /// Only those whose cause begins with one of these, unless there is none.
    pub causes: Vec<String>,
    /// Whether it is told that a trouble is over.
    pub send_resolved: bool,
}

impl Filter {
    fn wants(&self, trouble: &Trouble) -> bool {
        let begins = |prefix: &String| trouble.cause.starts_with(prefix.as_str());
        trouble.severity >= self.min_severity && (self.causes.is_empty() || self.causes.iter().any(begins))
    }
}

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Event {
    /// A trouble has begun.
    Firing,
    /// It concerns many more customers, or has become worse.
    Grown,
    /// It still lasts.
    Repeat,
    /// It is over.
    Resolved,
    /// An operator tests the receiver.
    Test,
}

/// A message before it is written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Why it is sent.
    pub event: Event,
    /// The trouble; for a resolved one as it was at its worst.
    pub trouble: Trouble,
    /// When the trouble began.
    pub since: DateTime<Utc>,
    /// Since when it is over.
    pub over_since: Option<DateTime<Utc>>,
    /// When this was decided.
    pub at: DateTime<Utc>,
    /// Tells two messages of the same event apart; the same in each daemon that decides the same.
    pub number: u64,
}

/// A trouble from its beginning until it has been over for a while.
#[derive(Debug, Clone)]
struct Episode {
    since: DateTime<Utc>,
    trouble: Trouble,
    most_customers: usize,
    most_lapsed: usize,
    /// Since when it is over.
    over_since: Option<DateTime<Utc>>,
    /// Whether this process has seen it.
    is_seen: bool,
}

/// What a receiver was told last.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: DateTime<Utc>,
    severity: Severity,
    customers: usize,
}

/// The state of all troubles and receivers.
#[derive(Debug)]
pub(super) struct Timing {
    times: Times,
    filters: Vec<Filter>,
    episodes: BTreeMap<String, Episode>,
    /// By receiver and cause.
    told: Vec<BTreeMap<String, Told>>,
}

impl Timing {
    /// Nothing is wrong yet.
    pub(super) fn new(times: Times, filters: Vec<Filter>) -> Self {
        let told = vec![BTreeMap::new(); filters.len()];
        Self { times, filters, episodes: BTreeMap::new(), told }
    }

    /// Takes over what an earlier process has told a receiver.
    pub(super) fn restore(&mut self, receiver: usize, notice: &StoredNotice) {
        let Some(told) = self.told.get_mut(receiver) else { return };
        let severity = notice.severity.parse().unwrap_or(Severity::Warning);
        let said = Told { at: notice.last_sent, severity, customers: notice.customers };
        told.entry(notice.cause.clone()).or_insert(said);
        self.episodes.entry(notice.cause.clone()).or_insert_with(|| Episode {
            since: notice.began,
            trouble: Trouble::of(notice.cause.clone(), severity),
            most_customers: notice.customers,
            most_lapsed: notice.lapsed,
            over_since: None,
            is_seen: false,
        });
    }

    /// The causes of all troubles that are not over for good.
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.episodes.keys().cloned().collect()
    }

    /// Takes over what is wrong at `now`, and offers each message that is due to its receiver; one that is not accepted is
    /// offered again. `proves_end` says whether a trouble that is not among them is over; it gets whether this process saw it.
    pub(super) fn observe(
        &mut self,
        now: DateTime<Utc>,
        troubles: Vec<Trouble>,
        proves_end: impl Fn(&str, bool) -> bool,
        mut offer: impl FnMut(usize, Message) -> bool,
    ) {
        self.correct_times(now);
        self.update(now, troubles, proves_end);
        for (receiver, (filter, told)) in self.filters.iter().zip(&mut self.told).enumerate() {
            for (cause, episode) in &self.episodes {
                let Some(message) = due(&self.times, filter, episode, told.get(cause), now) else { continue };
                let (event, severity) = (message.event, message.trouble.severity);
                if !offer(receiver, message) {
                    continue;
                }
                if event == Event::Resolved {
                    told.remove(cause);
                    continue;
                }
                let worst = told.get(cause).map_or(severity, |told| told.severity.max(severity));
                let said = Told { at: now, severity: worst, customers: episode.trouble.customers };
                told.insert(cause.clone(), said);
            }
        }
        let told = &self.told;
        self.episodes.retain(|cause, episode| {
            episode.over_since.is_none() || told.iter().any(|told| told.contains_key(cause))
        });
    }

    /// Moves all that would be after `now`, so that a clock that stepped backward silences nothing, and what is of a clock that
    /// cannot have been right. Such a clock moves nothing itself: else all were repeated once it is right.
    fn correct_times(&mut self, now: DateTime<Utc>) {
        if !Clock::is_credible(now) {
            return;
        }
        let episodes = self.episodes.values_mut();
        let times = episodes.flat_map(|it| iter::once(&mut it.since).chain(&mut it.over_since));
        for time in times.chain(self.told.iter_mut().flat_map(BTreeMap::values_mut).map(|told| &mut told.at))
        {
            *time = if Clock::is_credible(*time) { now.min(*time) } else { now };
        }
    }

    fn update(
        &mut self,
        now: DateTime<Utc>,
        troubles: Vec<Trouble>,
        proves_end: impl Fn(&str, bool) -> bool,
    ) {
        let mut present = BTreeSet::new();
        for trouble in troubles {
            present.insert(trouble.cause.clone());
            let episode = self.episodes.entry(trouble.cause.clone()).or_insert_with(|| Episode {
                since: now,
                trouble: trouble.clone(),
                most_customers: 0,
                most_lapsed: 0,
                over_since: None,
                is_seen: true,
            });
            (episode.over_since, episode.is_seen) = (None, true);
            episode.most_customers = episode.most_customers.max(trouble.customers);
            episode.most_lapsed = episode.most_lapsed.max(trouble.lapsed);
            episode.trouble = trouble;
        }
        for (cause, episode) in self.episodes.iter_mut().filter(|(cause, _)| !present.contains(*cause)) {
            if episode.over_since.is_none() && proves_end(cause, episode.is_seen) {
                episode.over_since = Some(now);
            }
        }
    }
}

/// The message that is due for one receiver about one trouble.
fn due(
    times: &Times,
    filter: &Filter,
    episode: &Episode,
    told: Option<&Told>,
    now: DateTime<Utc>,
) -> Option<Message> {
    let trouble = &episode.trouble;
    // Two messages of one event are at least this time apart, so that its number tells them apart.
    let nth = |time: TimeDelta| {
        u64::try_from((now - episode.since).num_seconds() / time.num_seconds().max(1)).unwrap_or(0)
    };
    let (event, number) = match (told, episode.over_since) {
        (Some(_), Some(over)) => (now >= over + times.resolve_wait).then_some((Event::Resolved, 0))?,
        (None, Some(_)) => return None,
        (None, None) => {
            let is_due = now >= episode.since + times.group_wait.max(trouble.least_duration);
            (is_due && episode.is_seen && filter.wants(trouble)).then_some((Event::Firing, 0))?
        }
        (Some(_), None) if !episode.is_seen || !filter.wants(trouble) => return None,
        (Some(told), None) => {
            let has_grown = trouble.customers >= told.customers + GROWTH
                && trouble.customers * 5 >= told.customers * 6
                || trouble.severity > told.severity;
            let repeat = match trouble.severity {
                Severity::Warning => times.repeat_interval.max(WARNING_REPEAT),
                Severity::Critical => times.repeat_interval,
            };
            if has_grown && now >= told.at + times.group_interval {
                (Event::Grown, nth(times.group_interval))
            } else {
                (now >= told.at + repeat).then_some((Event::Repeat, nth(times.repeat_interval)))?
            }
        }
    };
    let mut trouble = trouble.clone();
    if event == Event::Resolved {
        (trouble.customers, trouble.lapsed) = (episode.most_customers, episode.most_lapsed);
    }
    let (since, over_since) = (episode.since, episode.over_since);
    Some(Message { event, trouble, since, over_since, at: now, number })
}
