//! What a check of a token changes: a token that ThingsBoard no longer takes has ended, and the others of its server are in
//! question.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use strum::{EnumIter, IntoStaticStr};

use super::super::history::{Notice, NoticeKind};
use super::{Entry, State};
use crate::engine::policy::Policy;
use crate::model::{CustomerId, DeadCause, ServerKey, TokenAnswer, VerifyTokens};

/// What was found of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Found {
    /// It has come just now, which proves that it works.
    New,
    /// It was checked: ThingsBoard takes it.
    Works,
    /// It was checked: ThingsBoard does not take it.
    Dead,
    /// The same so soon after another one was replaced for it that nothing is done.
    Disputed,
    /// It was checked, and nothing is known of it.
    Unclear,
}

/// A token that died before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Death {
    /// When it was found dead.
    pub(super) at: DateTime<Utc>,
    /// It is not in the row any more, or works again.
    is_over: bool,
    /// One was found dead again too soon, and this was told.
    is_disputed: bool,
}

/// Within this time after a dead token no other one of the customer is renewed for being dead: two nodes of a ThingsBoard with
/// different signing keys would have it renewed for ever.
const ONE_RENEWAL_IN: TimeDelta = TimeDelta::minutes(10);

/// The longest pause between checks of a server whose answers say nothing, in intervals.
const LONGEST_PAUSE: i32 = 32;

/// How the checks of one server's tokens stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    /// The last one.
    at: Option<DateTime<Utc>>,
    /// How many intervals the next one waits after it; one after a conclusive one.
    pause: i32,
    /// A token of it was found dead then. All that were not proven since are in question.
    suspect_since: Option<DateTime<Utc>>,
    /// Dead tokens since then.
    died: usize,
    /// Whether a token from before was found to work.
    some_work: bool,
}

impl Checks {
    /// Whether a token of the server may be checked; those in question at once.
    pub fn may_begin(&self, now: DateTime<Utc>, interval: TimeDelta) -> bool {
        // A poll may come a little sooner after the one before than the answer then took.
        let wait = (interval * self.pause.max(1)) - interval / 4;
        (self.suspect_since.is_some() && self.pause == 0) || self.at.is_none_or(|at| (now - at).abs() >= wait)
    }

    /// Since when its tokens are in question.
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

    /// What would have been the answer is not known. The next check waits as after one, so that a server that does not answer
    /// gets no more of them.
    fn cut_short(&mut self, at: DateTime<Utc>) {
        self.at = Some(at);
    }

    pub(super) fn clock_stepped(&mut self, by: TimeDelta) {
        for at in [&mut self.at, &mut self.suspect_since].into_iter().flatten() {
            *at -= by;
        }
    }

    /// All tokens in question were checked. What is to be said about it.
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

impl Entry {
    /// The death of the token that is in the row.
    pub(super) fn dead(&self) -> Option<&Death> {
        self.death.as_deref().filter(|death| !death.is_over)
    }

    /// Whether its token was found dead.
    pub fn is_dead(&self) -> bool {
        self.dead().is_some()
    }

    /// Another token is in the row, or this one works again.
    pub(super) fn end_death(&mut self) {
        if let Some(death) = &mut self.death {
            death.is_over = true;
        }
    }

    /// Whether there is a token that needs no renewal soon, of which it may be asked whether it works.
    pub fn is_checkable(&self, now: DateTime<Utc>, policy: &Policy) -> bool {
        policy.verify_tokens != VerifyTokens::Off
            && self.customer.has_token
            && self.unsaved.is_none()
            && self.declared_end().is_some_and(|end| end - self.window(policy.window) > now)
    }

    /// Whether its token has not been proven to work since then.
    pub fn is_unproven_since(&self, since: DateTime<Utc>) -> bool {
        self.checked.is_none_or(|(at, _)| at < since)
    }

    /// Whether its token was found dead too soon after another one, and that is no reason any more to leave it.
    pub fn is_in_question_again(&self, now: DateTime<Utc>) -> bool {
        matches!(self.checked, Some((_, Found::Disputed)))
            && self.death.as_deref().is_none_or(|death| (now - death.at).abs() >= ONE_RENEWAL_IN)
    }

    /// What came of a check. Says what is news of it.
    fn token_checked(&mut self, answer: TokenAnswer, at: DateTime<Utc>) -> Option<NoticeKind> {
        if answer == TokenAnswer::Works {
            self.end_death();
        }
        let is_dead = self.is_dead();
        let last = self.death.as_deref_mut().filter(|death| (at - death.at).abs() < ONE_RENEWAL_IN);
        let (found, news) = match (answer, last) {
            (TokenAnswer::Works, _) => (Found::Works, None),
            (TokenAnswer::Unclear | TokenAnswer::NoAnswer, _) => (Found::Unclear, None),
            (TokenAnswer::Dead(_), _) if is_dead => (Found::Dead, None),
            (TokenAnswer::Dead(_), Some(last)) => {
                let was_told = std::mem::replace(&mut last.is_disputed, true);
                (Found::Disputed, (!was_told).then_some(NoticeKind::TokenDisputed))
            }
            (TokenAnswer::Dead(_), None) => {
                self.death = Some(Box::new(Death { at, is_over: false, is_disputed: false }));
                (Found::Dead, Some(NoticeKind::TokenDead))
            }
        };
        self.checked = Some((at, found));
        news
    }
}

impl State {
    /// A token was checked.
    pub(super) fn token_checked(&mut self, id: &CustomerId, answer: TokenAnswer, at: DateTime<Utc>) {
        let window = self.policy.window;
        let Some(mut edit) = self.customers.edit(id, at) else { return };
        let news = edit.token_checked(answer, at);
        edit.status = edit.status_at(at, window);
        let server = edit.server.clone();
        drop(edit);
        let has_died = news == Some(NoticeKind::TokenDead);
        if let (true, TokenAnswer::Dead(cause)) = (has_died, answer) {
            *self.customers.counters_mut().dead_tokens.entry(cause).or_default() += 1;
            self.has_new_death = true;
        }
        if let Some(server) = server.and_then(|server| self.servers.get_mut(&server)) {
            server.checks.note(answer, has_died, at);
        }
        let message = match (answer, news) {
            (_, Some(NoticeKind::TokenDisputed)) => {
                "ThingsBoard refuses its token again within ten minutes; it is left as it is until then: do several nodes with different signing keys answer at tb_url?"
            }
            (TokenAnswer::Dead(DeadCause::Outdated), _) => {
                "ThingsBoard says that its token is outdated: its password was changed; it is renewed now"
            }
            _ => "ThingsBoard no longer takes its token, whose end lies ahead; it is renewed now",
        };
        if let Some(kind) = news {
            // The log has one line for all of a server.
            self.tell(Notice::new(at, kind, message.to_owned()).of(id).quiet(has_died));
        }
    }

    /// The pass did not wait for the answer to a check.
    pub(super) fn check_cut_short(&mut self, id: &CustomerId, at: DateTime<Utc>) {
        let server = self.customers.get(id).and_then(|entry| entry.server.as_ref());
        if let Some(server) = server.and_then(|server| self.servers.get_mut(server)) {
            server.checks.cut_short(at);
        }
    }

    /// Whether a token was found dead since this was last asked.
    pub fn take_new_death(&mut self) -> bool {
        std::mem::take(&mut self.has_new_death)
    }

    /// Says once for each server how many of its tokens were found dead, when all in question were checked.
    pub(super) fn tell_dead_tokens(&mut self, at: DateTime<Utc>) {
        let mut in_question: HashSet<&ServerKey> = HashSet::new();
        if self.servers.values().any(|server| server.checks.suspect_since.is_some()) {
            for entry in self.customers.values() {
                if let Some(server) = &entry.server
                    && let Some(since) =
                        self.servers.get(server).and_then(|server| server.checks.suspect_since)
                    && entry.is_unproven_since(since)
                    && entry.is_checkable(at, &self.policy)
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
