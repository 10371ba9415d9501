//! The explanations that the dashboard shares with `tbctl`, with the keys of the dashboard.

use chrono::{DateTime, TimeDelta, Utc};
use tbtoken_proto::explain::Ways;
use tbtoken_proto::{Customer, Phase, explain, words};

pub(crate) use tbtoken_proto::explain::{
    Emphasis, Explanation, Loop, Weight, describe, describe_risk, describe_token, needs_force,
};

/// The keys of the dashboard.
const KEYS: Ways<'static> = Ways { refresh: "r", force: "r", start: "S" };

/// Explains a customer at `now`. The result may quote a server or a table: make it printable before showing it.
pub(crate) fn explain(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    explain::explain(customer, cron, &KEYS, now)
}

/// Explains a customer for a panel that is always visible: its times move in steps, see [`countdown_clock`].
pub(crate) fn explain_in_steps(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    let mut explanation = explain(customer, cron, now);
    if customer.failure.is_none() && customer.state != Phase::Parked {
        explanation.why = describe_token(customer, expiry_clock(customer, now));
    }
    if customer.state != Phase::Parked {
        explanation.next = explain::next_attempt(customer, cron, &KEYS, countdown_clock(customer, now));
    }
    explanation
}

/// Explains a customer in a single line: with the kind of failure instead of its message.
pub(crate) fn explain_briefly(customer: &Customer, cron: Loop, now: DateTime<Utc>) -> Explanation {
    let mut explanation = explain_in_steps(customer, cron, now);
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
                Loop::Running => {
                    format!("{error}, {}.", words::next_step(customer, countdown_clock(customer, now)))
                }
                Loop::Stopped | Loop::Unknown => format!("{error}."),
            };
            explanation.next.clear();
        }
    }
    explanation
}

/// The steps of the table's clock, in seconds.
const STEP: i64 = 10;

/// Returns the start of the countdown to a customer's next attempt. In the last minute it moves in steps of 10 seconds. A
/// screen full of rows that count seconds is restless, and too much for a slow line.
pub(crate) fn countdown_clock(customer: &Customer, now: DateTime<Utc>) -> DateTime<Utc> {
    match customer.next_attempt_at.map(|at| (at, (at - now).num_seconds())) {
        Some((at, left @ 0..60)) if at > now => at - TimeDelta::seconds((left + STEP - 1) / STEP * STEP),
        Some((at, _)) => stepped_clock(at, now),
        None => now,
    }
}

/// Returns the time from which to count down to the end of a customer's token.
pub(crate) fn expiry_clock(customer: &Customer, now: DateTime<Utc>) -> DateTime<Utc> {
    customer.tbtokenexpiry.map_or(now, |expiry| stepped_clock(expiry, now))
}

/// Returns the start of the countdown to `at` in minutes or more. It moves in steps, so that many rows change at once, not
/// one each second.
pub(crate) fn stepped_clock(at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    const MINUTE: TimeDelta = TimeDelta::minutes(1);
    let step = now - TimeDelta::seconds(now.timestamp().rem_euclid(STEP));
    match at - now {
        left if left >= MINUTE => step,
        left if left <= -MINUTE => step.max(at + MINUTE),
        _ => now,
    }
}
