//! The kinds of the engine in the protocol's words. Both give the same name to the same thing.

use chrono::{DateTime, Utc};
use serde::de::value::{self, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use tbtoken_proto as proto;

use super::super::history::{Notice, NoticeKind};
use super::super::outcome::Outcome;
use super::super::state::{CheckResult, CustomerState, FormerCustomer};
use crate::model::{Changes, CustomerId, FailureKind, TokenStatus};
use crate::thingsboard::gate::Breaker;

/// The protocol's kind with the name of one of ours; `unknown` if it has none of this name.
pub(super) fn by_name<T: DeserializeOwned>(name: &'static str, unknown: T) -> T {
    let name: StrDeserializer<'_, value::Error> = name.into_deserializer();
    T::deserialize(name).unwrap_or(unknown)
}

pub(super) fn status(status: TokenStatus) -> proto::TokenStatus {
    by_name(status.into(), proto::TokenStatus::Unknown)
}

pub(super) fn breaker_state(breaker: Breaker) -> proto::BreakerState {
    by_name(breaker.into(), proto::BreakerState::Unknown)
}

pub(super) fn failure_kind(kind: FailureKind) -> proto::FailureKind {
    by_name(kind.as_str(), proto::FailureKind::Unknown)
}

/// Why the last attempt failed; for a customer that was left out because of its server, the failure of the server.
pub(super) fn failure(customer: &CustomerState, now: DateTime<Utc>) -> Option<proto::Failure> {
    let (note, deferral) = (customer.record().failure.as_deref(), customer.deferred.as_deref());
    let kind = note.map(|note| note.kind).or_else(|| deferral?.kind())?;
    let waiting = deferral.map(ToString::to_string);
    let (message, waiting) = match note {
        Some(note) => (note.message.clone(), waiting),
        None => (waiting.unwrap_or_default(), None),
    };
    Some(proto::Failure {
        kind: failure_kind(kind),
        message,
        remedy: kind.remedy().to_owned(),
        at: note.map_or(now, |note| note.at),
        consecutive: note.map_or(0, |note| note.consecutive),
        permanent: note.is_some_and(|note| note.permanent),
        waiting,
    })
}

pub(super) fn outcome((id, outcome): (CustomerId, Outcome)) -> proto::Outcome {
    let (status, new_expiry, kind, message) = match outcome {
        Outcome::Renewed(expiry) => (proto::OutcomeStatus::Success, Some(expiry), None, None),
        Outcome::Failed(kind, message) => {
            (proto::OutcomeStatus::Error, None, Some(failure_kind(kind)), Some(message))
        }
        Outcome::Skipped(message) => (proto::OutcomeStatus::Skipped, None, None, Some(message)),
    };
    proto::Outcome { customer_id: id.to_string(), status, new_expiry, kind, message }
}

pub(super) fn former((id, former): (&CustomerId, &FormerCustomer)) -> proto::Ineligible {
    proto::Ineligible {
        customer_id: id.to_string(),
        reason: former.reason(),
        since: former.since,
        tbtokenexpiry: former.ends_at,
    }
}

/// The last check of a token; none for a token that has just come.
pub(super) fn check((at, found): (DateTime<Utc>, CheckResult)) -> Option<proto::Check> {
    let found = by_name(found.into(), proto::CheckFound::Unknown);
    (found != proto::CheckFound::Unknown).then_some(proto::Check { at, found })
}

pub(super) fn changes(changes: &Changes) -> Vec<proto::Change> {
    changes.iter().filter_map(|(at, kind)| Some(proto::Change { at, kind: event_kind(kind)? })).collect()
}

/// The kind of a notice as an event; the other kinds are for the journal alone.
fn event_kind(kind: NoticeKind) -> Option<proto::EventKind> {
    let kind = by_name(kind.name(), proto::EventKind::Unknown);
    (kind != proto::EventKind::Unknown).then_some(kind)
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

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::super::super::policy::Trigger;
    use super::*;

    fn wire_name(kind: impl serde::Serialize) -> String {
        serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn each_kind_has_the_name_that_the_protocol_gives_it() {
        let statuses = TokenStatus::iter().map(|kind| (kind.into(), wire_name(status(kind))));
        let breakers = Breaker::iter().map(|kind| (kind.into(), wire_name(breaker_state(kind))));
        let failures = FailureKind::iter().map(|kind| (kind.as_str(), wire_name(failure_kind(kind))));
        let triggers = Trigger::iter()
            .map(Into::into)
            .map(|name: &'static str| (name, wire_name(by_name(name, proto::Trigger::Unknown))));
        let found = CheckResult::iter().filter_map(|kind| {
            let check = check((DateTime::UNIX_EPOCH, kind));
            check.map(|check| (kind.into(), wire_name(check.found)))
        });
        assert_eq!(found.clone().count(), CheckResult::iter().count() - 1, "a new token is not checked yet");
        for (ours, on_the_wire) in statuses.chain(breakers).chain(failures).chain(triggers).chain(found) {
            assert_eq!(ours, on_the_wire);
        }
    }

    #[test]
    fn only_notices_for_the_journal_are_no_events() {
        let journal: Vec<&str> =
            NoticeKind::all().filter(|kind| event_kind(*kind).is_none()).map(NoticeKind::name).collect();
        assert_eq!(
            journal.join(" "),
            "running certificate_unchecked clock_wrong clock_set_back ended cannot_start scheduled skipped warning \
             reloaded reload_refused stuck lines_dropped bug"
        );
    }
}
