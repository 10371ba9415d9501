//! The figures of the dashboard, measured with the real program in a pseudo-terminal. The tests are ignored, because a
//! busy machine spoils the figures. On an idle one:
//!
//! `cargo test --release -p tbtui --test measure -- --ignored --nocapture --test-threads 1`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use portable_pty::CommandBuilder;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use support::fake_daemon::FakeDaemon;
use support::pty::Run;
use support::{busy, busy_events, crowd, status, steady};
use tbtoken_proto::Customer;
use tbtui::app::App;
use tbtui::input::Input;
use tbtui::render::render;
use tbtui::theme::Theme;

#[expect(clippy::disallowed_methods, reason = "the customers live now")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Starts a dashboard that shows these customers.
fn start(customers: Vec<Customer>) -> (tempfile::TempDir, FakeDaemon, Run) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let count = customers.len();
    let events = busy_events(&customers[..200], now());
    let daemon = FakeDaemon::start(&socket, status(customers, now()), events);
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tbtui"));
    command.env("TERM", "xterm-256color");
    command.env("LC_ALL", "C.UTF-8");
    command.arg("--socket");
    command.arg(&socket);
    let mut run = Run::start(command);
    run.until_shows(&format!("1/{count}"));
    (folder, daemon, run)
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

#[test]
#[ignore = "a measurement"]
fn an_idle_minute_with_a_thousand_customers() {
    let (_folder, daemon, run) = start(steady(now()));
    // The cost of the start does not count.
    let begin = Instant::now() + Duration::from_secs(2);
    let end = begin + Duration::from_secs(60);
    let (mut bytes, mut cpu) = (0, None);
    while Instant::now() < end {
        // Only the time of the next poll changes.
        daemon.change(|world| {
            let next = world.status.cron.next_run_at.unwrap();
            if next < now() {
                world.status.cron.next_run_at = Some(next + TimeDelta::seconds(60));
            }
        });
        let received = match run.output.recv_timeout(Duration::from_millis(500)) {
            Ok(bytes) => bytes.len(),
            Err(RecvTimeoutError::Timeout) => 0,
            Err(RecvTimeoutError::Disconnected) => panic!("it ended"),
        };
        if Instant::now() >= begin {
            cpu.get_or_insert_with(|| run.cpu());
            bytes += received;
        }
    }
    let used = run.cpu() - cpu.unwrap();
    let percent = used.as_secs_f64() / 60.0 * 100.0;
    println!(
        "idle for 60 s with 1,000 customers: {used:?} of a core ({percent:.2} %), {bytes} bytes written"
    );
    assert!(percent < 0.5 && bytes < 8 * 1024);
}

#[test]
#[ignore = "a measurement"]
fn a_session_of_a_hundred_keys() {
    let (_folder, _daemon, mut run) = start(crowd(busy(now()), 10_000, now()));
    let mut bytes = vec![("start", run.raw.len())];
    let steps = [
        ("80 lines down", "j".repeat(80), " 81/10000"),
        ("the end", "G".to_owned(), "10000/10000"),
        ("a filter", "/meter4711@".to_owned(), "1 of 10000"),
        ("no filter", "\x1b".to_owned(), " 10000 total"),
        ("the help", "?".to_owned(), "one up or down"),
        ("no help", "q".to_owned(), "sort: "),
        ("the events", "e".to_owned(), "newest first"),
    ];
    for (step, keys, shows) in steps {
        let before = run.raw.len();
        for key in keys.chars() {
            run.press(&key.to_string());
        }
        run.until_shows(shows);
        bytes.push((step, run.raw.len() - before));
    }
    let all: usize = bytes.iter().map(|(_, count)| count).sum();
    println!("bytes written in a session, 100x30: {all}, of which {bytes:?}");
}

#[test]
#[ignore = "a measurement"]
fn a_key_is_on_the_screen_soon() {
    let (_folder, _daemon, mut run) = start(crowd(busy(now()), 10_000, now()));
    let mut times = vec![];
    for line in 2..202 {
        let begin = Instant::now();
        run.press("j");
        run.until_shows(&format!(" {line}/10000"));
        times.push(begin.elapsed());
    }
    let (median, worst) = (percentile(&mut times, 50), percentile(&mut times, 100));
    println!("from key to screen with 10,000 customers: median {median:?}, worst of 200 {worst:?}");
    assert!(worst < Duration::from_millis(50));

    let begin = Instant::now();
    run.press("/meter4711@");
    run.until_shows("1 of 10000");
    println!("eleven letters of a filter over 10,000 customers: {:?}", begin.elapsed());
}

#[test]
#[ignore = "a measurement"]
fn a_frame_with_ten_thousand_rows() {
    let customers = crowd(busy(now()), 10_000, now());
    let events = busy_events(&customers, now());
    for (size, keys) in [((100, 30), "j"), ((200, 50), "j"), ((200, 50), "e"), ((200, 50), "\n")] {
        let mut app = App::new(Theme::new(true, false), "/run/x.sock".to_owned(), size, now());
        app.update(Input::Status(Box::new(status(customers.clone(), now()))), now());
        app.update(Input::Events(events.clone()), now());
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        let mut times = vec![];
        for n in 0..1000 {
            let code = match keys {
                "j" => KeyCode::PageDown,
                "\n" if n == 0 => KeyCode::Enter,
                "e" if n == 0 => KeyCode::Char('e'),
                _ => KeyCode::Char('j'),
            };
            let begin = Instant::now();
            app.update(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)), now());
            terminal.draw(|frame| render(frame, &app)).unwrap();
            times.push(begin.elapsed());
        }
        let (median, late) = (percentile(&mut times, 50), percentile(&mut times, 99));
        println!("a key and a frame, {size:?}, {keys:?}: median {median:?}, 99th percentile {late:?}");
        assert!(late < Duration::from_millis(3));
    }
}
