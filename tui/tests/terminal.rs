//! The real program in a pseudo-terminal, with a terminal emulator that reads its screen.
//!
//! Nothing here sleeps: a test reads until the screen shows what it should, or fails when that takes too long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use support::fake_daemon::FakeDaemon;
use support::{busy, busy_events, noon, status};
use tbtoken_proto::Request;

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(40);

const ENTER_ALTERNATE: &[u8] = b"\x1b[?1049h";
const LEAVE_ALTERNATE: &[u8] = b"\x1b[?1049l";
const SHOW_CURSOR: &[u8] = b"\x1b[?25h";

/// A dashboard in a terminal.
struct Run {
    master: Option<Box<dyn MasterPty + Send>>,
    child: Box<dyn Child + Send + Sync>,
    keyboard: Option<Box<dyn Write + Send>>,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    raw: Vec<u8>,
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

impl Run {
    fn start(socket: &Path) -> Self {
        Self::start_with(socket, &[], &[])
    }

    fn start_with(socket: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let pair = native_pty_system().openpty(size(30, 100)).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tbtui"));
        command.env_remove("NO_COLOR");
        command.env("TERM", "xterm-256color");
        for (name, value) in env {
            command.env(name, value);
        }
        command.arg("--socket");
        command.arg(socket);
        command.args(args);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let keyboard = pair.master.take_writer().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            master: Some(pair.master),
            child,
            keyboard: Some(keyboard),
            output,
            screen: vt100::Parser::new(30, 100, 0),
            raw: vec![],
        }
    }

    fn contents(&self) -> String {
        self.screen.screen().contents()
    }

    /// Reads until the screen is as wanted.
    fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let contents = self.contents();
            if wanted(&contents) {
                return contents;
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.raw.extend(bytes);
                }
                Err(error) => panic!("{error}; the screen shows\n{contents}"),
            }
        }
    }

    fn until_shows(&mut self, text: &str) -> String {
        self.until(|contents| contents.contains(text))
    }

    fn press(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.process_id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for the process to end, and reads the rest of what it wrote.
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.raw.extend(bytes);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it goes on; the screen shows\n{}", self.contents()),
            }
        }
        self.child.wait().unwrap()
    }

    /// Ends, and leaves the terminal as it was.
    fn ends_cleanly(&mut self) {
        let status = self.end();
        assert_eq!(status.exit_code(), 0, "{status:?}");
        let last = |needle: &[u8]| self.raw.windows(needle.len()).rposition(|window| window == needle);
        let entered = last(ENTER_ALTERNATE).expect("it used the alternate screen");
        assert!(last(LEAVE_ALTERNATE).expect("it left the alternate screen") > entered);
        assert!(last(SHOW_CURSOR).is_some_and(|shown| shown > entered), "the cursor is back");
        assert!(!self.screen.screen().alternate_screen() && !self.screen.screen().hide_cursor());
        assert!(!self.screen.screen().bracketed_paste());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
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
        let mut run = Run::start(&self.folder.path().join("control.sock"));
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
}

#[test]
fn ctrl_c_and_signals_restore_the_terminal() {
    let world = World::new();
    let mut run = world.run();
    run.press("\x03");
    run.ends_cleanly();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut run = world.run();
        run.signal(signal);
        run.ends_cleanly();
    }
}

#[test]
fn a_closed_terminal_ends_the_process() {
    let world = World::new();
    let mut run = world.run();
    // The keyboard and the thread that reads the output hold the terminal open as well. The thread lets go of it when
    // nobody wants the next piece, so there must be a next piece.
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
    // A paste full of keys presses none of them.
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
    run.until_shows("398E8BF9 renewed");
    let Request::Refresh(refresh) = asked() else { panic!("no refresh was asked for") };
    assert!(refresh.customers.unwrap()[0].starts_with("398E8BF9-"));

    run.press("S");
    run.until_shows("Stop the loop?");
    run.press("\t\r");
    run.until_shows("loop STOPPED");
    assert_eq!(asked(), Request::Stop {});
    run.press("y");
    run.until_shows("Copied 398E8BF9-");
    let osc52 = b"\x1b]52;c;";
    assert!(run.raw.windows(osc52.len()).any(|window| window == osc52));
    run.press("q");
    run.ends_cleanly();
}

#[test]
fn the_daemon_may_go_and_come_back() {
    let World { folder, daemon } = World::new();
    let socket = folder.path().join("control.sock");
    let mut run = Run::start(&socket);
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
    let mut run = Run::start(&socket);
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
        let mut run = Run::start_with(&socket, args, env);
        run.until_shows("398E8BF9");
        run.press("q");
        run.ends_cleanly();
        run.raw.windows(5).any(|window| window == b"\x1b[31m")
    };
    assert!(coloured(&[], &[]));
    assert!(!coloured(&[], &[("NO_COLOR", "1")]));
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[]));
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
