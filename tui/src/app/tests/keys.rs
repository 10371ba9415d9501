//! Every key in every mode.

use tbtoken_proto::{Outcome, OutcomeStatus, Phase, RefreshReply, RefreshResult, SteerReply, words};

use super::*;
use crate::input::Ending;
use crate::mode::Button;
use crate::view::{Direction, Scope, Sort};

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
    // The last page is full: no line below the last customer stays empty.
    assert_eq!(app.view.visible(app.scene().snapshot.customers(), page).count(), page);
    app.update(Input::Resize(100, 50), noon());
    let page = app.page();
    assert_eq!(app.view.visible(app.scene().snapshot.customers(), page).count(), page);
}

#[test]
fn quitting() {
    for keys in ["q", "C-c"] {
        assert_eq!(press(&mut four(), keys), [Effect::Quit(Ending::Requested)]);
    }
    // Ctrl-C quits in every mode; q goes back where there is a mode to go back to.
    for mode in ["/", "s", "Enter", "e", "?", "r", "S"] {
        let mut app = four();
        press(&mut app, mode);
        assert_ne!(app.mode, Mode::Table, "{mode}");
        assert_eq!(press(&mut app, "C-c"), [Effect::Quit(Ending::Requested)], "{mode}");
        if mode != "/" {
            assert_eq!(press(&mut app, "q"), [], "{mode}");
            assert_eq!(app.mode, Mode::Table, "{mode}");
        }
    }
    let mut app = four();
    assert_eq!(app.update(Input::End(Ending::Requested), noon()), [Effect::Quit(Ending::Requested)]);
    assert_eq!(app.update(Input::End(Ending::TerminalGone), noon()), [Effect::Quit(Ending::TerminalGone)]);
    assert_eq!(
        app.update(Input::End(Ending::Panicked("poll")), noon()),
        [Effect::Quit(Ending::Panicked("poll"))]
    );
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
    assert_eq!(app.view.direction, Direction::Descending, "the same order again reverses it");
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
    assert!(notice(&app).contains("already running"));
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
    // A notice disappears after a while; Esc clears it before.
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
            [Effect::Act(Action::ForceRefresh("bad".to_owned()))]
        );
    }
    assert_eq!(press(&mut app, "r Tab Tab Enter"), [], "there and back");
}

#[test]
fn a_question_keeps_its_customer_when_rows_change() {
    let mut app = four();
    press(&mut app, "r");
    app.update(delta(vec![], &["bad"]), noon());
    assert_eq!(selected(&app), "slow");
    assert_eq!(press(&mut app, "Tab Enter"), [Effect::Act(Action::ForceRefresh("bad".to_owned()))]);
}

#[test]
fn refreshing_all_due_customers() {
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
    assert_eq!(notice(&app), "1 renewed, 0 failed, 1 skipped.");
}

#[test]
fn starting_and_stopping_ask_first() {
    let mut app = four();
    assert_eq!(press(&mut app, "S Enter"), []);
    assert_eq!(press(&mut app, "S Right Enter"), [Effect::Act(Action::Stop)]);
    let mut cron = status(vec![], noon()).cron;
    (cron.running, cron.stopped_since) = (false, Some(noon()));
    let message = format!("the loop {}. A running pass still finishes", words::stopped(cron.stopped_since));
    app.update(Input::Done(Action::Stop, Ok(Reply::Steer(SteerReply { message, cron }))), noon());
    // The rule has room for 74 columns on a screen of 80.
    assert_eq!(notice(&app), "The loop was stopped at 14:03Z. A running pass still finishes.");
    assert_eq!(press(&mut app, "S Tab Enter"), [Effect::Act(Action::Start)]);
}

#[test]
fn copying_the_id() {
    assert_eq!(press(&mut four(), "j y"), [Effect::Copy("slow".to_owned())]);
    assert_eq!(press(&mut four(), "j Enter y"), [Effect::Copy("slow".to_owned())]);
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
fn keys_before_the_first_answer_do_no_harm() {
    let mut app = App::new(Theme::new(true, false), "/run/x.sock".to_owned(), (100, 30), noon());
    for key in "j k g G PgUp PgDn C-u C-d / x Enter s j Enter p Enter Esc e Esc f ? Esc r R S y f".split(' ')
    {
        assert_eq!(press(&mut app, key), [], "{key}");
    }
    app.update(lost(), noon());
    assert!(matches!(app.link, Link::Down { last_answer: None, .. }));
}

#[test]
fn states_are_searchable() {
    let mut app = four();
    press(&mut app, "/ r e t r y i n g");
    assert_eq!(shown(&app), ["slow"]);
    assert_eq!(app.subject().map(|customer| customer.state), Some(Phase::Retrying));
}

#[test]
fn every_column_can_be_sorted_by() {
    for (sort, expected) in [
        (Sort::Problems, ["bad", "slow", "one", "two"]),
        (Sort::Customer, ["bad", "one", "slow", "two"]),
        (Sort::User, ["bad", "one", "slow", "two"]),
        (Sort::Server, ["bad", "one", "slow", "two"]),
        (Sort::Left, ["bad", "slow", "one", "two"]),
        (Sort::Next, ["slow", "one", "two", "bad"]),
        (Sort::Error, ["slow", "bad", "one", "two"]),
    ] {
        let mut app = four();
        let line = Sort::ALL.iter().position(|&other| other == sort).unwrap();
        press(&mut app, "s g");
        for _ in 0..line {
            press(&mut app, "j");
        }
        press(&mut app, "Enter");
        assert_eq!(app.view.sort, sort);
        // Choosing the current order again reverses it.
        if sort == Sort::Problems {
            press(&mut app, "s Enter");
        }
        assert_eq!(shown(&app), expected, "{sort:?}");
    }
}

#[test]
fn a_hit_stays_selected_when_the_filter_is_cleared() {
    let mut app = four();
    press(&mut app, "/ t w o Enter Esc");
    assert_eq!((shown(&app).len(), selected(&app)), (4, "two"));
    press(&mut app, "/ @ x");
    assert_eq!(selected(&app), "two", "still a hit");
    press(&mut app, "Esc / e x a m p l e Space t i m e d Backspace Backspace Backspace Backspace Backspace");
    assert_eq!((shown(&app).len(), selected(&app)), (4, "slow"));
    let mut app = four();
    press(&mut app, "G / e x p i r e d");
    assert_eq!(
        (shown(&app), selected(&app)),
        (vec!["bad".to_owned(), "slow".to_owned()], "bad"),
        "the first hit"
    );
}

#[test]
fn enter_and_space_and_esc_mean_the_same_everywhere() {
    for (open, close) in
        [("s", "s"), ("s", "Esc"), ("e", "e"), ("e", "Enter"), ("Enter", "Enter"), ("?", "Space")]
    {
        let mut app = four();
        press(&mut app, open);
        assert_ne!(app.mode, Mode::Table);
        press(&mut app, close);
        assert_eq!(app.mode, Mode::Table, "{open} {close}");
    }
    for no in ["n", "q", "Esc", "Enter", "Space"] {
        let mut app = four();
        assert_eq!(press(&mut app, &format!("S {no}")), []);
        assert_eq!(app.mode, Mode::Table, "{no}");
    }
    for yes in ["Tab Space", "y", "Tab y"] {
        assert_eq!(press(&mut four(), &format!("S {yes}")), [Effect::Act(Action::Stop)], "{yes}");
    }
    assert_eq!(press(&mut four(), "r y"), [Effect::Act(Action::ForceRefresh("bad".to_owned()))]);
    let mut app = four();
    press(&mut app, "S x r Y");
    assert!(matches!(app.mode, Mode::Confirm { .. }), "other keys answer nothing");
}

#[test]
fn ctrl_z_suspends_in_every_mode_and_changes_none() {
    for keys in ["", "/ a", "s", "Enter", "e", "?", "S"] {
        let mut app = four();
        if !keys.is_empty() {
            press(&mut app, keys);
        }
        let mode = app.mode.clone();
        assert_eq!(press(&mut app, "C-z"), [Effect::Suspend], "after {keys}");
        assert_eq!((app.mode.clone(), app.view.filter.contains('z')), (mode, false), "after {keys}");
    }
}

#[test]
fn keys_that_mean_nothing_do_nothing() {
    let mut app = four();
    for key in ["x", "C-s", "C-x", "C-r", "C-y", "Tab", "Space", "Backspace", "Left"] {
        assert_eq!(press(&mut app, key), [], "{key}");
        assert_eq!((app.mode.clone(), selected(&app)), (Mode::Table, "bad"), "{key}");
    }
}
