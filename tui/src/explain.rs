//! The explanations that the dashboard shares with `tbctl`, with the dashboard's own keys in them.

use chrono::{DateTime, Utc};
use tbtoken_proto::explain::Ways;
use tbtoken_proto::{Customer, Phase, explain, words};

pub(crate) use tbtoken_proto::explain::{Explanation, Loop, Weight, risk, token};

/// What the operator can press.
const KEYS: Ways<'static> = Ways { refresh: "r", start: "S" };

/// Explains a customer at `now`. Text of others in it is not yet made safe to show.
pub(crate) fn explain(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    explain::explain(customer, cron, &KEYS, now)
}

/// The same for a single line: the kind of failure instead of its story.
pub(crate) fn in_short(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    let mut explanation = explain(customer, cron, now);
    if customer.failure.is_some() {
        explanation.why = format!("{}.", words::last_error(customer));
        explanation.remedy.clear();
        explanation.at_once.clear();
        if customer.state == Phase::Parked {
            explanation.headline = "PARKED".to_owned();
            explanation.next = "Enter tells more.".to_owned();
        } else {
            explanation.headline = "FAILED".to_owned();
        }
    }
    explanation
}
