//! Every key in every mode, and every accident.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tbtoken_proto::{
    FailureKind, Outcome, OutcomeStatus, Phase, RefreshReply, RefreshResult, Revision, SteerReply,
    TokenStatus,
};

use super::*;
use crate::mode::Button;
use crate::support::{self, customer, failing, noon, parked, status};
use crate::view::{Direction, Scope, Sort};

/// An app that has heard of these customers.
fn app(customers: Vec<Customer>) -> App {
    let mut app = App::new(Theme::new(true, false), "/run/x.sock".to_owned(), (100, 30), noon());
    app.update(Input::Status(Box::new(status(customers, noon()))), noon());
    app
}

/// Four customers; with problems first: `bad` (parked), `slow` (retrying), `one`, `two`.
fn four() -> App {
    let slow = customer("slow", "s@x.example", "s.example", -60, noon());
    app(vec![
        parked("bad", "b@x.example", "b.example", noon()),
        customer("one", "o@x.example", "o.example", 600, noon()),
        failing(slow, FailureKind::Timeout, support::TIMED_OUT, (2, 60), Some(40), noon()),
        customer("two", "t@x.example", "t.example", 800, noon()),
    ])
}

fn press(app: &mut App, keys: &str) -> Vec<Effect> {
    let mut effects = vec![];
    for word in keys.split(' ') {
        let (code, modifiers) = match word.strip_prefix("C-") {
            Some(letter) => (KeyCode::Char(letter.chars().next().unwrap()), KeyModifiers::CONTROL),
            None => (code(word), KeyModifiers::NONE),
        };
        effects.extend(app.update(Input::Key(KeyEvent::new(code, modifiers)), noon()));
    }
    effects.retain(|effect| *effect != Effect::Draw);
    effects
}

fn code(word: &str) -> KeyCode {
    match word {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Tab" => KeyCode::Tab,
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "Left" => KeyCode::Left,
        "Right" => KeyCode::Right,
        "PgUp" => KeyCode::PageUp,
        "PgDn" => KeyCode::PageDown,
        "Home" => KeyCode::Home,
        "End" => KeyCode::End,
        "Backspace" => KeyCode::Backspace,
        "Space" => KeyCode::Char(' '),
        letter => KeyCode::Char(letter.chars().next().unwrap()),
    }
}

fn selected(app: &App) -> &str {
    app.view.selected().unwrap()
}

fn shown(app: &App) -> Vec<String> {
    let rows = app.view.visible(app.scene().picture.customers(), 1000);
    rows.map(|(_, customer)| customer.customer_id.clone()).collect()
}

fn notice(app: &App) -> &str {
    app.notice().map_or("", |notice| &notice.text)
}

/// An answer to a poll with a revision: only what changed.
fn delta(customers: Vec<Customer>, removed: &[&str]) -> Input {
    let mut reply = status(customers, noon());
    reply.tokens.complete = false;
    reply.tokens.removed = removed.iter().map(|&id| id.to_owned()).collect();
    reply.daemon.revision = Revision(982);
    Input::Status(Box::new(reply))
}

fn lost() -> Input {
    let (why, hint) = ("not running".to_owned(), Some("start it".to_owned()));
    Input::Disconnected { why, hint, retry_in: Duration::from_secs(3) }
}

#[test]
fn problems_come_first_and_the_first_is_selected() {
    let app = four();
    assert_eq!(shown(&app), ["bad", "slow", "one", "two"]);
    assert_eq!(selected(&app), "bad");
}

#[test]
fn every_way_to_move() {
    let mut app = four();
    for (keys, expected) in [
        ("j", "slow"),
        ("Down", "one"),
        ("k", "slow"),
        ("Up", "bad"),
        ("Up", "bad"),
        ("G", "two"),
        ("j", "two"),
        ("g", "bad"),
        ("End", "two"),
        ("Home", "bad"),
        ("PgDn", "two"),
        ("PgUp", "bad"),
        ("C-d", "two"),
        ("C-u", "bad"),
    ] {
        assert_eq!(press(&mut app, keys), []);
        assert_eq!(selected(&app), expected, "after {keys}");
    }
}

#[test]
fn pages_and_half_pages_follow_the_height_of_the_table() {
    let many = (0..200).map(|n| customer(&format!("{n:03}"), "u", "s.example", 600 + n, noon())).collect();
    let mut app = app(many);
    let page = app.page();
    press(&mut app, "PgDn");
    assert_eq!(app.view.cursor(), page);
    press(&mut app, "C-d");
    assert_eq!(app.view.cursor(), page + page.div_ceil(2));
    press(&mut app, "G");
    // The last page is full: no line is wasted below the last customer.
    assert_eq!(app.view.visible(app.scene().picture.customers(), page).count(), page);
    app.update(Input::Resize(100, 50), noon());
    let page = app.page();
    assert_eq!(app.view.visible(app.scene().picture.customers(), page).count(), page);
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
fn a_selected_customer_that_goes_hands_over_to_the_one_in_its_line() {
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
    assert_eq!(app.update(delta(vec![], &[]), noon()), [Effect::Draw], "the counts are others");
    assert_eq!(app.update(delta(vec![], &[]), noon()), []);
    assert_eq!(app.update(Input::Events(vec![]), noon()), []);
    let mut reply = status(vec![], noon());
    (reply.tokens.complete, reply.cron.refreshing) = (false, true);
    assert_eq!(app.update(Input::Status(Box::new(reply)), noon()), [Effect::Draw]);
    assert_eq!(app.update(Input::Tick, noon()), [Effect::Draw], "the clock");
}

#[test]
fn quitting() {
    for keys in ["q", "C-c"] {
        assert_eq!(press(&mut four(), keys), [Effect::Quit(Ending::Asked)]);
    }
    // Ctrl-C quits from everywhere; q only goes back from where there is a back.
    for mode in ["/", "s", "Enter", "e", "?", "r", "S"] {
        let mut app = four();
        press(&mut app, mode);
        assert_ne!(app.mode, Mode::Table, "{mode}");
        assert_eq!(press(&mut app, "C-c"), [Effect::Quit(Ending::Asked)], "{mode}");
        if mode != "/" {
            assert_eq!(press(&mut app, "q"), [], "{mode}");
            assert_eq!(app.mode, Mode::Table, "{mode}");
        }
    }
    let mut app = four();
    assert_eq!(app.update(Input::Terminate, noon()), [Effect::Quit(Ending::Asked)]);
    assert_eq!(app.update(Input::TerminalGone, noon()), [Effect::Quit(Ending::TerminalGone)]);
    assert_eq!(app.update(Input::Broken("poll"), noon()), [Effect::Quit(Ending::Broken("poll"))]);
    assert_eq!(app.update(Input::Continued, noon()), [Effect::Redraw]);
    assert_eq!(press(&mut app, "C-l"), [Effect::Redraw]);
}

#[test]
fn filtering() {
    let mut app = four();
    press(&mut app, "/ O @");
    assert_eq!(app.mode, Mode::Filter);
    assert_eq!(shown(&app), ["one"], "letter case does not matter");
    press(&mut app, "Backspace Backspace");
    assert_eq!(shown(&app).len(), 4);
    press(&mut app, "x . e Space t i m e d");
    assert_eq!(shown(&app), ["slow"], "all words must be found");
    press(&mut app, "Enter");
    assert_eq!((app.mode.clone(), app.view.filter.as_str()), (Mode::Table, "x.e timed"));
    press(&mut app, "Esc");
    assert_eq!(shown(&app).len(), 4, "Esc clears the filter that is kept");
    press(&mut app, "/ p a r k e d Esc");
    assert_eq!((app.mode.clone(), app.view.filter.as_str()), (Mode::Table, ""));
    press(&mut app, "/ z z C-w C-u q");
    assert_eq!(app.view.filter, "q", "q is a letter here");
    assert_eq!(shown(&app), Vec::<String>::new());
    press(&mut app, "Backspace Backspace");
    assert_eq!(app.mode, Mode::Table, "nothing left to delete");
}

#[test]
fn a_paste_fills_the_filter_and_never_presses_keys() {
    let mut app = four();
    assert_eq!(app.update(Input::Paste("RSq".to_owned()), noon()), []);
    assert_eq!(app.mode, Mode::Table);
    press(&mut app, "/");
    app.update(Input::Paste("  sl\u{1b}ow\nsecond line".to_owned()), noon());
    assert_eq!(app.view.filter, "slow");
    app.update(Input::Paste("x".repeat(10_000)), noon());
    assert!(app.view.filter.len() <= 100);
}

#[test]
fn sorting() {
    let mut app = four();
    press(&mut app, "s j j j j Enter");
    assert_eq!((app.view.sort, app.view.direction), (Sort::Left, Direction::Ascending));
    assert_eq!(shown(&app), ["bad", "slow", "one", "two"]);
    press(&mut app, "s Enter");
    assert_eq!(app.view.direction, Direction::Descending, "the same again turns it round");
    assert_eq!(shown(&app), ["two", "one", "slow", "bad"]);
    press(&mut app, "s g j j Enter");
    assert_eq!(app.view.sort, Sort::User);
    press(&mut app, "s k k k k Esc");
    assert_eq!((app.mode.clone(), app.view.sort), (Mode::Table, Sort::User));
}

#[test]
fn problems_only() {
    let mut app = four();
    press(&mut app, "p");
    assert_eq!((app.view.scope, shown(&app)), (Scope::Problems, vec!["bad".to_owned(), "slow".to_owned()]));
    press(&mut app, "p");
    assert_eq!(shown(&app).len(), 4);
}

#[test]
fn refreshing_a_customer() {
    let mut app = four();
    let action = Action::Refresh("slow".to_owned());
    assert_eq!(press(&mut app, "j r"), [Effect::Act(action.clone())]);
    assert_eq!(press(&mut app, "r"), [], "not twice at a time");
    assert!(notice(&app).contains("under way"));
    let mut outcome = Outcome {
        customer_id: "slow".to_owned(),
        status: OutcomeStatus::Success,
        new_expiry: Some(noon() + TimeDelta::minutes(15)),
        kind: None,
        message: None,
    };
    let reply = |outcome: &Outcome| {
        let result =
            RefreshResult { success: true, updated: 1, errors: 0, total: 1, details: vec![outcome.clone()] };
        Ok(Reply::Refresh(RefreshReply { message: "done".to_owned(), result: Some(result) }))
    };
    app.update(Input::Done(action.clone(), reply(&outcome)), noon());
    assert_eq!(notice(&app), "slow renewed, good until 14:18Z.");
    assert_eq!(press(&mut app, "r"), [Effect::Act(action.clone())]);
    outcome.status = OutcomeStatus::Error;
    outcome.message = Some("no answer".to_owned());
    app.update(Input::Done(action.clone(), reply(&outcome)), noon());
    assert_eq!((notice(&app), app.notice().unwrap().tone), ("slow failed: No answer.", Tone::Bad));
    let refused =
        ActionError { why: "this is the monitor socket".to_owned(), hint: Some("use the other".to_owned()) };
    app.update(Input::Done(action, Err(refused)), noon());
    assert_eq!(notice(&app), "This is the monitor socket. (use the other)");
    // News grow old; Esc clears them before.
    app.update(Input::Tick, noon() + TimeDelta::seconds(60));
    assert_eq!(notice(&app), "");
}

#[test]
fn refreshing_a_parked_customer_asks_first() {
    let mut app = four();
    assert_eq!(press(&mut app, "r"), []);
    let Mode::Confirm { question, focus, .. } = &app.mode else { panic!("{:?}", app.mode) };
    assert_eq!(*focus, Button::Cancel);
    assert!(question.text.contains("lock the account"), "{}", question.text);
    assert_eq!(press(&mut app, "Enter"), [], "Cancel is focused");
    assert_eq!(app.mode, Mode::Table);
    assert_eq!(press(&mut app, "r Esc"), []);
    for other in ["Tab", "Left", "Right", "l"] {
        let mut app = four();
        assert_eq!(
            press(&mut app, &format!("r {other} Enter")),
            [Effect::Act(Action::Refresh("bad".to_owned()))]
        );
    }
    assert_eq!(press(&mut app, "r Tab Tab Enter"), [], "there and back");
}

#[test]
fn a_question_keeps_to_its_customer_whatever_comes() {
    let mut app = four();
    press(&mut app, "r");
    app.update(delta(vec![], &["bad"]), noon());
    assert_eq!(selected(&app), "slow");
    assert_eq!(press(&mut app, "Tab Enter"), [Effect::Act(Action::Refresh("bad".to_owned()))]);
}

#[test]
fn refreshing_all_who_are_due() {
    let mut app = four();
    assert_eq!(press(&mut app, "R"), [Effect::Act(Action::RefreshDue)]);
    let outcome = |id: &str, status| Outcome {
        customer_id: id.to_owned(),
        status,
        new_expiry: None,
        kind: None,
        message: None,
    };
    let details = vec![outcome("slow", OutcomeStatus::Success), outcome("bad", OutcomeStatus::Skipped)];
    let result = RefreshResult { success: true, updated: 1, errors: 0, total: 2, details };
    let reply = Reply::Refresh(RefreshReply { message: "done".to_owned(), result: Some(result) });
    app.update(Input::Done(Action::RefreshDue, Ok(reply)), noon());
    assert_eq!(notice(&app), "1 renewed, 0 failed, 1 left alone.");
}

#[test]
fn starting_and_stopping_ask_first() {
    let mut app = four();
    assert_eq!(press(&mut app, "S Enter"), []);
    assert_eq!(press(&mut app, "S Right Enter"), [Effect::Act(Action::Stop)]);
    let mut cron = status(vec![], noon()).cron;
    cron.running = false;
    let reply = Reply::Steer(SteerReply { message: "the loop is stopped".to_owned(), cron });
    app.update(Input::Done(Action::Stop, Ok(reply)), noon());
    assert_eq!(notice(&app), "The loop is stopped.");
    assert_eq!(press(&mut app, "S Tab Enter"), [Effect::Act(Action::Start)]);
}

#[test]
fn copying_the_id() {
    assert_eq!(press(&mut four(), "j y"), [Effect::Copy("slow".to_owned())]);
    assert_eq!(press(&mut four(), "j Enter y"), [Effect::Copy("slow".to_owned())]);
}

#[test]
fn the_detail_stays_with_its_customer() {
    let mut app = four();
    press(&mut app, "p j Enter");
    assert_eq!(app.mode, Mode::Detail { id: "slow".to_owned(), scroll: 0 });
    // Healed, it is hidden by `p`, but still under the eye.
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
    assert_eq!(press(&mut app, "r y"), [], "there is no customer to mean");
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
        "one can still act"
    );
    press(&mut app, "f");
    assert_eq!(shown(&app), ["two"]);
}

#[test]
fn help_goes_back_to_where_it_came_from() {
    let mut app = four();
    press(&mut app, "e ?");
    assert!(matches!(app.mode, Mode::Help { .. }));
    press(&mut app, "G ?");
    assert_eq!(app.mode, Mode::Events { scroll: 0 });
}

#[test]
fn without_the_daemon_rows_stay_and_actions_are_off() {
    let mut app = four();
    app.update(lost(), noon());
    let since = noon();
    app.update(lost(), noon() + TimeDelta::seconds(9));
    assert!(
        matches!(&app.link, Link::Down { since: s, heard: Some(_), .. } if *s == since),
        "{:?}",
        app.link
    );
    assert_eq!(shown(&app).len(), 4);
    assert_eq!(press(&mut app, "r R S j r"), []);
    assert_eq!(app.mode, Mode::Table, "not even asked");
    assert!(notice(&app).contains("unreachable"));
    let back = app.update(delta(vec![], &[]), noon());
    assert_eq!((back, app.link.clone()), (vec![Effect::Draw], Link::Up { heard: noon() }));
}

#[test]
fn a_question_that_was_asked_before_the_daemon_went_does_nothing() {
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
    assert_eq!(press(&mut app, "S Tab Enter"), [Effect::Act(Action::Stop)]);
}

#[test]
fn keys_before_the_first_answer_do_no_harm() {
    let mut app = App::new(Theme::new(true, false), "/run/x.sock".to_owned(), (100, 30), noon());
    for key in "j k g G PgUp PgDn C-u C-d / x Enter s j Enter p Enter Esc e Esc f ? Esc r R S y f".split(' ')
    {
        assert_eq!(press(&mut app, key), [], "{key}");
    }
    app.update(lost(), noon());
    assert!(matches!(app.link, Link::Down { heard: None, .. }));
}

#[test]
fn ten_thousand_customers_are_told_apart_by_short_ids() {
    let many: Vec<Customer> =
        (0..10_000).map(|n| customer(&format!("customer-{n:06}"), "u", "s.example", 600, noon())).collect();
    let app = app(many);
    assert_eq!(app.short_id("customer-000123"), "customer-000123");
    assert_eq!(four().short_id("0123456789abcdef"), "01234567");
}

#[test]
fn states_are_searchable() {
    let mut app = four();
    press(&mut app, "/ r e t r y i n g");
    assert_eq!(shown(&app), ["slow"]);
    assert_eq!(app.subject().map(|customer| customer.state), Some(Phase::Retrying));
}
