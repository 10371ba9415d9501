//! The answers to commands and the refusals of requests, in the words of the protocol.

use tbtoken_proto as proto;

use super::super::outcome::{Outcomes, RefreshRefusal};
use super::words;
use crate::model::{CustomerId, Ineligibility};
use crate::text::printable;

/// The answer to a manual refresh.
pub fn refresh_reply(details: Outcomes) -> proto::RefreshReply {
    let details: Vec<proto::Outcome> = details.into_iter().map(words::outcome).collect();
    let count = |status| details.iter().filter(|outcome| outcome.status == status).count();
    let updated = count(proto::OutcomeStatus::Success);
    let errors = count(proto::OutcomeStatus::Error);
    let total = details.len();
    let message = match total {
        0 => "no customer is due".to_owned(),
        _ => format!("{updated} renewed, {errors} failed, {} skipped", total - updated - errors),
    };
    let result = proto::RefreshResult { success: errors == 0, updated, errors, total, details };
    proto::RefreshReply { message, result: Some(result) }
}

/// The refusal of a manual refresh.
pub fn refresh_refusal(why: RefreshRefusal) -> proto::Refusal {
    match why {
        RefreshRefusal::Ineligible(rows) => ineligible(rows.iter().map(|(id, why)| (id.as_str(), *why))),
        RefreshRefusal::Unknown(ids) => unknown(&ids.iter().map(CustomerId::as_str).collect::<Vec<_>>()),
        RefreshRefusal::StoreUnavailable(error) => {
            proto::Refusal { code: proto::ErrorCode::StoreUnavailable, error }
        }
        RefreshRefusal::ShuttingDown => shutting_down(),
    }
}

/// The refusal of a request during the shutdown.
pub fn shutting_down() -> proto::Refusal {
    proto::Refusal { code: proto::ErrorCode::ShuttingDown, error: "tbtokend is shutting down".to_owned() }
}

/// The most rows in a refusal with their reasons.
const REASONS: usize = 5;

/// The refusal of names whose rows cannot be renewed.
pub(super) fn ineligible<'a>(
    rows: impl ExactSizeIterator<Item = (&'a str, Ineligibility)>,
) -> proto::Refusal {
    let more = rows.len().checked_sub(REASONS).filter(|more| *more > 0);
    let reason = |(id, why)| format!("{} is not renewed: {why}", printable(id));
    let mut error = rows.take(REASONS).map(reason).collect::<Vec<_>>().join("; ");
    if let Some(more) = more {
        error.push_str(&format!("; and {more} more"));
    }
    proto::Refusal { code: proto::ErrorCode::IneligibleCustomer, error }
}

/// The refusal of names that are not in the table.
pub fn unknown(ids: &[&str]) -> proto::Refusal {
    let named = ids.iter().map(|id| printable(id)).collect::<Vec<_>>().join(", ");
    proto::Refusal {
        code: proto::ErrorCode::UnknownCustomer,
        error: format!("no such customer: {named} (a row without user, password or URL does not count)"),
    }
}
