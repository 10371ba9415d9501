//! The words for people: short, stable, and free of characters that move the cursor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::cmp::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use tbtoken_proto::words::{
    duration, escape_hidden, is_healthy, last_error, next_step, printable, problems_first, sentence,
    short_id, short_id_length, skew, time, time_exact, time_left,
};
use tbtoken_proto::{
    Customer, EventKind, Failure, FailureKind, Phase, TokenStatus, Trigger, in_trouble, is_hidden,
};

fn now() -> DateTime<Utc> {
    "2026-11-23T14:03:00Z".parse().unwrap()
}

fn customer(id: &str, token_status: TokenStatus, state: Phase, seconds_left: Option<i64>) -> Customer {
    Customer {
        customer_id: id.to_owned(),
        tb_username: String::new(),
        tb_url: String::new(),
        token_status,
        tbtokenexpiry: seconds_left.map(|seconds| now() + TimeDelta::seconds(seconds)),
        check: None,
        minutes_until_expiry: seconds_left.map(|seconds| seconds.div_euclid(60)),
        state,
        last_success_at: None,
        renewals: 0,
        next_attempt_at: None,
        changes: vec![],
        failure: None,
    }
}

fn failing(customer: Customer, consecutive: u32) -> Customer {
    let failure = Failure {
        kind: FailureKind::Timeout,
        message: String::new(),
        remedy: String::new(),
        at: now(),
        consecutive,
        permanent: false,
        waiting: None,
    };
    Customer { failure: Some(failure), ..customer }
}

#[test]
fn a_duration_is_in_its_largest_whole_unit() {
    for (seconds, text) in [
        (-1, "0s"),
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (119, "1m"),
        (3_599, "59m"),
        (3_600, "1h"),
        (86_400, "24h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (31_536_000, "365d"),
    ] {
        assert_eq!(duration(TimeDelta::seconds(seconds)), text, "{seconds} s");
    }
    assert_eq!(duration(TimeDelta::milliseconds(59_999)), "59s");
    assert_eq!(duration(TimeDelta::MAX), "106751991167d");
    assert_eq!(duration(TimeDelta::MIN), "0s");
}

#[test]
fn the_time_left_has_a_sign_once_it_is_over() {
    let left = |seconds| time_left(Some(now() + TimeDelta::seconds(seconds)), now());
    assert_eq!(left(840), "14m");
    assert_eq!(left(0), "0s");
    assert_eq!(left(-1), "-1s");
    assert_eq!(left(-720), "-12m");
    assert_eq!(time_left(None, now()), "-");
}

#[test]
fn next_says_what_happens_and_when() {
    let at = |state, seconds: Option<i64>| {
        let next_attempt_at = seconds.map(|seconds| now() + TimeDelta::seconds(seconds));
        next_step(&Customer { next_attempt_at, ..customer("a", TokenStatus::Valid, state, None) }, now())
    };
    assert_eq!(at(Phase::Ok, Some(540)), "in 9m");
    assert_eq!(at(Phase::Retrying, Some(40)), "in 40s");
    assert_eq!(at(Phase::Retrying, Some(0)), "due");
    assert_eq!(at(Phase::Due, Some(-5)), "due");
    assert_eq!(at(Phase::Due, None), "due");
    assert_eq!(at(Phase::Refreshing, Some(40)), "now");
    assert_eq!(at(Phase::Parked, None), "parked");
    assert_eq!(at(Phase::Parked, Some(40)), "parked");
    assert_eq!(at(Phase::Ok, None), "-");
}

#[test]
fn the_last_error_counts_from_the_second_on() {
    let fine = customer("a", TokenStatus::Valid, Phase::Ok, Some(600));
    assert_eq!(last_error(&fine), "");
    assert_eq!(last_error(&failing(fine.clone(), 1)), "timed out");
    assert_eq!(last_error(&failing(fine, 4)), "timed out (x4)");
}

#[test]
fn a_customer_that_only_waits_has_not_failed() {
    let waiting = failing(customer("a", TokenStatus::Valid, Phase::Due, Some(200)), 0);
    assert_eq!(last_error(&waiting), "waiting: timed out");
    let parked = Customer { state: Phase::Parked, ..waiting };
    assert_eq!(last_error(&parked), "timed out", "parked because another row was rejected");
}

/// Operators search, sort and script with these words, so they are part of the interface.
#[test]
fn every_status_state_event_and_reason_has_its_word() {
    use TokenStatus::{Expired, ExpiringSoon, Missing, Valid};
    for (status, sign, word) in [
        (Expired, 'x', "expired"),
        (Missing, '-', "missing"),
        (ExpiringSoon, '!', "expiring soon"),
        (Valid, ' ', "valid"),
        (TokenStatus::Unknown, '?', "unknown"),
    ] {
        assert_eq!((status.sign(), status.word()), (sign, word));
    }
    let states = [Phase::Ok, Phase::Due, Phase::Refreshing, Phase::Retrying, Phase::Parked, Phase::Unknown];
    assert_eq!(states.map(Phase::word), ["ok", "due", "refreshing", "retrying", "parked", "unknown"]);
    let events = [EventKind::PassStarted, EventKind::StoreLost, EventKind::Unparked, EventKind::Unknown];
    assert_eq!(events.map(EventKind::word), ["pass started", "store lost", "unparked", "unknown"]);
    let reasons = [Trigger::Start, Trigger::Schedule, Trigger::Early, Trigger::Manual, Trigger::Unknown];
    assert_eq!(reasons.map(Trigger::word), ["start", "schedule", "ahead of schedule", "manual", "unknown"]);
}

#[test]
fn in_trouble_is_a_customer_without_a_valid_token_or_renewal() {
    use TokenStatus::{Expired, ExpiringSoon, Missing, Valid};
    for state in [Phase::Ok, Phase::Due, Phase::Refreshing, Phase::Retrying, Phase::Unknown] {
        assert!(in_trouble(Expired, state) && in_trouble(Missing, state), "{state:?}");
        assert!(!in_trouble(Valid, state) && !in_trouble(ExpiringSoon, state), "{state:?}");
    }
    for status in [Expired, Missing, ExpiringSoon, Valid, TokenStatus::Unknown] {
        assert!(in_trouble(status, Phase::Parked), "{status:?}");
    }
    assert!(!in_trouble(TokenStatus::Unknown, Phase::Ok));
}

#[test]
fn trouble_comes_first() {
    let valid = |id| customer(id, TokenStatus::Valid, Phase::Ok, Some(800));
    let expected = vec![
        customer("h", TokenStatus::Expired, Phase::Parked, Some(-10)),
        customer("i", TokenStatus::Expired, Phase::Retrying, Some(-700)),
        customer("g", TokenStatus::Expired, Phase::Retrying, Some(-180)),
        customer("f", TokenStatus::Missing, Phase::Parked, None),
        customer("z", TokenStatus::Missing, Phase::Due, None),
        customer("e", TokenStatus::ExpiringSoon, Phase::Due, Some(200)),
        failing(valid("y"), 1),
        customer("x", TokenStatus::Unknown, Phase::Unknown, Some(900)),
        customer("d", TokenStatus::Valid, Phase::Ok, Some(700)),
        valid("b"),
        valid("c"),
    ];
    let mut sorted = expected.clone();
    sorted.reverse();
    sorted.sort_by(problems_first);
    let names = |list: &[Customer]| list.iter().map(|c| c.customer_id.clone()).collect::<String>();
    assert_eq!(names(&sorted), names(&expected));
    assert_eq!(expected.iter().filter(|customer| is_healthy(customer)).count(), 3);
}

#[test]
fn what_a_server_says_cannot_move_the_cursor() {
    for (text, shown) in [
        ("ops@acme.example", "ops@acme.example"),
        ("Müller 株式会社 🦀", "Müller 株式会社 🦀"),
        ("\u{1b}[2J\u{1b}]0;x\u{7}", "\u{fffd}[2J\u{fffd}]0;x\u{fffd}"),
        ("a\nb\r\tc\0", "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}"),
        ("\u{7f}\u{85}\u{9b}1m", "\u{fffd}\u{fffd}\u{fffd}1m"),
        ("a\u{202e}b\u{2066}c\u{61c}", "a\u{fffd}b\u{fffd}c\u{fffd}"),
        ("a\u{200b}\u{feff}\u{2028}\u{e0041}", "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        ("pass\u{ad}word \u{3164}\u{206a}\u{206f}", "pass\u{fffd}word \u{fffd}\u{fffd}\u{fffd}"),
        ("\u{115f}\u{ffa0}\u{fe0f}\u{e01ef}\u{fff9}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
    ] {
        assert_eq!(printable(text), shown);
    }
}

fn any_customer() -> impl Strategy<Value = Customer> {
    let status = prop::sample::select(vec![
        TokenStatus::Expired,
        TokenStatus::Missing,
        TokenStatus::ExpiringSoon,
        TokenStatus::Valid,
        TokenStatus::Unknown,
    ]);
    let state = prop::sample::select(vec![Phase::Ok, Phase::Parked, Phase::Retrying]);
    ("[a-c]", status, state, prop::option::of(-2..2_i64), any::<bool>()).prop_map(
        |(id, status, state, left, failed)| {
            let customer = customer(&id, status, state, left);
            if failed { failing(customer, 1) } else { customer }
        },
    )
}

proptest! {
    /// A sort may panic over an order that contradicts itself, and rows would change places between two screens.
    #[test]
    fn problems_first_is_a_total_order(a in any_customer(), b in any_customer(), c in any_customer()) {
        prop_assert_eq!(problems_first(&a, &a), Ordering::Equal);
        prop_assert_eq!(problems_first(&a, &b), problems_first(&b, &a).reverse());
        if problems_first(&a, &b).is_le() && problems_first(&b, &c).is_le() {
            prop_assert!(problems_first(&a, &c).is_le());
        }
        if a.customer_id != b.customer_id {
            prop_assert_ne!(problems_first(&a, &b), Ordering::Equal, "two customers never tie");
        }
    }

    #[test]
    fn nothing_printable_is_a_control_character(text in any::<String>()) {
        let shown = printable(&text);
        prop_assert!(!shown.chars().any(char::is_control));
        prop_assert_eq!(shown.chars().count(), text.chars().count());
        prop_assert_eq!(printable(&shown), shown);
    }

    #[test]
    fn json_says_the_same_and_hides_nothing(text in "[\u{0}-\u{10ffff}\u{70}-\u{b0}\u{200b}-\u{206f}\u{e0000}-\u{e0100}]*") {
        let told = escape_hidden(&serde_json::to_string_pretty(&[&text]).unwrap());
        prop_assert!(!told.replace('\n', "").chars().any(is_hidden), "{told}");
        prop_assert_eq!(serde_json::from_str::<[String; 1]>(&told).unwrap(), [text]);
    }
}

proptest! {
    /// The generator of proptest knows Unicode's own tables.
    #[test]
    fn what_unicode_draws_as_nothing_is_hidden_and_no_letter_is(
        hidden in r"[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Zl}\p{Zp}]{1,99}",
        shown in r"[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}--\p{Default_Ignorable_Code_Point}]{1,99}",
    ) {
        prop_assert!(hidden.chars().all(is_hidden), "{hidden:?}");
        prop_assert!(!shown.chars().any(is_hidden), "{shown:?}");
    }
}

#[test]
fn what_people_would_not_see_is_escaped_in_json() {
    let text = "C1 \u{9b}31m, bidi \u{202e}, \u{7f}, tag \u{e0041}, M\u{fc}ller\n";
    let escaped = r#""C1 \u009b31m, bidi \u202e, \u007f, tag \udb40\udc41, M\u{fc}ller\n""#
        .replace("\\u{fc}", "\u{fc}");
    assert_eq!(escape_hidden(&serde_json::to_string(&text).unwrap()), escaped);
}

#[test]
fn sentences_begin_large_and_end() {
    for (text, told) in [
        ("not running", "Not running."),
        ("Done.", "Done."),
        ("what?", "What?"),
        ("and so on…", "And so on…"),
        (" émigré ", "Émigré."),
        ("tbtokend did not answer", "tbtokend did not answer."),
        ("tb_url begins with ftp://", "tb_url begins with ftp://."),
        ("store.server is empty", "store.server is empty."),
        ("done. more", "Done. more."),
        ("", ""),
    ] {
        assert_eq!(sentence(text), told);
    }
}

#[test]
fn a_time_of_another_day_says_which() {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    assert_eq!(time(at("2026-11-23T09:05:59Z"), now()), "09:05Z");
    assert_eq!(time_exact(at("2026-11-23T09:05:59Z"), now()), "09:05:59Z");
    assert_eq!(time(at("2026-11-03T23:59:00Z"), now()), "Nov 3 23:59Z");
}

#[test]
fn a_skew_has_a_sign_and_a_tenth() {
    for (milliseconds, text) in [
        (0, "+0.0s"),
        (300, "+0.3s"),
        (-12_049, "-12.0s"),
        (59_999, "+59.9s"),
        (125_000, "+2m"),
        (-86_400_000, "-24h"),
        (i64::MIN, "-106751991167d"),
    ] {
        assert_eq!(skew(milliseconds), text);
    }
}

#[test]
fn short_ids_tell_all_apart_and_are_recognized() {
    assert_eq!(short_id_length(["8F1C02AA-33D1", "8F1C02AA-77B0", "91BE77C0-33D1"]), 10);
    assert_eq!(short_id_length(["8F1C", "91BE"]), 8);
    assert_eq!(short_id_length([]), 8);
    assert_eq!(short_id("8F1C02AA-33D1", 10, "…"), "8F1C02AA-3…", "the sign tells it from a whole id");
    assert_eq!(short_id("17", 8, "…"), "17");
    assert_eq!(short_id("123456789", 8, "…"), "123456789", "the sign would take as much room");
    assert_eq!(short_id("日本語テスト", 3, "…"), "日本語…");
}
