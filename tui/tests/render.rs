//! Snapshots of the screen as text, at every size and in every state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use support::svg::svg;
use support::{busy, busy_events, customer, noon, parked, status};
use tbtoken_proto::{Customer, FailureKind, Phase, StatusReply};
use tbtui::app::App;
use tbtui::input::{Action, ActionError, Input};
use tbtui::render::render;
use tbtui::theme::Theme;

const SIZES: [(u16, u16); 5] = [(200, 50), (100, 30), (80, 24), (60, 16), (40, 10)];

fn app(size: (u16, u16), reply: StatusReply) -> App {
    let mut app = empty(size);
    app.update(Input::Status(Box::new(reply)), noon());
    app
}

fn empty(size: (u16, u16)) -> App {
    App::new(Theme::new(true, false), "/run/tbtokend/control.sock".to_owned(), size, noon())
}

fn busy_app(size: (u16, u16)) -> App {
    let customers = busy(noon());
    let events = busy_events(&customers, noon());
    let mut app = app(size, status(customers, noon()));
    app.update(Input::Events(events), noon());
    app
}

fn lost() -> Input {
    Input::Disconnected {
        why: "cannot reach tbtokend at /run/tbtokend/control.sock: not running".to_owned(),
        hint: Some("systemctl status tbtokend ; journalctl -u tbtokend -n 20".to_owned()),
        retry_in: Duration::from_secs(3),
    }
}

fn press(app: &mut App, keys: &str, now: DateTime<Utc>) {
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            c => KeyCode::Char(c),
        };
        app.update(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)), now);
    }
}

fn buffer(app: &App, (columns, rows): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| render(frame, app)).unwrap();
    terminal.backend().buffer().clone()
}

/// Returns the screen as text. A wide character stands for its two cells.
fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol).max(1)).unwrap();
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Takes a snapshot of a state at each size.
fn at_each_size(name: &str, state: impl Fn((u16, u16)) -> App) {
    for size in SIZES {
        let app = state(size);
        let name = format!("{name}_{}x{}", size.0, size.1);
        insta::assert_snapshot!(name, text(&buffer(&app, size)));
    }
}

#[test]
fn normal() {
    at_each_size("normal", busy_app);
}

#[test]
fn empty_table() {
    at_each_size("empty_table", |size| app(size, status(vec![], noon())));
}

#[test]
fn one_parked() {
    at_each_size("one_parked", |size| {
        let mut customers: Vec<Customer> = busy(noon()).into_iter().take(6).collect();
        customers.push(parked(
            "8F1C02AA-1D1E-4C43-9E21-0CA65B0CF1B2",
            "ops@acme.example",
            "tb.acme.example",
            noon(),
        ));
        app(size, status(customers, noon()))
    });
}

#[test]
fn all_expired() {
    at_each_size("all_expired", |size| {
        let expired = |n: i64| {
            let id = format!("{n:04X}C0DE-0000-4000-8000-00000000{n:04X}");
            customer(&id, &format!("ops{n}@x.example"), "tb.x.example", -60 * (n + 1), noon())
        };
        let mut reply = status((0..40).map(expired).collect(), noon());
        reply.cron.running = false;
        reply.cron.next_run_at = None;
        app(size, reply)
    });
}

#[test]
fn daemon_away() {
    at_each_size("daemon_away", |size| {
        let mut app = busy_app(size);
        app.update(lost(), noon() + TimeDelta::seconds(5));
        app.update(lost(), noon() + TimeDelta::seconds(46));
        // LEFT keeps counting.
        app.update(Input::Tick, noon() + TimeDelta::seconds(47));
        app
    });
}

#[test]
fn daemon_silent() {
    at_each_size("daemon_silent", |size| {
        let mut app = busy_app(size);
        app.update(Input::Tick, noon() + TimeDelta::seconds(5));
        app
    });
}

#[test]
fn daemon_never_there() {
    at_each_size("daemon_never_there", |size| {
        let mut app = empty(size);
        app.update(lost(), noon());
        app
    });
}

#[test]
fn connecting() {
    at_each_size("connecting", empty);
}

#[test]
fn database_away() {
    at_each_size("database_away", |size| {
        let mut reply = status(busy(noon()), noon());
        reply.tokens.success = false;
        reply.tokens.error = Some("the database sql01/app does not answer: connection refused".to_owned());
        reply.tokens.as_of = Some(noon() - TimeDelta::seconds(318));
        reply.daemon.store_ok = false;
        app(size, reply)
    });
}

#[test]
fn database_refuses_writes() {
    at_each_size("database_refuses_writes", |size| {
        let mut reply = status(busy(noon()), noon());
        reply.daemon.store_ok = false;
        reply.daemon.store_error =
            Some("database or disk is full; make room on the disk of the file".to_owned());
        app(size, reply)
    });
}

#[test]
fn loop_stopped() {
    at_each_size("loop_stopped", |size| {
        let mut reply = status(busy(noon()), noon());
        (reply.cron.running, reply.cron.next_run_at) = (false, None);
        app(size, reply)
    });
}

#[test]
fn notice() {
    at_each_size("notice", |size| {
        let mut app = busy_app(size);
        let error = ActionError {
            why: "the daemon is shutting down".to_owned(),
            hint: Some("try again in a moment".to_owned()),
        };
        app.update(Input::Done(Action::RefreshDue, Err(error)), noon());
        app
    });
}

#[test]
fn filter_without_hits() {
    at_each_size("filter_without_hits", |size| {
        let mut app = busy_app(size);
        press(&mut app, "/no such", noon());
        app
    });
}

#[test]
fn long_and_wide_names() {
    at_each_size("long_and_wide_names", |size| {
        let long = "x".repeat(70);
        let customers = vec![
            customer("大阪-第一工場", "運用担当@大阪水道.example", "大阪水道.example", 120, noon()),
            customer("東京-第二工場", "e\u{301}quipe@tokyo.example", "tokyo.example", 700, noon()),
            customer(
                &format!("{long}-1"),
                &format!("{long}@x.example"),
                &format!("{long}.example"),
                -10,
                noon(),
            ),
            parked(&format!("{long}-2"), &format!("ops@{long}.example"), &format!("{long}.example"), noon()),
        ];
        app(size, status(customers, noon()))
    });
}

#[test]
fn control_characters_in_a_message() {
    at_each_size("control_characters", |size| {
        let mut bad =
            parked("8f1c02aa\u{1b}[2J", "ops\u{7}@acme.example", "tb.acme.example/\u{202e}moc", noon());
        bad.failure.as_mut().unwrap().message = "no\u{1b}[31m luck\r\nat \u{200b}all\u{9b}2J".to_owned();
        let mut reply = status(vec![bad], noon());
        reply.daemon.store = "sqlite /var/\u{1b}]0;pwned\u{7}db".to_owned();
        app(size, reply)
    });
}

#[test]
fn nothing_that_a_terminal_obeys_is_ever_drawn() {
    for size in SIZES {
        for keys in ["", "\n", "e", "r", "?", "s", "/\u{1b}"] {
            let mut customers = vec![parked("a\u{1b}[2J", "u\u{7}", "s\u{9d}", noon())];
            customers[0].failure.as_mut().unwrap().remedy = "\u{1b}c".to_owned();
            let events = busy_events(&customers, noon());
            let mut app = app(size, status(customers, noon()));
            app.update(Input::Events(events), noon());
            press(&mut app, keys, noon());
            let text = text(&buffer(&app, size));
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{keys}: {text:?}");
        }
    }
}

#[test]
fn over_the_table() {
    for (name, keys) in
        [("detail", "\n"), ("events", "e"), ("help", "?"), ("sort", "s"), ("parked", "r"), ("stop", "S")]
    {
        at_each_size(&format!("over_{name}"), |size| {
            let mut app = busy_app(size);
            press(&mut app, keys, noon());
            app
        });
    }
}

#[test]
fn every_line_of_the_help_can_be_reached_at_every_size() {
    for size in SIZES {
        let mut app = busy_app(size);
        press(&mut app, "?", noon());
        let mut seen = text(&buffer(&app, size));
        for _ in 0..100 {
            press(&mut app, "j", noon());
            seen.push_str(&text(&buffer(&app, size)));
        }
        for word in ["arrows j k", "start or stop", "Ctrl-C", "needs nothing", "retrying"] {
            assert!(seen.contains(word), "{word} at {size:?}");
        }
    }
}

#[test]
fn frozen_problems_only_and_filtered() {
    at_each_size("frozen", |size| {
        let mut app = busy_app(size);
        press(&mut app, "p/isar\nf", noon());
        let later = noon() + TimeDelta::minutes(7);
        app.update(Input::Status(Box::new(status(busy(noon()), noon()))), later);
        app.update(Input::Tick, later);
        app
    });
}

#[test]
fn frozen_while_the_daemon_is_away() {
    at_each_size("frozen_and_away", |size| {
        let mut app = busy_app(size);
        press(&mut app, "f", noon());
        app.update(lost(), noon() + TimeDelta::seconds(60));
        app
    });
}

#[test]
fn an_outage_says_why_and_what_to_do_wherever_there_is_room() {
    let socket = "/run/tbtokend/control.sock";
    for (size, (why, short)) in SIZES.into_iter().flat_map(|size| {
        let whys = [
            (format!("cannot reach tbtokend at {socket}: not running"), "not running"),
            (format!("tbtokend at {socket} did not answer within 10 s"), "did not answer within 10 s"),
        ];
        whys.map(|why| (size, why))
    }) {
        let mut app = busy_app(size);
        let Input::Disconnected { hint, retry_in, .. } = lost() else { unreachable!() };
        app.update(Input::Disconnected { why, hint, retry_in }, noon());
        let text = text(&buffer(&app, size));
        assert!(!text.contains("Tbtokend"), "a name is written as it is: {text}");
        let text = text.to_lowercase();
        assert!(text.contains(short), "{text}");
        assert!(size.1 < 14 || text.contains("systemctl status tbtokend"), "{text}");
        assert!(size.1 < 24 || text.contains("journalctl -u tbtokend -n 20"), "{text}");
    }
}

#[test]
fn too_small_for_panels() {
    for size in [(39, 30), (100, 9), (20, 3), (10, 1), (1, 1)] {
        let mut app = busy_app(size);
        let name = format!("counts_{}x{}", size.0, size.1);
        insta::assert_snapshot!(name, text(&buffer(&app, size)));
        app.update(lost(), noon());
        let text = text(&buffer(&app, size));
        assert!(size.0 < 20 || text.starts_with("DAEMON UNREACHABLE"), "{text}");
    }
}

#[test]
fn no_size_and_no_mode_panics() {
    for keys in ["", "\n", "e", "?", "s", "r", "S", "/x", "f"] {
        for columns in [0, 1, 2, 5, 17, 39, 40, 41, 52, 67] {
            for rows in [0, 1, 2, 3, 5, 9, 10, 11, 13, 16, 20, 26, 33] {
                let mut app = app((columns, rows), status(busy(noon()).split_off(115), noon()));
                press(&mut app, keys, noon());
                buffer(&app, (columns, rows));
            }
        }
    }
}

#[test]
fn ascii_draws_nothing_else() {
    for keys in ["", "\n", "e", "?", "s", "r", "/acme", "f"] {
        let customers = busy(noon());
        let mut app = App::new(Theme::new(false, true), "/run/x.sock".to_owned(), (100, 30), noon());
        app.update(Input::Events(busy_events(&customers, noon())), noon());
        app.update(Input::Status(Box::new(status(customers, noon()))), noon());
        press(&mut app, keys, noon());
        let text = text(&buffer(&app, (100, 30)));
        assert!(text.is_ascii(), "{text}");
    }
    let mut app = App::new(Theme::new(false, true), "/run/x.sock".to_owned(), (60, 16), noon());
    app.update(Input::Status(Box::new(status(busy(noon()), noon()))), noon());
    insta::assert_snapshot!(text(&buffer(&app, (60, 16))));
}

#[test]
fn colour_is_never_alone_and_can_be_left_out() {
    let size = (100, 30);
    let coloured = buffer(&busy_app(size), size);
    let colours: Vec<Color> = coloured.content.iter().map(|cell| cell.fg).collect();
    assert!(colours.contains(&Color::Red) && colours.contains(&Color::Yellow));
    assert!(!colours.contains(&Color::Green), "no pair of red and green");
    assert!(coloured.content.iter().all(|cell| cell.bg == Color::Reset), "the terminal's own background");

    let mut app = App::new(Theme::new(false, false), "/run/x.sock".to_owned(), size, noon());
    app.update(Input::Status(Box::new(status(busy(noon()), noon()))), noon());
    let plain = buffer(&app, size);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(text(&plain).contains("x expired"), "the sign and the word say the same");
}

#[test]
fn the_alarm_and_the_selection_are_reversed() {
    let size = (100, 30);
    let mut app = busy_app(size);
    app.update(lost(), noon());
    let buffer = buffer(&app, size);
    let reversed = |y: u16| (0..size.0).all(|x| buffer[(x, y)].modifier.contains(Modifier::REVERSED));
    assert!(reversed(0) && !reversed(1));
    let line = |y: u16| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let reversed: Vec<u16> = (1..size.1).filter(|&y| reversed(y)).collect();
    assert!(reversed.len() == 1 && line(reversed[0]).contains("398E8BF9"), "the first customer is selected");
}

/// The picture of the README: `UPDATE_PICTURE=1 cargo test -p tbtui dashboard_svg` renews it.
#[test]
fn dashboard_svg() {
    let size = (100, 30);
    let mut app = busy_app(size);
    press(&mut app, "j", noon());
    let picture = svg(&buffer(&app, size));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/dashboard.svg");
    if std::env::var_os("UPDATE_PICTURE").is_some() {
        std::fs::write(path, picture).unwrap();
        return;
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == picture,
        "docs/dashboard.svg does not show the dashboard as it is. Renew it with \
         UPDATE_PICTURE=1 cargo test -p tbtui dashboard_svg, and look at it"
    );
}

/// Returns the columns at which these pieces of the header begin.
fn places(line: &str, pieces: &[&str]) -> Vec<Option<usize>> {
    pieces.iter().map(|piece| line.find(piece).map(|at| line[..at].chars().count())).collect()
}

/// The count of receivers that fail comes and goes with them, on a screen that is open.
#[test]
fn receivers_that_fail_are_counted() {
    let size = (120, 30);
    let mut app = app(size, status(vec![], noon()));
    for (failing, shown) in
        [(&["chat"][..], Some("1 receiver fails")), (&["a", "b"], Some("2 receivers fail")), (&[], None)]
    {
        let mut reply = status(vec![], noon());
        reply.daemon.failing_receivers = failing.iter().map(|name| (*name).to_owned()).collect();
        app.update(Input::Status(Box::new(reply)), noon());
        let screen = text(&buffer(&app, size));
        assert_eq!(screen.contains("receiver"), shown.is_some(), "{screen}");
        assert!(shown.is_none_or(|shown| screen.contains(shown)), "{screen}");
    }
}

/// Each piece of the header keeps its place when the text changes.
#[test]
fn the_pieces_of_the_header_keep_their_places() {
    let runs = [(0, 0, 3), (3, 0, 400), (3, 1, 400), (128, 14, 9_900), (5_000, 120, 61_000)];
    for columns in [40, 50, 60, 61, 70, 71, 72, 80, 90, 98, 99, 100, 101, 102, 103, 104, 110, 120, 200] {
        let line =
            |refreshing: bool, seconds: Option<i64>, (updated, errors, duration_ms): (usize, usize, u64)| {
                let mut reply = status(vec![], noon());
                reply.cron.refreshing = refreshing;
                reply.cron.next_run_at = seconds.map(|seconds| noon() + TimeDelta::seconds(seconds));
                let last = reply.cron.last_run.as_mut().unwrap();
                (last.total, last.updated, last.errors, last.duration_ms) =
                    (updated + errors, updated, errors, duration_ms);
                let screen = text(&buffer(&app((columns, 30), reply), (columns, 30)));
                let line = screen.lines().next().unwrap();
                places(line, &["tbtokend", "sql01", "loop RUNNING", "last ", "14:03Z"])
            };
        let usual = line(false, Some(42), (3, 1, 400));
        assert!(usual[2].is_some(), "{columns}");
        for run in runs {
            for (refreshing, seconds) in [(false, Some(0)), (false, Some(59)), (false, None), (true, Some(9))]
            {
                assert_eq!(
                    line(refreshing, seconds, run),
                    usual,
                    "{columns}: {run:?} {refreshing} {seconds:?}"
                );
            }
        }
    }
}

/// The table and the detail count down to the end of a token with the same clock.
#[test]
fn the_list_and_the_detail_agree_at_every_second() {
    let size = (100, 30);
    let mut app = app(size, status(vec![customer("8F1C02AA", "u", "tb.acme.example", 605, noon())], noon()));
    for second in 0..130 {
        app.update(Input::Tick, noon() + TimeDelta::seconds(second));
        let screen = text(&buffer(&app, size));
        let row = screen.lines().find(|line| line.contains("valid    ")).unwrap();
        let left = row.split_whitespace().find(|word| word.ends_with('m')).unwrap();
        assert!(screen.contains(&format!("for {left} more")), "after {second} s:\n{screen}");
    }
}

/// A customer has not failed while its server does not answer other customers.
#[test]
fn a_customer_that_was_not_tried_is_waiting() {
    for (size, told) in
        [((100, 30), "│ WAITING: The server did not"), ((60, 15), " WAITING: timed out, due.")]
    {
        let mut row = customer("8F1C02AA", "u", "tb.acme.example", 200, noon());
        row = support::failing(row, FailureKind::Timeout, support::TIMED_OUT, (0, 0), None, noon());
        row.state = Phase::Due;
        let screen = text(&buffer(&app(size, status(vec![row], noon())), size));
        assert!(screen.contains(told) && screen.contains("waiting: timed"), "{screen}");
        assert!(!screen.contains("FAILED"), "{screen}");
    }
}
