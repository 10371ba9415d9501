//! What a person at a terminal sees that a pipe does not: signs, colours, a table that fits, progress.

use std::io::Read;

use std::sync::Mutex;

use crate::common::{Fake, GIVE_UP, Reaction, Told, answer, customers, event, tbctl};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tbtoken_proto::{Customer, EventKind, EventsReply, Reply, Request, Seq};

/// A terminal of that width in which `tbctl` runs.
struct Terminal {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
}

impl Terminal {
    fn run(fake: &Fake, columns: u16, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let size = PtySize { rows: 24, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tbctl"));
        command.env_clear();
        command.env("TERM", "xterm");
        for (name, value) in environment {
            command.env(name, value);
        }
        command.arg("--socket");
        command.arg(fake.socket());
        command.args(arguments);
        let child = pair.slave.spawn_command(command).unwrap();
        Self { master: pair.master, child }
    }

    /// Everything that was on the screen until the end, and the signal or the exit code.
    fn finish(mut self) -> (String, Option<String>, u32) {
        let mut screen = Vec::new();
        // When the last process is gone, the terminal ends with an error instead of an end of file.
        let _ = self.master.try_clone_reader().unwrap().read_to_end(&mut screen);
        let status = self.child.wait().unwrap();
        let screen = String::from_utf8(screen).unwrap().replace("\r\n", "\n");
        (screen, status.signal().map(str::to_owned), status.exit_code())
    }
}

fn status(columns: u16, environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let fake = Fake::healthy();
    let (screen, signal, exit) = Terminal::run(&fake, columns, environment, arguments).finish();
    assert_eq!((signal, exit), (None, 0), "{screen}");
    fake.requests();
    screen
}

#[test]
fn a_terminal_has_signs_and_colours() {
    let screen = status(120, &[], &[]);
    assert!(screen.contains("\n\u{1b}[31m- missing\u{1b}[0m  C0FFEE12  株式会社\u{fffd}[2J  "), "{screen:?}");
    assert!(screen.contains("\n  valid    1B2C9D00  ops@acme-hq.example  hq.acme.example  "), "{screen:?}");
}

#[test]
fn colours_can_be_turned_off() {
    for (environment, arguments) in [
        ([("NO_COLOR", "1")].as_slice(), [].as_slice()),
        (&[("TERM", "dumb")], &[]),
        (&[], &["--color", "never"]),
    ] {
        let screen = status(120, environment, arguments);
        assert!(!screen.contains('\u{1b}'), "{environment:?} {arguments:?}: {screen:?}");
        assert!(screen.contains("\n- missing  C0FFEE12  "), "{screen:?}");
    }
    let screen = status(120, &[("NO_COLOR", "")], &[]);
    assert!(screen.contains("\u{1b}[31m"), "an empty NO_COLOR says nothing: {screen:?}");
    let screen = status(120, &[("NO_COLOR", "1")], &["--color=always"]);
    assert!(screen.contains("\u{1b}[31m"), "the option wins: {screen:?}");
}

#[test]
fn the_table_fits() {
    let screen = status(60, &[], &["--color", "never"]);
    assert!(!screen.contains("THINGSBOARD"), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 60), "{screen}");
    assert_eq!(screen.lines().skip_while(|line| !line.starts_with("STATUS")).count(), 3, "{screen}");
    // What stands above it is broken between two facts, if at all.
    let above: Vec<&str> = screen.lines().take(4).collect();
    assert_eq!(
        above,
        [
            "loop running   no run yet   sqlite /tmp/x.db",
            "2 total   1 valid   0 expiring soon   0 expired   1 missing",
            "1 parked",
            ""
        ]
    );
}

#[test]
fn whole_ids_give_way_to_short_ones_before_anything_is_left_out() {
    const IDS: [&str; 2] = ["8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11", "8F1C02AA-77B0-4E02-9C77-0E5A3F6B2D12"];
    let screen = |columns| {
        let fake = Fake::start(|_| {
            let row = |id: &str| Customer { customer_id: id.to_owned(), ..customers().remove(0) };
            Reaction::Answer(crate::common::status(IDS.map(row).to_vec()))
        });
        let terminal = Terminal::run(&fake, columns, &[], &["--color=never"]);
        let (screen, ..) = terminal.finish();
        fake.requests();
        screen
    };
    let wide = screen(140);
    assert!(IDS.iter().all(|id| wide.contains(id)), "{wide}");
    let narrow = screen(100);
    // As much as tells them apart, which is as much as a command needs.
    assert!(narrow.contains("\n  valid  8F1C02AA-3…  ops@acme-hq.example  hq.acme.example  "), "{narrow}");
    assert!(narrow.contains("\n  valid  8F1C02AA-7…  "), "{narrow}");
}

/// What tells the customers of a filtered table apart may fit one that it leaves out.
#[test]
fn a_short_id_fits_no_customer_that_is_not_listed() {
    let fake = Fake::start(|_| {
        let mut rows = customers();
        rows[0].customer_id = "8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11".to_owned();
        rows[1].customer_id = "8F1C02AA-77B0-4E02-9C77-0E5A3F6B2D12".to_owned();
        Reaction::Answer(crate::common::status(rows))
    });
    let terminal = Terminal::run(&fake, 90, &[], &["--color=never", "status", "--problems"]);
    let (screen, ..) = terminal.finish();
    fake.requests();
    assert!(screen.contains("\n- missing  8F1C02AA-7…  "), "{screen}");
}

#[test]
fn sentences_and_events_are_broken_between_words() {
    let fake = Fake::healthy();
    let (screen, ..) = Terminal::run(&fake, 40, &[], &["show", "no-such-customer"]).finish();
    fake.requests();
    assert_eq!(
        screen,
        "error: there is no customer\n\"no-such-customer\" (a row without user,\npassword or URL does not count)\n\
         hint: tbctl status lists the customers\n"
    );
    let fake = Fake::start(|request| match request {
        Request::Events { .. } => {
            let mut told = event(1, Some("1B2C9D00"), EventKind::Failed);
            told.message = "the server did not answer within 10 s".to_owned();
            Reaction::Answer(Reply::Events(EventsReply { events: vec![told], next: Seq(1) }))
        }
        other => answer(other),
    });
    let (screen, ..) = Terminal::run(&fake, 60, &[], &["events"]).finish();
    fake.requests();
    let indent = " ".repeat(40);
    assert_eq!(
        screen,
        format!("2026-11-23T14:03:00Z  failed  1B2C9D00  the server did not\n{indent}answer within 10 s\n")
    );
}

#[test]
fn a_story_is_broken_into_lines_that_fit() {
    let screen = status(60, &[], &["show", "C0FFEE12", "--color=never"]);
    assert!(screen.lines().all(|line| line.chars().count() <= 60), "{screen}");
    assert!(
        screen.contains("\nwhat next     The daemon does not try it until its URL, user\n              "),
        "{screen}"
    );
}

/// A pass that takes longer is counted, and the count is gone when it is over.
#[test]
fn progress_counts_what_happens_meanwhile() {
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = (Mutex::new(go_on), Mutex::new(may_go_on));
    let fake = Fake::start(move |request| match request {
        Request::Refresh(_) => {
            // Until the second look at the events has been answered.
            let may_go_on = may_go_on.lock().unwrap();
            for _ in 0..2 {
                may_go_on.recv_timeout(GIVE_UP).unwrap();
            }
            answer(request)
        }
        Request::Events { since: Some(_), .. } => {
            let told = answer(request);
            let _ = go_on.lock().unwrap().send(());
            told
        }
        other => answer(other),
    });
    let (screen, signal, exit) = Terminal::run(&fake, 80, &[], &["refresh"]).finish();
    assert_eq!((signal, exit), (None, 0), "{screen:?}");
    assert!(screen.contains("\r\u{1b}[Kthe pass is running, 1 s: 1 renewed, 0 failed"), "{screen:?}");
    assert!(screen.contains("\r\u{1b}[Krenewed  1B2C9D00"), "{screen:?}");
    fake.requests();
}

/// Waiting is a line that changes, and is cleared at the end.
#[test]
fn the_line_of_wait_names_the_customers_and_is_cleared() {
    let fake = Fake::healthy();
    let terminal = Terminal::run(&fake, 80, &[], &["wait", "--timeout", "600ms"]);
    let (screen, _, exit) = terminal.finish();
    assert_eq!(exit, 7, "{screen:?}");
    let line = "\r\u{1b}[Kwaiting, 0 s left: 1 of 2 not valid: C0FFEE12 (parked: wrong password)";
    assert!(screen.contains(line), "{screen:?}");
    assert!(screen.contains("\r\u{1b}[Kerror: gave up after 0.6 s: 1 of 2 not valid: "), "{screen:?}");
    fake.requests();
}

/// Interrupting `tbctl` leaves the pass running: tbctl says so, and the shell sees the signal.
#[test]
fn an_interrupted_refresh_says_that_the_pass_continues() {
    let (asked, was_asked) = std::sync::mpsc::channel();
    let asked = Mutex::new(asked);
    let fake = Fake::start(move |request| match request {
        Request::Refresh(_) => {
            asked.lock().unwrap().send(()).unwrap();
            Reaction::Silence
        }
        other => answer(other),
    });
    let terminal = Terminal::run(&fake, 80, &[], &["refresh"]);
    was_asked.recv_timeout(GIVE_UP).unwrap();
    terminal.master.take_writer().unwrap().write_all(b"\x03").unwrap();
    let (screen, signal, _) = terminal.finish();
    assert!(
        screen.contains("interrupted; the pass continues, tbctl events shows its outcome\n"),
        "{screen:?}"
    );
    assert_eq!(signal.as_deref(), Some("Interrupt"), "{screen:?}");
    fake.requests();
}

/// The line with the seconds is cleared when the pass is over.
#[test]
fn the_line_of_a_pass_is_cleared() {
    let fake = Fake::start(answer);
    let (screen, signal, exit) = Terminal::run(&fake, 80, &[], &["refresh", "--color=never"]).finish();
    assert_eq!((signal, exit), (None, 0), "{screen:?}");
    assert!(screen.starts_with("\r\u{1b}[Krenewed  1B2C9D00  until "), "{screen:?}");
    fake.requests();
    // Without a terminal there is none.
    let fake = Fake::healthy();
    let told = Told::by(tbctl().arg("--socket").arg(fake.socket()).arg("refresh"));
    assert!(!told.stderr.contains('\r'), "{told:?}");
    fake.requests();
}
