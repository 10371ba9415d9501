//! The real program in a pseudo-terminal, with a terminal emulator that reads its screen.
//!
//! No test sleeps: it reads until the screen shows the expected text, or fails after a time-out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use nix::sys::signal::Signal;
use portable_pty::CommandBuilder;
use support::fake_daemon::FakeDaemon;
use support::pty::{DEADLINE, Run, size};
use support::{busy, busy_events, crowd, noon, status};
use tbtoken_proto::Request;

fn command(socket: &Path, args: &[&str], env: &[(&str, &str)]) -> CommandBuilder {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tbtui"));
    command.env_remove("NO_COLOR");
    command.env("TERM", "xterm-256color");
    command.env("LC_ALL", "C.UTF-8");
    command.env("TZ", "UTC");
    for (name, value) in env {
        command.env(name, value);
    }
    command.arg("--socket");
    command.arg(socket);
    command.args(args);
    command
}

fn start(socket: &Path) -> Run {
    Run::start(command(socket, &[], &[]))
}

struct World {
    folder: tempfile::TempDir,
    daemon: FakeDaemon,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let customers = busy(noon());
        let events = busy_events(&customers, noon());
        let daemon =
            FakeDaemon::start(&folder.path().join("control.sock"), status(customers, noon()), events);
        Self { folder, daemon }
    }

    fn run(&self) -> Run {
        let mut run = start(&self.folder.path().join("control.sock"));
        run.until_shows("398E8BF9");
        run
    }
}

#[test]
fn shows_rows_and_q_restores_the_terminal() {
    let world = World::new();
    let mut run = world.run();
    for text in ["128 total", "wrong password", "PARKED since"] {
        run.until_shows(text);
    }
    assert!(run.screen.screen().alternate_screen());
    run.press("q");
    run.ends_cleanly();
    for mouse in ["\x1b[?1000h", "\x1b[?1002h", "\x1b[?1003h", "\x1b[?1006h"] {
        assert!(!run.wrote(mouse), "the terminal keeps the mouse");
    }
}

/// Five and a half hours ahead of UTC, which no machine here is by itself.
#[test]
fn times_are_those_of_the_readers_zone_unless_utc_is_asked_for() {
    let world = World::new();
    let socket = world.folder.path().join("control.sock");
    for (arguments, time, other) in
        [(&[][..], "19:33:01+05:30", "14:03:01"), (&["--utc"][..], "14:03:01Z", "+05:30")]
    {
        let mut run = Run::start(command(&socket, arguments, &[("TZ", "XYZ-5:30")]));
        run.until_shows("398E8BF9");
        run.press("e");
        run.until_shows(time);
        assert!(!run.contents().contains(other), "{}", run.contents());
        run.press("q");
        run.press("q");
        run.ends_cleanly();
    }
}

#[test]
fn a_suspended_dashboard_draws_itself_again() {
    let world = World::new();
    let mut run = world.run();
    run.signal(Signal::SIGSTOP);
    // The shell would change the terminal like this meanwhile.
    run.screen.process(b"\x1b[?1049l\x1b[2Jfg\r\n");
    run.raw.clear();
    run.signal(Signal::SIGCONT);
    run.until_wrote("\x1b[?1049h");
    run.until_shows("398E8BF9");
    run.press("q");
    run.ends_cleanly();
}

/// The dashboard as a job of a shell, as an operator has it.
#[test]
fn ctrl_z_gives_the_shell_its_terminal_and_fg_brings_the_dashboard_back() {
    let world = World::new();
    let mut shell = CommandBuilder::new("bash");
    shell.args(["--norc", "--noprofile", "-i"]);
    shell.env("PS1", "ready> ");
    shell.env("TERM", "xterm-256color");
    shell.env("LC_ALL", "C.UTF-8");
    shell.env("TBTOKEND_SOCKET", world.folder.path().join("control.sock"));
    let mut run = Run::start(shell);
    run.until_shows("ready>");
    let settings = run.settings();
    run.press(&format!("{}\r", env!("CARGO_BIN_EXE_tbtui")));
    run.until_shows("398E8BF9");
    // In the table, in a text, and while a filter is typed.
    for keys in ["", "?", "q/isar"] {
        run.press(keys);
        run.press("\x1a");
        let contents =
            run.until(|contents| contents.contains("Stopped") && contents.trim_end().ends_with("ready>"));
        assert!(!contents.contains("398E8BF9"), "the shell has its own screen:\n{contents}");
        let screen = run.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor());
        run.until_settings(&settings);
        // The terminal becomes smaller meanwhile, and only the shell gets the signal.
        run.master.as_ref().unwrap().resize(size(24, 80)).unwrap();
        run.screen.screen_mut().set_size(24, 80);
        run.press("clear; fg\r");
        run.until_shows(if keys == "?" { "one up or down" } else { "128 total" });
        assert!(run.screen.screen().alternate_screen() && run.screen.screen().hide_cursor());
        if keys.is_empty() {
            // The last line is visible only if the dashboard knows the new height.
            run.press("G");
            run.until(|contents| contents.contains("128/128") && contents.contains('▶'));
        }
        run.master.as_ref().unwrap().resize(size(30, 100)).unwrap();
        run.screen.screen_mut().set_size(30, 100);
    }
    run.until_shows("6 of 128");
    run.press("\x03");
    run.until(|contents| contents.trim_end().ends_with("ready>"));
    run.press("exit\r");
    run.ends_cleanly();
}

/// With `ssh -t HOST tbtui` there is no shell in which to type `fg`.
#[test]
fn without_a_shell_ctrl_z_changes_nothing() {
    let world = World::new();
    let mut run = world.run();
    run.raw.clear();
    run.press("\x1a");
    run.until_wrote("\x1b[?1049l");
    run.until_wrote("\x1b[?1049h");
    run.until_shows("398E8BF9");
    run.press("?");
    run.until_shows("What the words mean");
    run.press("\x03");
    run.ends_cleanly();
}

/// A shell leaves the terminal in its own mode.
#[test]
fn after_a_stop_from_outside_the_terminal_is_raw_again() {
    let world = World::new();
    let mut run = world.run();
    run.signal(Signal::SIGSTOP);
    let tty = run.master.as_ref().unwrap().tty_name().unwrap();
    let cooked = Command::new("stty").arg("-F").arg(tty).arg("sane").status().unwrap();
    assert!(cooked.success());
    run.raw.clear();
    run.signal(Signal::SIGCONT);
    run.until_wrote("\x1b[?1049h");
    // Without Enter, which a line discipline would wait for.
    run.press("?");
    run.until_shows("What the words mean");
    run.press("q\x03");
    run.ends_cleanly();
}

#[test]
fn freeze_keeps_the_screen_while_the_daemon_runs() {
    let world = World::new();
    let mut run = world.run();
    run.press("f");
    run.until_shows("FROZEN");
    world.daemon.change(|world| world.status.tokens.summary.total = 4711);
    // Later frames do not show the change.
    run.press("p");
    let contents = run.until_shows("problems only");
    assert!(contents.contains("128 total"), "{contents}");
    run.press("f");
    run.until_shows("4711 total");
    run.press("q");
    run.ends_cleanly();
}

#[test]
fn the_database_may_go_and_come_back() {
    let world = World::new();
    let mut run = world.run();
    world.daemon.change(|world| {
        world.status.tokens.success = false;
        world.status.tokens.error = Some("the database does not answer. Check that sql01 runs".to_owned());
    });
    let contents = run.until_shows("DATABASE UNREACHABLE");
    assert!(contents.contains("Check that sql01 runs") && contents.contains("398E8BF9"), "{contents}");
    run.press("R");
    run.until_shows("Not now: the daemon cannot reach its database.");
    world.daemon.change(|world| world.status.tokens.success = true);
    run.until_shows("loop RUNNING");
    run.press("q");
    run.ends_cleanly();
}

#[test]
fn ten_thousand_customers_are_scrolled_through() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let customers = crowd(busy(noon()), 10_000, noon());
    let _daemon = FakeDaemon::start(&socket, status(customers, noon()), vec![]);
    let mut run = start(&socket);
    run.until_shows("1/10000");
    run.press("G");
    run.until_shows("10000/10000");
    run.press("g\x04\x04\x04");
    run.until_shows("28/10000");
    run.press("/meter4711@");
    run.until_shows("1 of 10000");
    run.press("q\x03");
    run.ends_cleanly();
}

#[test]
fn ascii_is_asked_for_or_chosen_by_itself() {
    let world = World::new();
    let socket = world.folder.path().join("control.sock");
    let ascii = |args: &[&str], env: &[(&str, &str)]| {
        let mut run = Run::start(command(&socket, args, env));
        run.until_shows("398E8BF9");
        run.press("?");
        run.until_shows("Help");
        run.press("qq");
        run.ends_cleanly();
        run.raw.is_ascii()
    };
    assert!(!ascii(&[], &[]));
    assert!(ascii(&["--ascii"], &[]));
    assert!(ascii(&[], &[("TERM", "linux")]));
    assert!(ascii(&[], &[("LC_ALL", "C")]));
}

#[test]
fn a_dumb_terminal_is_refused_with_what_to_use_instead() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::start(command(&folder.path().join("none.sock"), &[], &[("TERM", "dumb")]));
    assert_eq!(run.end().exit_code(), 2);
    let told = String::from_utf8(run.raw.clone()).unwrap();
    assert!(told.starts_with("error: ") && told.contains("hint: use tbctl status"), "{told}");
    assert!(!told.contains('\x1b'), "{told:?}");
}

#[test]
fn ctrl_c_and_signals_restore_the_terminal() {
    let world = World::new();
    let mut run = world.run();
    run.press("\x03");
    run.ends_cleanly();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // In the table, in a text, and in a dialog.
        for keys in ["", "?", "r"] {
            let mut run = world.run();
            run.press(keys);
            run.signal(signal);
            run.ends_cleanly();
        }
    }
}

#[test]
fn a_closed_terminal_ends_the_process() {
    let world = World::new();
    let mut run = world.run();
    // The keyboard and the thread that reads the output also hold the terminal open. The thread closes it when it cannot
    // deliver the next piece, so there must be a next piece.
    run.output = channel().1;
    run.press("?");
    let Run { master, keyboard, child, .. } = &mut run;
    (*master, *keyboard) = (None, None);
    let mut killer = child.clone_killer();
    let (sender, ended) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(child.wait()));
        let ended = ended.recv_timeout(DEADLINE);
        let _ = killer.kill();
        ended.expect("it should end, not spin").unwrap();
    });
}

#[test]
fn keys_and_sizes() {
    let world = World::new();
    let mut run = world.run();
    run.press("/isar");
    run.until_shows("6 of 128");
    run.press("\x1b");
    // The selection is still on the first hit.
    run.until_shows("2/128");
    // Arrows come as several bytes.
    run.press("\x1b[B\x1b[B");
    run.until_shows("4/128");
    run.press("?");
    run.until_shows("What the words mean");
    run.press("q");
    run.until(|contents| !contents.contains("What the words mean"));
    // The letters of a paste must not act as keys.
    run.press("\x1b[200~qRS\x1b[201~");
    run.press("e");
    run.until_shows("newest first");
    run.press("\r");
    run.until_shows("sort: problems first");

    for (rows, cols, shows, not) in [
        (16, 60, "LAST ERROR", "THINGSBOARD"),
        (9, 39, "3 expired", "STATUS"),
        (24, 80, "THINGSBOARD", "s sort"),
        (50, 200, "y copy id", "DAEMON"),
    ] {
        run.master.as_ref().unwrap().resize(size(rows, cols)).unwrap();
        run.screen.screen_mut().set_size(rows, cols);
        run.until(|contents| contents.contains(shows) && !contents.contains(not));
    }
    run.press("q");
    run.ends_cleanly();
}

#[test]
fn actions_reach_the_daemon() {
    let world = World::new();
    let mut run = world.run();
    let asked = || world.daemon.asked.recv_timeout(DEADLINE).unwrap();
    // The first one is parked: it asks, and Enter alone is Cancel.
    run.press("r");
    run.until_shows(">Cancel<");
    run.press("\r");
    run.until(|contents| !contents.contains("Cancel"));
    run.press("r");
    run.until_shows(">Cancel<");
    run.press("\t");
    run.until_shows(">Refresh<");
    run.press("\r");
    run.until_shows("398E8BF9… renewed");
    let Request::Refresh(refresh) = asked() else { panic!("no refresh was asked for") };
    assert!(refresh.customers.unwrap()[0].starts_with("398E8BF9-"));

    run.press("S");
    run.until_shows("Stop the loop?");
    run.press("\t\r");
    run.until_shows("loop STOPPED");
    assert_eq!(asked(), Request::Stop {});
    run.press("y");
    run.until_shows("Copied 398E8BF9-");
    // The id in base64: 398E8BF9-…
    assert!(run.wrote("\x1b]52;c;Mzk4RThCRjkt"));
    run.press("q");
    run.ends_cleanly();
}

#[test]
fn the_daemon_may_go_and_come_back() {
    let World { folder, daemon } = World::new();
    let socket = folder.path().join("control.sock");
    let mut run = start(&socket);
    run.until_shows("398E8BF9");
    let reply = daemon.kill();
    let contents = run.until_shows("DAEMON UNREACHABLE for");
    assert!(contents.contains("398E8BF9"), "rows stay:\n{contents}");
    run.until_shows("not running");
    std::fs::remove_file(&socket).unwrap();
    let _daemon = FakeDaemon::start(&socket, reply, vec![]);
    run.until(|contents| contents.contains("loop RUNNING") && !contents.contains("UNREACHABLE"));
    run.press("q");
    run.ends_cleanly();
}

#[test]
fn starts_without_a_daemon_and_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let mut run = start(&socket);
    let contents = run.until_shows("no such socket");
    assert!(contents.contains("systemctl status tbtokend"), "{contents}");
    let _daemon = FakeDaemon::start(&socket, status(busy(noon()), noon()), vec![]);
    run.until_shows("398E8BF9");
    run.press("q");
    run.ends_cleanly();
}

#[test]
fn colours_can_be_left_out() {
    let world = World::new();
    let socket = world.folder.path().join("control.sock");
    let coloured = |args: &[&str], env: &[(&str, &str)]| {
        let mut run = Run::start(command(&socket, args, env));
        run.until_shows("398E8BF9");
        run.press("q");
        run.ends_cleanly();
        run.wrote("\x1b[38;5;1")
    };
    assert!(coloured(&[], &[]));
    assert!(!coloured(&[], &[("NO_COLOR", "1")]));
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[]));
}

#[test]
fn the_man_page_and_the_help_need_no_terminal() {
    for (argument, word) in [("man", ".TH TBTUI 1"), ("--help", "Keys:"), ("--version", "tbtui ")] {
        let output = Command::new(env!("CARGO_BIN_EXE_tbtui")).arg(argument).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(word), "{argument}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_tbtui")).arg("--frobnicate").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let output = Command::new(env!("CARGO_BIN_EXE_tbtui")).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: ") && error.contains("terminal"), "{error}");
    assert!(error.contains("hint: ") && error.contains("tbctl status"), "{error}");
    assert!(output.stdout.is_empty());
}
