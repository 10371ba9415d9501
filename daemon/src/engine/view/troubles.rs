//! The troubles for messages, grouped by cause. Each customer belongs to one trouble at most, by the list that attributes
//! lapses in the metrics.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use strum::{EnumString, IntoStaticStr};
use tbtoken_proto::{self as proto, BreakerState};

use super::row::Row;
use super::{ServerRow, Snapshot};
use crate::clock::Clock;
use crate::engine::counters::{Cause, Operation};
use crate::text;

/// The most customers that a trouble names.
const WORST: usize = 10;

/// How long the database may fail before it is a trouble. A restart of it takes less time.
const STORE_GRACE: TimeDelta = TimeDelta::seconds(30);

/// After this time a clock that stepped backward counts as right again.
const CLOCK_STEP: TimeDelta = TimeDelta::minutes(10);

/// The longest cause, in characters: what a store can keep.
const LONGEST_CAUSE: usize = 200;

/// How bad a trouble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    /// No customer is without a token, or a person must correct data.
    Warning,
    /// Customers have no token.
    Critical,
}

/// Something that is wrong, with all customers that it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The key of the group, such as `server:https://tb.example.com`.
    pub cause: String,
    /// How bad it is.
    pub severity: Severity,
    /// How many customers it concerns.
    pub customers: usize,
    /// How many of them have no valid token.
    pub lapsed: usize,
    /// When the first of their tokens ended.
    pub first_lapse: Option<DateTime<Utc>>,
    /// Those that need help first, each with its user name.
    pub worst: Vec<(String, String)>,
    /// What is known of it, for people; may quote a server.
    pub text: String,
    /// What to do.
    pub remedy: String,
    /// The command that shows more, or ends it.
    pub command: &'static str,
    /// How long it must last before it counts.
    pub least_duration: TimeDelta,
}

impl Trouble {
    /// Makes a trouble without customers and details.
    pub fn of(cause: String, severity: Severity) -> Self {
        Self {
            cause,
            severity,
            customers: 0,
            lapsed: 0,
            first_lapse: None,
            worst: Vec::new(),
            text: String::new(),
            remedy: String::new(),
            command: "tbctl status --problems",
            least_duration: TimeDelta::zero(),
        }
    }
}

/// Names a cause for people: a fragment such as `server tb.example.com is down`.
pub fn title(cause: &str) -> String {
    let (group, name) = cause.split_once(':').unwrap_or((cause, ""));
    let server = name.strip_prefix("https://").unwrap_or(name);
    let kind = serde_json::from_value(name.into()).map_or("unknown", proto::FailureKind::short);
    match group {
        "server" => format!("server {server} is down"),
        "parked" => format!("customers are parked: {kind}"),
        "failing" => format!("renewals fail: {kind}"),
        "store" => "the database fails".to_owned(),
        "permission" => "the database denies what tbtokend needs".to_owned(),
        "schema" => "the tables in the database do not fit".to_owned(),
        "clock" => "the clock of this machine is wrong, or stepped backward".to_owned(),
        "loop_stopped" => "the loop is stopped, and tokens have ended".to_owned(),
        "dead_tokens" => format!("server {server} refuses live tokens"),
        other => other.to_owned(),
    }
}

/// What customers are grouped by: the sort of trouble, and its server or kind of failure if it has one.
type Group<'a> = (&'static str, Option<&'a str>, Option<proto::FailureKind>);

pub(super) fn cause((sort, server, kind): Group<'_>) -> String {
    let kind = kind.and_then(|kind| serde_json::to_value(kind).ok());
    let cause = match server.or(kind.as_ref().and_then(serde_json::Value::as_str)) {
        Some(name) => format!("{sort}:{name}"),
        None => sort.to_owned(),
    };
    if cause.chars().count() <= LONGEST_CAUSE {
        return cause;
    }
    let hash = text::hash(&cause);
    format!("{}…{hash}", cause.chars().take(LONGEST_CAUSE - hash.len() - 1).collect::<String>())
}

const LOOP_STOPPED: Group<'_> = ("loop_stopped", None, None);

const CLOCK: Group<'_> = ("clock", None, None);

fn down(server: &str) -> Group<'_> {
    ("server", Some(server), None)
}

fn dead_tokens(server: &str) -> Group<'_> {
    ("dead_tokens", Some(server), None)
}

fn of_failure(sort: &'static str, row: &Row) -> Option<Group<'static>> {
    row.failure.as_ref().map(|failure| (sort, None, Some(failure.kind)))
}

/// The customers of a group.
#[derive(Debug, Default)]
struct Members<'a> {
    customers: usize,
    lapsed: usize,
    first_lapse: Option<DateTime<Utc>>,
    worst: Vec<&'a Row>,
}

impl<'a> Members<'a> {
    fn add(&mut self, row: &'a Row, now: DateTime<Utc>) {
        self.customers += 1;
        if row.has_lapsed(now) {
            self.lapsed += 1;
            self.first_lapse = [self.first_lapse, row.expiry].into_iter().flatten().min();
        }
        self.worst.push(row);
        if self.worst.len() > 100 {
            self.keep_worst();
        }
    }

    fn keep_worst(&mut self) {
        self.worst.sort_by(|one, other| one.problems_first(other));
        self.worst.truncate(WORST);
    }
}

/// What shows whether a trouble is over that has no customer at the moment.
#[derive(Debug)]
pub struct Evidence<'a> {
    snapshot: &'a Snapshot,
    now: DateTime<Utc>,
    /// The known troubles of customers that still have no token, though another trouble may have them now.
    lasting: HashSet<String>,
    /// Whether a customer without a token was not tried yet by this process.
    is_one_untried: bool,
}

impl Snapshot {
    /// What is wrong at `now`, and the evidence on what is not. `known` are the causes that were wrong before: a server stays one
    /// until it answers and none of its customers lacks a token, and a stopped loop until it is started. A server's tokens that
    /// end within `lead` count as lapsed for the beginning of its trouble.
    pub fn troubles(
        &self,
        now: DateTime<Utc>,
        lead: TimeDelta,
        known: &BTreeSet<String>,
    ) -> (Vec<Trouble>, Evidence<'_>) {
        let (lasting, is_one_untried) = self.lasting(now);
        let servers = self.servers_in_trouble(now, lead, &lasting, known);
        let is_clock_wrong = self.is_clock_wrong(now);
        let stays_stopped = self.conditions.is_stopped && known.contains(LOOP_STOPPED.0);
        let of_all =
            [self.store_group(), is_clock_wrong.then_some(CLOCK), stays_stopped.then_some(LOOP_STOPPED)];
        let mut groups: HashMap<Group<'_>, Members<'_>> =
            of_all.into_iter().flatten().map(|group| (group, Members::default())).collect();
        for row in self.rows.iter().map(AsRef::as_ref) {
            if let Some(group) = self.group_of(row, now, &servers, is_clock_wrong) {
                groups.entry(group).or_default().add(row, now);
            }
        }
        let troubles = groups.into_iter().map(|(group, members)| self.trouble(group, members)).collect();
        let lasting = lasting.into_iter().map(cause).filter(|cause| known.contains(cause)).collect();
        (troubles, Evidence { snapshot: self, now, lasting, is_one_untried })
    }

    /// The troubles of which customers still have no token, whatever trouble has them now; and whether one was not tried yet.
    fn lasting(&self, now: DateTime<Utc>) -> (HashSet<Group<'_>>, bool) {
        let is_open = |row: &&Arc<ServerRow>| row.server.breaker != BreakerState::Closed;
        let mut lasting: HashSet<Group<'_>> =
            self.servers.iter().filter(is_open).map(|row| down(&row.server.name)).collect();
        let mut is_one_untried = false;
        let lapsed = |row: &&Row| row.cause != Cause::Row && row.has_lapsed(now);
        for row in self.rows.iter().map(AsRef::as_ref).filter(lapsed) {
            is_one_untried |= row.cause == Cause::Down;
            lasting.extend(of_failure("failing", row));
            let Some(server) = row.server.as_ref().map(|server| server.as_str()) else { continue };
            // A database that rejects this row alone is no trouble of the server, nor is a failure since it answers again.
            let is_its = (row.cause != Cause::Store || self.store_class.is_some()) && !self.fails_on(row);
            lasting.extend(is_its.then_some(down(server)));
            lasting.extend(row.is_refused().then_some(dead_tokens(server)));
        }
        (lasting, is_one_untried)
    }

    /// Whether the last attempt has failed since its server answers, so that the customer waits for something else.
    fn fails_on(&self, row: &Row) -> bool {
        let since = row.server.as_ref().and_then(|server| {
            let at = self.servers.binary_search_by(|it| it.server.name.as_str().cmp(server.as_str())).ok()?;
            self.servers.get(at)?.answers_since
        });
        let own = row.failure.as_ref().filter(|failure| failure.consecutive > 0);
        own.zip(since).is_some_and(|(failure, since)| failure.at > since)
    }

    fn store_group(&self) -> Option<Group<'static>> {
        let sort = self.store_class.map(|class| match class {
            "permission" | "schema" => class,
            _ => "store",
        });
        sort.map(|sort| (sort, None, None))
    }

    fn is_clock_wrong(&self, now: DateTime<Utc>) -> bool {
        !Clock::is_credible(now) || self.clock_stepped_at.is_some_and(|at| (now - at).abs() < CLOCK_STEP)
    }

    fn servers_in_trouble(
        &self,
        now: DateTime<Utc>,
        lead: TimeDelta,
        lasting: &HashSet<Group<'_>>,
        known: &BTreeSet<String>,
    ) -> HashSet<&str> {
        let others = [Cause::Row, Cause::Store, Cause::Operator];
        let ends = |row: &&Arc<Row>| {
            row.has_lapsed(now + lead) && !others.contains(&self.conditions.attribute(row.cause))
        };
        let ending: HashSet<&str> =
            self.rows.iter().filter(ends).filter_map(|row| Some(row.server.as_ref()?.as_str())).collect();
        let is_in_trouble = |server: &&proto::Server| {
            let group = down(&server.name);
            server.breaker != BreakerState::Closed && ending.contains(server.name.as_str())
                || lasting.contains(&group) && known.contains(&cause(group))
        };
        let servers = self.servers.iter().map(|row| &row.server);
        servers.filter(is_in_trouble).map(|server| server.name.as_str()).collect()
    }

    fn group_of<'a>(
        &self,
        row: &'a Row,
        now: DateTime<Utc>,
        servers: &HashSet<&str>,
        is_clock_wrong: bool,
    ) -> Option<Group<'a>> {
        let has_lapsed = row.has_lapsed(now);
        let server = row.server.as_ref().map(|server| server.as_str());
        let waits_for_server =
            server.is_some_and(|it| servers.contains(it)) && !(has_lapsed && self.fails_on(row));
        match self.conditions.attribute(row.cause) {
            Cause::Row => of_failure("parked", row),
            Cause::Store if has_lapsed && self.store_class.is_some() => self.store_group(),
            Cause::Operator if has_lapsed => Some(LOOP_STOPPED),
            _ if waits_for_server => server.map(down),
            _ if !has_lapsed => None,
            Cause::Server if row.failure.is_none() && row.is_refused() => server.map(dead_tokens),
            Cause::Server | Cause::Store => of_failure("failing", row),
            Cause::Clock if is_clock_wrong => Some(CLOCK),
            _ => None,
        }
    }

    fn trouble(&self, group: Group<'_>, mut members: Members<'_>) -> Trouble {
        members.keep_worst();
        let failure = members.worst.iter().find_map(|row| row.failure.as_deref());
        let (message, remedy) = failure
            .map_or_else(Default::default, |failure| (failure.message.clone(), failure.remedy.clone()));
        let problems = "tbctl status --problems";
        let (severity, text, remedy, command) = match group.0 {
            "clock" => {
                let remedy = "Set it: timedatectl set-ntp true".to_owned();
                (Severity::Warning, String::new(), remedy, "timedatectl")
            }
            "loop_stopped" => {
                let text = format!("the loop {}", proto::words::stopped(self.cron.stopped_since));
                (Severity::Critical, text, "Start the loop.".to_owned(), "tbctl start")
            }
            "dead_tokens" => {
                let remedy = "They are replaced by themselves. If this stays, find out what invalidates them: a new signing key, another password, a deleted user.";
                (Severity::Warning, String::new(), remedy.to_owned(), problems)
            }
            "parked" => (Severity::Warning, message, remedy, problems),
            "server" if members.lapsed == 0 => (Severity::Warning, message, remedy, problems),
            "server" | "failing" => (Severity::Critical, message, remedy, problems),
            _ => {
                let error = self.daemon.store_error.clone().unwrap_or_default();
                let unsaved = match self.unsaved {
                    0 => String::new(),
                    1 => " One token waits to be saved.".to_owned(),
                    unsaved => format!(" {unsaved} tokens wait to be saved."),
                };
                let remedy = format!("Run the command: it says what is wrong with the database.{unsaved}");
                (Severity::Critical, error, remedy, "sudo tbtokend doctor")
            }
        };
        let worst = members.worst.iter().map(|row| (row.id().to_owned(), row.username().to_owned()));
        Trouble {
            customers: members.customers,
            lapsed: members.lapsed,
            first_lapse: members.first_lapse,
            worst: worst.collect(),
            text,
            remedy,
            command,
            least_duration: if group.0 == "store" { STORE_GRACE } else { TimeDelta::zero() },
            ..Trouble::of(cause(group), severity)
        }
    }
}

impl Evidence<'_> {
    /// Whether a trouble is over that nothing shows at the moment. Its customers may be in another trouble now, which ends
    /// nothing. If an earlier process told of it and this one has not seen it, this takes more: the server has answered, its
    /// tokens were proven, the customers were tried, the database has worked.
    pub fn proves_end(&self, cause: &str, is_seen: bool) -> bool {
        let (snapshot, counters) = (self.snapshot, &self.snapshot.counters);
        let is_read = snapshot.tokens.as_of.is_some() && snapshot.tokens.success;
        if self.lasting.contains(cause) || !is_seen && !is_read {
            return false;
        }
        // A long cause ends in a hash of the name.
        let names = |name: &str, group: fn(&str) -> Group<'_>| {
            cause.ends_with(name) || name.len() > LONGEST_CAUSE / 2 && self::cause(group(name)) == cause
        };
        let was_tried = snapshot.cron.last_run.is_some() && !snapshot.cron.refreshing;
        match cause.split_once(':') {
            None if ["store", "permission", "schema"].contains(&cause) => {
                let was_used = |operation| counters.store.get(&operation).is_some_and(|it| it.count() > 0);
                snapshot.store_class.is_none()
                    && (is_seen || was_used(Operation::Read) && was_used(Operation::Write))
            }
            _ if is_seen => true,
            // Of a server that no customer uses any more nothing else comes.
            Some(("server", _)) => {
                let server = snapshot.servers.iter().find(|row| names(&row.server.name, down));
                server.is_none_or(|row| row.has_answered)
            }
            Some(("dead_tokens", _)) => {
                let is_its =
                    |row: &Row| row.server.as_ref().is_some_and(|it| names(it.as_str(), dead_tokens));
                let started_at = snapshot.daemon.started_at;
                let is_fine = |row: &Row| {
                    row.cause == Cause::Row || row.has_lapsed(self.now) || row.is_proven_since(started_at)
                };
                snapshot.rows.iter().all(|row| is_fine(row) || !is_its(row))
            }
            _ => was_tried && !self.is_one_untried,
        }
    }
}
