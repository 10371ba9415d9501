//! The effect of the daemon's answers, and of time.

use tbtoken_proto::{BreakerState, Server, TokenStatus, words};

use super::*;
use crate::explain::{countdown_clock, stepped_clock};

#[test]
fn problems_come_first_and_the_first_is_selected() {
    let app = four();
    assert_eq!(shown(&app), ["bad", "slow", "one", "two"]);
    assert_eq!(selected(&app), "bad");
}

#[test]
fn a_screen_without_an_operator_shows_the_worst_customer() {
    let mut app = four();
    let healed = customer("bad", "b@x.example", "b.example", 900, noon());
    app.update(delta(vec![healed], &[]), noon());
    assert_eq!(shown(&app), ["slow", "one", "two", "bad"]);
    assert_eq!((selected(&app), app.view.cursor()), ("slow", 0), "the operator has not chosen `bad`");
}

#[test]
fn a_customer_that_the_operator_acted_on_is_chosen() {
    for keys in ["y", "Enter Esc", "r Esc", "j k"] {
        let mut app = four();
        press(&mut app, keys);
        let healed = customer("bad", "b@x.example", "b.example", 900, noon());
        app.update(delta(vec![healed.clone()], &[]), noon());
        assert_eq!((selected(&app), app.view.cursor()), ("bad", 3), "{keys}");
        // The first Esc clears the notice, the second the selection.
        press(&mut app, "Esc Esc");
        assert_eq!((selected(&app), app.view.cursor()), ("slow", 0), "{keys}: Esc releases the selection");
    }
}

#[test]
fn the_selection_stays_on_its_customer() {
    let mut app = four();
    press(&mut app, "j");
    assert_eq!(selected(&app), "slow");
    let healed = customer("slow", "s@x.example", "s.example", 900, noon());
    app.update(delta(vec![healed], &[]), noon());
    assert_eq!(shown(&app), ["bad", "one", "two", "slow"]);
    assert_eq!((selected(&app), app.view.cursor()), ("slow", 3));
}

#[test]
fn a_removed_customer_passes_the_selection_to_the_one_in_its_line() {
    let mut app = four();
    press(&mut app, "j");
    app.update(delta(vec![], &["slow"]), noon());
    assert_eq!(shown(&app), ["bad", "one", "two"]);
    assert_eq!(selected(&app), "one");
    app.update(delta(vec![], &["one", "two", "bad"]), noon());
    assert_eq!(app.subject(), None);
    for key in ["r", "y", "Enter", "j", "G"] {
        assert_eq!(press(&mut app, key), []);
    }
}

#[test]
fn deltas_change_add_and_remove() {
    let mut app = four();
    let new = customer("abc", "n@x.example", "n.example", 500, noon());
    let worse = parked("one", "o@x.example", "o.example", noon());
    app.update(delta(vec![new, worse], &["two"]), noon());
    assert_eq!(shown(&app), ["bad", "one", "slow", "abc"]);
    // Only a complete answer forgets those that it does not mention.
    app.update(Input::Status(Box::new(status(vec![customer("x", "u", "s", 400, noon())], noon()))), noon());
    assert_eq!(shown(&app), ["x"]);
}

#[test]
fn draws_only_when_something_visible_changed() {
    let mut app = four();
    assert_eq!(app.update(delta(vec![], &[]), noon()), [Effect::Draw], "the counts changed");
    assert_eq!(app.update(delta(vec![], &[]), noon()), []);
    assert_eq!(app.update(Input::Events(vec![]), noon()), []);
    let mut reply = status(vec![], noon());
    (reply.tokens.complete, reply.cron.refreshing) = (false, true);
    assert_eq!(app.update(Input::Status(Box::new(reply)), noon()), [Effect::Draw]);
    assert_eq!(app.update(Input::Tick, noon()), [Effect::Draw], "the clock");
}

#[test]
fn the_detail_stays_with_its_customer() {
    let mut app = four();
    press(&mut app, "p j Enter");
    assert_eq!(app.mode, Mode::Detail { id: "slow".to_owned(), scroll: 0 });
    // `p` hides it once it is healthy, but its detail stays.
    app.update(delta(vec![customer("slow", "s@x.example", "s.example", 900, noon())], &[]), noon());
    assert_eq!(app.subject().map(|customer| customer.token_status), Some(TokenStatus::Valid));
    assert_eq!(press(&mut app, "r"), [Effect::Act(Action::Refresh("slow".to_owned()))]);
    press(&mut app, "G j j");
    assert_eq!(app.mode, Mode::Detail { id: "slow".to_owned(), scroll: 0 }, "all of it fits");
    app.update(Input::Resize(60, 10), noon());
    press(&mut app, "G");
    assert!(matches!(app.mode, Mode::Detail { scroll: 1.., .. }), "{:?}", app.mode);
    press(&mut app, "Esc");
    assert_eq!(app.mode, Mode::Table);
}

#[test]
fn events_keep_their_place_when_new_ones_come() {
    let mut app = four();
    let customers = support::busy(noon());
    let events = support::busy_events(&customers, noon());
    let new = vec![events[0].clone(), events[1].clone()];
    app.update(Input::Events(events), noon());
    press(&mut app, "e");
    app.update(Input::Events(new.clone()), noon());
    assert_eq!(app.mode, Mode::Events { scroll: 0 }, "at the top, new ones are seen");
    press(&mut app, "j j j");
    app.update(Input::Events(new), noon());
    assert_eq!(app.mode, Mode::Events { scroll: 5 });
    assert_eq!(press(&mut app, "r y"), [], "no customer is selected here");
    press(&mut app, "e");
    assert_eq!(app.mode, Mode::Table);
}

#[test]
fn events_are_bounded() {
    let mut app = four();
    let events = support::busy_events(&support::busy(noon()), noon());
    for _ in 0..20 {
        app.update(Input::Events(events.clone()), noon());
    }
    assert_eq!(app.scene().events.len(), MAX_EVENTS);
}

#[test]
fn freezing_keeps_the_scene_and_the_time() {
    let mut app = four();
    press(&mut app, "f");
    let later = noon() + TimeDelta::seconds(30);
    assert_eq!(app.update(delta(vec![], &["bad", "slow", "one"]), later), [], "nothing moves");
    assert_eq!((shown(&app).len(), app.scene_time()), (4, noon()));
    assert_eq!(
        press(&mut app, "j r"),
        [Effect::Act(Action::Refresh("slow".to_owned()))],
        "actions still work"
    );
    press(&mut app, "f");
    assert_eq!(shown(&app), ["two"]);
}

#[test]
fn without_the_daemon_rows_stay_and_actions_are_off() {
    let mut app = four();
    app.update(lost(), noon());
    let since = noon();
    app.update(lost(), noon() + TimeDelta::seconds(9));
    assert!(
        matches!(&app.link, Link::Down { since: s, last_answer: Some(_), .. } if *s == since),
        "{:?}",
        app.link
    );
    assert_eq!(shown(&app).len(), 4);
    assert_eq!(press(&mut app, "r R S j r"), []);
    assert_eq!(app.mode, Mode::Table, "no question appears");
    assert!(notice(&app).contains("unreachable"));
    for action in [Action::Start, Action::Stop, Action::RefreshDue] {
        assert!(!app.is_possible(&action));
    }
    let back = app.update(delta(vec![], &[]), noon());
    assert_eq!((back, app.link.clone()), (vec![Effect::Draw], Link::Up { last_answer: noon() }));
}

#[test]
fn a_daemon_that_hangs_is_not_shown_as_running() {
    let mut app = four();
    let at = |seconds| noon() + TimeDelta::seconds(seconds);
    app.update(Input::Tick, at(2));
    assert_eq!(app.link, Link::Up { last_answer: noon() }, "an answer may take a moment");
    app.update(Input::Tick, at(3));
    assert_eq!((app.link.clone(), app.loop_state()), (Link::Silent { last_answer: noon() }, Loop::Unknown));
    assert_eq!(press(&mut app, "r R S j r"), [], "a hanging daemon would do it much later, if at all");
    assert!(notice(&app).contains("does not answer"));

    // The poll times out: the outage began with the last answer.
    app.update(lost(), at(10));
    assert!(matches!(app.link, Link::Down { since, .. } if since == noon()), "{:?}", app.link);
    let mut app = four();
    app.update(Input::Tick, at(4));
    assert_eq!(app.update(delta(vec![], &[]), at(5)), [Effect::Draw], "it has answered after all");
    assert_eq!(app.link, Link::Up { last_answer: at(5) });
}

#[test]
fn a_question_from_before_the_outage_does_nothing() {
    let mut app = four();
    press(&mut app, "r Tab");
    app.update(lost(), noon());
    assert_eq!(press(&mut app, "Enter"), []);
    assert!(notice(&app).contains("unreachable"));
}

#[test]
fn without_the_database_nothing_is_refreshed_but_the_loop_can_be_stopped() {
    let mut app = four();
    let mut reply = status(vec![], noon());
    reply.tokens.complete = false;
    (reply.tokens.success, reply.tokens.error) = (false, Some("login failed".to_owned()));
    app.update(Input::Status(Box::new(reply)), noon());
    assert_eq!(shown(&app).len(), 4);
    assert_eq!(press(&mut app, "R j r"), []);
    assert!(notice(&app).contains("database"));
    assert!(!app.is_possible(&Action::RefreshDue) && app.is_possible(&Action::Stop));
    assert_eq!(press(&mut app, "S Tab Enter"), [Effect::Act(Action::Stop)]);
}

#[test]
fn short_ids_differ_among_ten_thousand_customers() {
    let many: Vec<Customer> =
        (0..10_000).map(|n| customer(&format!("customer-{n:06}"), "u", "s.example", 600, noon())).collect();
    let app = app(many);
    assert_eq!(app.short_id("customer-000123"), "customer-000123");
    assert_eq!(four().short_id("0123456789abcdef"), "01234567…");
}

#[test]
fn servers_come_change_and_go() {
    let skew = |app: &App, id: &str| {
        let snapshot = &app.scene().snapshot;
        snapshot.server_of(snapshot.find(id).unwrap()).and_then(|server| server.skew_ms)
    };
    let mut app = four();
    assert_eq!((skew(&app, "one"), skew(&app, "two")), (Some(300), Some(300)));
    let delta_with_skew = |skew_ms| {
        let Input::Status(mut reply) = delta(vec![], &[]) else { panic!("a status") };
        let name = "https://o.example".to_owned();
        reply.servers = Some(vec![Server { name, skew_ms, limit: 2, breaker: BreakerState::HalfOpen }]);
        Input::Status(reply)
    };
    app.update(delta_with_skew(Some(-4000)), noon());
    assert_eq!(app.update(delta_with_skew(Some(-5000)), noon()), [Effect::Draw], "it is shown");
    assert_eq!((skew(&app, "one"), skew(&app, "two")), (Some(-5000), Some(300)));
    // Its last customer moves to another server and returns later: the old skew must not come back.
    app.update(delta(vec![customer("one", "o", "elsewhere.example", 600, noon())], &[]), noon());
    let Input::Status(mut reply) = delta(vec![customer("one", "o", "o.example", 600, noon())], &[]) else {
        panic!("a status")
    };
    reply.servers = None;
    app.update(Input::Status(reply), noon());
    assert_eq!(skew(&app, "one"), None);
}

#[test]
fn countdowns_move_in_steps_but_never_too_early() {
    let slow = customer("slow", "s@x.example", "s.example", -60, noon());
    let slow = failing(slow, FailureKind::Timeout, support::TIMED_OUT, (2, 60), Some(40), noon());
    let at = slow.next_attempt_at.unwrap();
    for left in 1..200 {
        let now = at - TimeDelta::seconds(left);
        let shown = (at - countdown_clock(&slow, now)).num_seconds();
        assert!((left..left + 10).contains(&shown), "{left} s left, {shown} s shown");
        assert!(left >= 60 || shown % 10 == 0, "{left}: {shown}");
    }
    let expiry = noon();
    for second in -200..200 {
        let now = expiry + TimeDelta::seconds(second);
        let clock = stepped_clock(expiry, now);
        assert!((0..10).contains(&(now - clock).num_seconds()));
        let (exact, shown) = (words::time_left(Some(expiry), now), words::time_left(Some(expiry), clock));
        assert!(second.abs() >= 60 || exact == shown, "seconds are exact: {exact}, {shown}");
        assert_eq!(exact.contains('s'), shown.contains('s'), "{exact}, {shown}");
    }
}
