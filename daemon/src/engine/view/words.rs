//! Our own enumerations in the protocol's words.

use chrono::{DateTime, Utc};
use tbtoken_proto as proto;

use super::super::history::{Notice, NoticeKind};
use super::super::outcome::Outcome;
use super::super::policy::Trigger;
use super::super::state::{Entry, Former, Found};
use crate::model::{Changes, CustomerId, FailureKind, TokenStatus};
use crate::thingsboard::gate::Breaker;

pub(super) fn status(status: TokenStatus) -> proto::TokenStatus {
    match status {
        TokenStatus::Missing => proto::TokenStatus::Missing,
        TokenStatus::Expired => proto::TokenStatus::Expired,
        TokenStatus::ExpiringSoon => proto::TokenStatus::ExpiringSoon,
        TokenStatus::Valid => proto::TokenStatus::Valid,
    }
}

pub(super) fn breaker_state(breaker: Breaker) -> proto::BreakerState {
    match breaker {
        Breaker::Closed => proto::BreakerState::Closed,
        Breaker::HalfOpen => proto::BreakerState::HalfOpen,
        Breaker::Open => proto::BreakerState::Open,
    }
}

pub(super) fn trigger(trigger: Trigger) -> proto::Trigger {
    match trigger {
        Trigger::Start => proto::Trigger::Start,
        Trigger::Schedule => proto::Trigger::Schedule,
        Trigger::Early => proto::Trigger::Early,
        Trigger::Manual => proto::Trigger::Manual,
    }
}

/// Why the last attempt failed; for a customer that was left out because of its server, what is wrong with that.
pub(super) fn failure(entry: &Entry, now: DateTime<Utc>) -> Option<proto::Failure> {
    if let Some(note) = &entry.record().failure {
        return Some(proto::Failure {
            kind: failure_kind(note.kind),
            message: note.message.clone(),
            remedy: note.kind.remedy().to_owned(),
            at: note.at,
            consecutive: note.consecutive,
            permanent: note.permanent,
            waiting: entry.deferred.as_ref().map(ToString::to_string),
        });
    }
    let deferral = entry.deferred.as_deref()?;
    let kind = deferral.kind()?;
    Some(proto::Failure {
        kind: failure_kind(kind),
        message: deferral.to_string(),
        remedy: kind.remedy().to_owned(),
        at: now,
        consecutive: 0,
        permanent: false,
        waiting: None,
    })
}

pub(super) fn failure_kind(kind: FailureKind) -> proto::FailureKind {
    match kind {
        FailureKind::CredentialsRejected => proto::FailureKind::CredentialsRejected,
        FailureKind::AttemptsExhausted => proto::FailureKind::AttemptsExhausted,
        FailureKind::AccountDisabled => proto::FailureKind::AccountDisabled,
        FailureKind::AccountLocked => proto::FailureKind::AccountLocked,
        FailureKind::PasswordExpired => proto::FailureKind::PasswordExpired,
        FailureKind::PasswordViolatesPolicy => proto::FailureKind::PasswordViolatesPolicy,
        FailureKind::SecondFactorRequired => proto::FailureKind::SecondFactorRequired,
        FailureKind::RateLimited => proto::FailureKind::RateLimited,
        FailureKind::ServerError => proto::FailureKind::ServerError,
        FailureKind::Unreachable => proto::FailureKind::Unreachable,
        FailureKind::Timeout => proto::FailureKind::Timeout,
        FailureKind::UnexpectedResponse => proto::FailureKind::UnexpectedResponse,
        FailureKind::BadUrl => proto::FailureKind::BadUrl,
        FailureKind::InsecureUrl => proto::FailureKind::InsecureUrl,
        FailureKind::TokenTooLong => proto::FailureKind::TokenTooLong,
        FailureKind::Database => proto::FailureKind::Database,
    }
}

pub(super) fn outcome((id, outcome): (CustomerId, Outcome)) -> proto::Outcome {
    let mut shown = proto::Outcome {
        customer_id: id.to_string(),
        status: proto::OutcomeStatus::Success,
        new_expiry: None,
        kind: None,
        message: None,
    };
    match outcome {
        Outcome::Renewed(expiry) => shown.new_expiry = Some(expiry),
        Outcome::Failed(kind, message) => {
            shown.status = proto::OutcomeStatus::Error;
            shown.kind = Some(failure_kind(kind));
            shown.message = Some(message);
        }
        Outcome::Skipped(message) => {
            shown.status = proto::OutcomeStatus::Skipped;
            shown.message = Some(message);
        }
    }
    shown
}

pub(super) fn former((id, former): (&CustomerId, &Former)) -> proto::Ineligible {
    proto::Ineligible {
        customer_id: id.to_string(),
        reason: former.reason(),
        since: former.since,
        tbtokenexpiry: former.ends_at,
    }
}

/// The last check of a token; none for one that has just come.
pub(super) fn check((at, found): (DateTime<Utc>, Found)) -> Option<proto::Check> {
    let found = match found {
        Found::New => return None,
        Found::Works => proto::CheckFound::Works,
        Found::Dead => proto::CheckFound::Dead,
        Found::Disputed => proto::CheckFound::Disputed,
        Found::Unclear => proto::CheckFound::Unclear,
    };
    Some(proto::Check { at, found })
}

pub(super) fn changes(changes: &Changes) -> Vec<proto::Change> {
    changes.iter().filter_map(|(at, kind)| Some(proto::Change { at, kind: event_kind(kind)? })).collect()
}

/// The kind of a notice as an event; warnings are for the log alone.
fn event_kind(kind: NoticeKind) -> Option<proto::EventKind> {
    Some(match kind {
        NoticeKind::Renewed => proto::EventKind::Renewed,
        NoticeKind::Failed => proto::EventKind::Failed,
        NoticeKind::Parked => proto::EventKind::Parked,
        NoticeKind::Unparked => proto::EventKind::Unparked,
        NoticeKind::Recovered => proto::EventKind::Recovered,
        NoticeKind::Expired => proto::EventKind::Expired,
        NoticeKind::TokenDead => proto::EventKind::TokenDead,
        NoticeKind::TokenDisputed => proto::EventKind::TokenDisputed,
        NoticeKind::Ineligible => proto::EventKind::Ineligible,
        NoticeKind::PassStarted => proto::EventKind::PassStarted,
        NoticeKind::PassFinished => proto::EventKind::PassFinished,
        NoticeKind::StoreLost => proto::EventKind::StoreLost,
        NoticeKind::StoreBack => proto::EventKind::StoreBack,
        NoticeKind::Started => proto::EventKind::Started,
        NoticeKind::Stopped => proto::EventKind::Stopped,
        // For the journal alone.
        NoticeKind::ClockSetBack
        | NoticeKind::Warning
        | NoticeKind::Running
        | NoticeKind::CertificateUnchecked
        | NoticeKind::ClockWrong
        | NoticeKind::Ended
        | NoticeKind::CannotStart
        | NoticeKind::Scheduled
        | NoticeKind::Skipped
        | NoticeKind::Reloaded
        | NoticeKind::ReloadRefused
        | NoticeKind::Stuck
        | NoticeKind::LinesDropped
        | NoticeKind::Bug => return None,
    })
}

/// A notice as an event.
pub(super) fn event(notice: &Notice) -> Option<proto::Event> {
    Some(proto::Event {
        seq: proto::Seq(notice.seq),
        at: notice.at,
        kind: event_kind(notice.kind)?,
        customer_id: notice.customer.as_ref().map(ToString::to_string),
        message: notice.message.clone(),
    })
}
