//! The changes by a check of a token. A token that ThingsBoard no longer accepts has ended, and the others of its server
//! are in question.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use strum::{EnumIter, IntoStaticStr};

use super::super::history::{Notice, NoticeKind};
use super::{CustomerState, State};
use crate::engine::policy::Policy;
use crate::model::{CustomerId, DeadCause, ServerKey, TokenAnswer, VerifyTokens};

/// The result of the last check of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum CheckResult {
    /// No check yet: the token is new, which proves that it works.
    New,
    /// ThingsBoard accepts it.
    Works,
    /// ThingsBoard does not accept it.
    Dead,
    /// ThingsBoard does not accept it, so soon after the last dead token that it is not renewed.
    Disputed,
    /// The check had no clear answer.
    Unclear,
}

/// A token that died before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenDeath {
    /// When it was found dead.
    pub(super) at: DateTime<Utc>,
    /// Whether it is no longer in the row, or works again.
    is_over: bool,
    /// Whether another dead token came too soon after it, and this was reported.
    is_disputed: bool,
}

/// Within this time after a dead token, no other dead token of the customer is renewed. Otherwise two nodes of a server with
/// different signing keys would cause renewals without end.
const ONE_RENEWAL_IN: TimeDelta = TimeDelta::minutes(10);

/// For so long after a dead token, the checks of its server's other tokens that had no clear answer are repeated.
const REPEATED_FOR: TimeDelta = TimeDelta::hours(1);

/// The longest pause between checks of a server without a clear answer, in intervals.
const LONGEST_PAUSE: i32 = 4;

/// The state of the checks of one server's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    /// The time of the last check.
    at: Option<DateTime<Utc>>,
    /// How many intervals the next check waits; one after a clear answer.
    pause: i32,
    /// When a token was found dead. All tokens without a clear answer since then are in question.
    suspect_since: Option<DateTime<Utc>>,
    /// The dead tokens since then.
    died: usize,
    /// Whether an older token was found to work.
    some_work: bool,
}

impl Checks {
    /// Whether a token of the server may be checked now. Tokens in question are checked at once.
    pub fn may_begin(&self, now: DateTime<Utc>, interval: TimeDelta) -> bool {
        // The answer of the last check came some time after its poll, so a whole interval would skip a poll.
        let wait = (interval * self.pause.max(1)) - interval / 4;
        (self.suspect_since.is_some() && self.pause == 0) || self.at.is_none_or(|at| (now - at).abs() >= wait)
    }

    /// Whether a server that is down may be probed for its tokens' sake: once in an interval, even if they are in question.
    pub fn may_probe(&self, now: DateTime<Utc>, interval: TimeDelta) -> bool {
        self.at.is_none_or(|at| (now - at).abs() >= interval - interval / 4)
    }

    /// When its tokens came into question, if they are.
    pub fn suspect_since(&self) -> Option<DateTime<Utc>> {
        self.suspect_since
    }

    fn note(&mut self, answer: TokenAnswer, has_died: bool, at: DateTime<Utc>) {
        self.at = Some(at);
        self.pause = match answer {
            TokenAnswer::Works | TokenAnswer::Dead(_) => 0,
            TokenAnswer::NoAnswer => 1,
            TokenAnswer::Unclear => (self.pause * 2).clamp(2, LONGEST_PAUSE),
        };
        self.some_work |= answer == TokenAnswer::Works && self.suspect_since.is_some();
        if has_died {
            self.suspect_since.get_or_insert(at);
            self.died += 1;
        }
    }

    /// The check was abandoned. The next one waits as after an answer, so that a silent server does not get more checks.
    fn abandon(&mut self, at: DateTime<Utc>) {
        self.at = Some(at);
    }

    pub(super) fn clock_stepped(&mut self, by: TimeDelta) {
        for at in [&mut self.at, &mut self.suspect_since].into_iter().flatten() {
            *at -= by;
        }
    }

    /// Ends the question, because all tokens in question were checked. Returns the message about it.
    fn end(&mut self, server: &ServerKey) -> String {
        let (died, some_work) = (std::mem::take(&mut self.died), std::mem::take(&mut self.some_work));
        self.suspect_since = None;
        let why = match (died, some_work) {
            (1, true) => "was its password changed, or its user deleted?",
            (_, true) => "were passwords changed, or users deleted?",
            (1, false) => "was its password or the server's signing key changed?",
            (_, false) => "has its signing key changed?",
        };
        let tokens = if died == 1 { "token" } else { "tokens" };
        let their = if died == 1 { "its" } else { "their" };
        format!("{died} {tokens} of {server} died before {their} time: {why}")
    }
}

impl CustomerState {
    /// The death of the token in the row, if it is dead.
    pub(super) fn dead(&self) -> Option<&TokenDeath> {
        self.death.as_deref().filter(|death| !death.is_over)
    }

    /// Whether its token was found dead.
    pub fn is_dead(&self) -> bool {
        self.dead().is_some()
    }

    /// Ends the death: another token is in the row, or this one works again.
    pub(super) fn end_death(&mut self) {
        if let Some(death) = &mut self.death {
            death.is_over = true;
        }
    }

    /// Whether its token may be checked: it needs no renewal soon.
    pub fn is_checkable(&self, now: DateTime<Utc>, policy: &Policy) -> bool {
        policy.verify_tokens != VerifyTokens::Off
            && self.row.has_token
            && self.unsaved.is_none()
            && self.declared_end().is_some_and(|end| end - self.window(policy.window) > now)
    }

    /// Whether its token was not checked since then.
    pub fn is_unchecked_since(&self, since: DateTime<Utc>) -> bool {
        self.checked.is_none_or(|(at, _)| at < since)
    }

    /// Whether its token is in question since a token of its server was found dead at that time.
    pub fn is_in_question_since(&self, since: DateTime<Utc>) -> bool {
        self.checked.is_none_or(|(at, found)| {
            at < since || found == CheckResult::Unclear && at - since < REPEATED_FOR
        })
    }

    /// Whether its dead token was not renewed because it came too soon, and this time is over.
    pub fn is_in_question_again(&self, now: DateTime<Utc>) -> bool {
        matches!(self.checked, Some((_, CheckResult::Disputed)))
            && self.death.as_deref().is_none_or(|death| (now - death.at).abs() >= ONE_RENEWAL_IN)
    }

    /// Takes over the result of a check. Returns the kind of notice, if one is due.
    fn token_checked(&mut self, answer: TokenAnswer, at: DateTime<Utc>) -> Option<NoticeKind> {
        if answer == TokenAnswer::Works {
            self.end_death();
        }
        let is_dead = self.is_dead();
        let last = self.death.as_deref_mut().filter(|death| (at - death.at).abs() < ONE_RENEWAL_IN);
        let (found, notice) = match (answer, last) {
            (TokenAnswer::Works, _) => (CheckResult::Works, None),
            // An answer that proves nothing leaves a dead token dead.
            _ if is_dead => (CheckResult::Dead, None),
            (TokenAnswer::Unclear | TokenAnswer::NoAnswer, _) => (CheckResult::Unclear, None),
            (TokenAnswer::Dead(_), Some(last)) => {
                let was_reported = std::mem::replace(&mut last.is_disputed, true);
                (CheckResult::Disputed, (!was_reported).then_some(NoticeKind::TokenDisputed))
            }
            (TokenAnswer::Dead(_), None) => {
                self.death = Some(Box::new(TokenDeath { at, is_over: false, is_disputed: false }));
                (CheckResult::Dead, Some(NoticeKind::TokenDead))
            }
        };
        self.checked = Some((at, found));
        notice
    }
}

impl State {
    /// A token was checked.
    pub(super) fn token_checked(&mut self, id: &CustomerId, answer: TokenAnswer, at: DateTime<Utc>) {
        let window = self.policy.window;
        let Some(mut edit) = self.customers.edit(id, at) else { return };
        let notice = edit.token_checked(answer, at);
        edit.status = edit.status_at(at, window);
        let server = edit.server.clone();
        drop(edit);
        let has_died = notice == Some(NoticeKind::TokenDead);
        if let (true, TokenAnswer::Dead(cause)) = (has_died, answer) {
            *self.customers.counters_mut().dead_tokens.entry(cause).or_default() += 1;
            self.has_new_death = true;
        }
        if let Some(server) = server.and_then(|server| self.servers.get_mut(&server)) {
            server.checks.note(answer, has_died, at);
        }
        let message = match (answer, notice) {
            (_, Some(NoticeKind::TokenDisputed)) => {
                "ThingsBoard refuses its token again within ten minutes, so it is not renewed before that; do several nodes with different signing keys answer at tb_url?"
            }
            (TokenAnswer::Dead(DeadCause::Outdated), _) => {
                "ThingsBoard says that its token is outdated: its password was changed; it is renewed now"
            }
            _ => "ThingsBoard no longer accepts its token, although it has not ended; it is renewed now",
        };
        if let Some(kind) = notice {
            // The log has one line for all of a server.
            self.add_notice(Notice::new(at, kind, message.to_owned()).of(id).quiet(has_died));
        }
    }

    /// The pass abandoned a check.
    pub(super) fn check_abandoned(&mut self, id: &CustomerId, at: DateTime<Utc>) {
        let server = self.customers.get(id).and_then(|customer| customer.server.as_ref());
        if let Some(server) = server.and_then(|server| self.servers.get_mut(server)) {
            server.checks.abandon(at);
        }
    }

    /// Whether a token was found dead since the last call.
    pub fn take_new_death(&mut self) -> bool {
        std::mem::take(&mut self.has_new_death)
    }

    /// Reports the dead tokens of each server once, when all its tokens in question were checked.
    pub(super) fn report_dead_tokens(&mut self, at: DateTime<Utc>) {
        let mut in_question: HashSet<&ServerKey> = HashSet::new();
        if self.servers.values().any(|server| server.checks.suspect_since.is_some()) {
            for customer in self.customers.values() {
                if let Some(server) = &customer.server
                    && let Some(since) =
                        self.servers.get(server).and_then(|server| server.checks.suspect_since)
                    && customer.is_in_question_since(since)
                    && customer.is_checkable(at, &self.policy)
                {
                    in_question.insert(server);
                }
            }
        }
        let suspects = self.servers.iter_mut().filter(|(_, server)| server.checks.suspect_since.is_some());
        let ended = suspects.filter(|(key, _)| !in_question.contains(key));
        let messages: Vec<_> = ended.map(|(key, server)| server.checks.end(key)).collect();
        for message in messages {
            self.note(at, NoticeKind::TokenDead, None, message);
        }
    }
}
