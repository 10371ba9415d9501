//! The explanations that the dashboard shares with `tbctl`, with the dashboard's own keys in them.

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::explain::Ways;
use tbtoken_proto::{Customer, Phase, explain, words};

pub(crate) use tbtoken_proto::explain::{Explanation, Loop, Weight, check, needs_force, risk, server, token};

/// What the operator can press.
const KEYS: Ways<'static> = Ways { refresh: "r", force: "r", start: "S" };

/// Explains a customer at `now`. Text of others in it is not yet made safe to show.
pub(crate) fn explain(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    explain::explain(customer, cron, &KEYS, now)
}

/// The same for a place that is always seen, and must not be restless: see [`calm`].
pub(crate) fn explain_calmly(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    let mut explanation = explain(customer, cron, now);
    if customer.failure.is_none() && customer.state != Phase::Parked {
        explanation.why = token(customer, left_clock(customer, now));
    }
    if customer.state != Phase::Parked {
        explanation.next = explain::next_attempt(customer, cron, &KEYS, calm(customer, now));
    }
    explanation
}

/// The same for a single line: the kind of failure instead of its story.
pub(crate) fn in_short(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    let mut explanation = explain_calmly(customer, cron, now);
    if customer.failure.is_some() {
        let error = words::last_error(customer);
        explanation.remedy.clear();
        explanation.at_once.clear();
        if customer.state == Phase::Parked {
            explanation.headline = "PARKED".to_owned();
            explanation.why = format!("{error}.");
            explanation.next = "Enter: more.".to_owned();
        } else {
            let waits = words::is_waiting(customer);
            explanation.headline = if waits { "WAITING" } else { "FAILED" }.to_owned();
            let error = error.trim_start_matches("waiting: ");
            explanation.why = match cron {
                Loop::Running => format!("{error}, {}.", words::next(customer, calm(customer, now))),
                Loop::Stopped | Loop::Unknown => format!("{error}."),
            };
            explanation.next.clear();
        }
    }
    explanation
}

/// The steps in which the table's clock goes, in seconds.
const STEP: i64 = 10;

/// The time to reckon with in a countdown to the next attempt of this customer: in the last minute it moves in steps
/// of ten seconds. A screen full of rows that all count seconds is restless, and too much to send over a slow line.
pub(crate) fn calm(customer: &Customer, now: DateTime<Utc>) -> DateTime<Utc> {
    match customer.next_attempt_at.map(|at| (at, (at - now).num_seconds())) {
        Some((at, left @ 0..60)) if at > now => at - TimeDelta::seconds((left + STEP - 1) / STEP * STEP),
        Some((at, _)) => together(at, now),
        None => now,
    }
}

/// The time by which the time that a token has left is shown, in the list and below it alike.
pub(crate) fn left_clock(customer: &Customer, now: DateTime<Utc>) -> DateTime<Utc> {
    customer.tbtokenexpiry.map_or(now, |expiry| together(expiry, now))
}

/// The time to reckon with when something that is more than a minute from `at` is shown in minutes or more: it moves
/// in steps, too, so that many rows change at once instead of one in each second.
pub(crate) fn together(at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    const MINUTE: TimeDelta = TimeDelta::minutes(1);
    let step = now - TimeDelta::seconds(now.timestamp().rem_euclid(STEP));
    match at - now {
        left if left >= MINUTE => step,
        left if left <= -MINUTE => step.max(at + MINUTE),
        _ => now,
    }
}
