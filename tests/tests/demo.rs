//! Tests of the demo: with and without a terminal, and through every way to end it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test must end it, loudly"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tbtoken_proto::client::Client;
use tbtoken_proto::{Phase, Reply, Request, StatusQuery, StatusReply};
use tbtoken_tests::canary;
use tbtoken_tests::harness::http::ask;
use tbtoken_tests::harness::process::Process;
use tbtoken_tests::harness::{Signal, binaries, wait};
use tempfile::TempDir;

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

/// Makes a folder for the demo's temporary files, to see what it makes and leaves behind.
fn playground() -> TempDir {
    tempfile::Builder::new().prefix("tbt-").tempdir().unwrap()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Waits until the daemon of the demo in this playground answers, and returns the status.
fn status_in(playground: &Path) -> StatusReply {
    let ask = || {
        let socket = entries(playground).first()?.join("control.sock");
        let mut client = Client::connect(&socket, wait::TIMEOUT).ok()?;
        match client.send(&Request::Status(StatusQuery::default())).ok()? {
            Reply::Status(status) => Some(status),
            other => panic!("no status but {other:?}"),
        }
    };
    wait::poll(wait::TIMEOUT, ask).expect("a daemon that answers")
}

fn assert_ends(pid: u32) {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    assert!(wait::poll(wait::TIMEOUT, || (!proc.exists()).then_some(())).is_some(), "{pid} goes on");
}

/// The demo without a terminal, its output in files.
struct Headless {
    process: Process,
    playground: TempDir,
    stdout: PathBuf,
    stderr: PathBuf,
    _outputs: TempDir,
}

impl Headless {
    fn start(arguments: &[&str]) -> Self {
        let (playground, outputs) = (playground(), playground());
        let (stdout, stderr) = (outputs.path().join("stdout"), outputs.path().join("stderr"));
        let process = Process::spawn(
            Command::new(DEMO)
                .args(arguments)
                .env("TMPDIR", playground.path())
                .env(binaries::VARIABLE, binaries::prepare(binaries::Progress::Hidden))
                .stdin(Stdio::null())
                .stdout(File::create(&stdout).unwrap())
                .stderr(File::create(&stderr).unwrap()),
        )
        .unwrap();
        Self { process, playground, stdout, stderr, _outputs: outputs }
    }

    /// Requests the status at the socket that the demo names in its first line.
    fn status(&self) -> StatusReply {
        let socket = wait::poll(wait::TIMEOUT, || {
            let stdout = std::fs::read_to_string(&self.stdout).unwrap();
            let (first, _) = stdout.split_once('\n')?;
            Some(PathBuf::from(first.strip_prefix("socket: ").expect("the socket comes first")))
        });
        let socket = socket.expect("a first line");
        let mut client = Client::connect(&socket, wait::TIMEOUT).expect("the socket answers at once");
        match client.send(&Request::Status(StatusQuery::default())).unwrap() {
            Reply::Status(status) => status,
            other => panic!("no status but {other:?}"),
        }
    }

    fn end(&mut self, signal: Signal) {
        let pid = self.status().daemon.pid;
        self.process.signal(signal);
        let ended = self.process.wait(wait::TIMEOUT).expect("the demo ends");
        let stderr = std::fs::read_to_string(&self.stderr).unwrap();
        assert!(ended.success(), "{ended}: {stderr}");
        assert!(stderr.contains("goodbye"), "{stderr}");
        assert_ends(pid);
        for file in [&self.stdout, &self.stderr] {
            canary::assert_clean("the output of the demo", &std::fs::read(file).unwrap());
        }
    }
}

#[test]
fn headless_it_names_its_socket_and_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut demo = Headless::start(&["--headless"]);
        demo.end(signal);
        assert_eq!(entries(demo.playground.path()), [] as [PathBuf; 0], "{signal}");
    }
}

#[test]
fn it_shows_renewals_and_a_parked_customer_with_its_reason() {
    let mut demo = Headless::start(&["--headless"]);
    let shown = wait::poll(wait::TIMEOUT, || {
        let customers = demo.status().tokens.customers.unwrap();
        let parked = customers.iter().find(|customer| customer.state == Phase::Parked);
        let renewed_again = customers.iter().any(|customer| customer.renewals >= 2);
        (customers.len() >= 12 && renewed_again).then(|| parked?.failure.clone()).flatten()
    });
    let failure = shown.expect("a second renewal and a parked customer");
    assert!(failure.permanent && !failure.remedy.is_empty(), "{failure:?}");

    // The admin page is at the address that it prints, with the token in the file that it names.
    let said = std::fs::read_to_string(&demo.stdout).unwrap();
    let page = said.lines().find_map(|line| line.strip_prefix("page: http://127.0.0.1:")).expect("a page");
    let (port, file) = page.split_once("/admin/token-refresh, with the token in ").unwrap();
    let authorization = format!("Bearer {}", std::fs::read_to_string(file).unwrap());
    let headers = [("Authorization", authorization.as_str())];
    let answer = ask(port.parse().unwrap(), "GET", "/api/cron/refresh-tokens", &headers, "");
    assert_eq!(answer.status, 200, "{answer:?}");
    demo.end(Signal::SIGTERM);
}

#[test]
fn without_a_terminal_it_is_headless_and_says_so() {
    let mut demo = Headless::start(&[]);
    demo.end(Signal::SIGTERM);
    assert!(std::fs::read_to_string(&demo.stderr).unwrap().contains("no terminal"));
}

#[test]
fn what_is_kept_is_kept_and_clean() {
    let mut demo = Headless::start(&["--headless", "--keep"]);
    demo.end(Signal::SIGTERM);
    let kept = entries(demo.playground.path());
    let log = std::fs::read(kept[0].join("tbtokend.log")).unwrap();
    assert!(!log.is_empty());
    canary::assert_clean("the log of the demo", &log);
}

/// Without cargo, or with a folder without the programs, the demo prints a sentence and no backtrace.
#[test]
fn without_the_programs_it_says_what_to_do() {
    let empty = playground();
    for (variable, value, words) in [
        ("CARGO", empty.path().join("cargo"), ["failed to run cargo", "install Rust", binaries::VARIABLE]),
        ("CARGO", "/bin/false".into(), ["failed to build tbtokend, tbctl, tbtui", "cargo ended with", ""]),
        (binaries::VARIABLE, empty.path().into(), ["there is no tbtokend in", "unset", binaries::VARIABLE]),
    ] {
        let mut command = Command::new(DEMO);
        command.arg("--headless").env_remove(binaries::VARIABLE).env(variable, &value);
        let output = command.env("TMPDIR", empty.path()).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)) && said.contains("demo: error: "), "{said}");
        assert!(!said.contains("panicked") && entries(empty.path()).is_empty(), "{said}");
    }
}

#[test]
fn the_help_lists_everything() {
    let output = Command::new(DEMO).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in ["--headless", "--keep", "--version", "q Ctrl-C", binaries::VARIABLE, "TMPDIR", "Exit codes"]
    {
        assert!(help.contains(word), "{word} in\n{help}");
    }
}

#[test]
fn killed_hard_it_takes_its_daemon_along() {
    if !Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no setpriv here, which makes the kernel end the daemon");
        return;
    }
    let mut demo = Headless::start(&["--headless"]);
    let pid = demo.status().daemon.pid;
    demo.process.signal(Signal::SIGKILL);
    assert_ends(pid);
}

/// The demo on a terminal.
struct OnTerminal {
    playground: TempDir,
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    master: Option<Box<dyn MasterPty + Send>>,
    screen: Arc<Mutex<vt100::Parser>>,
    closing: Arc<AtomicBool>,
}

impl OnTerminal {
    fn start() -> Self {
        let playground = playground();
        let size = PtySize { rows: 30, cols: 120, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(DEMO);
        command.env("TERM", "xterm-256color");
        command.env("TMPDIR", playground.path());
        command.env(binaries::VARIABLE, binaries::prepare(binaries::Progress::Hidden));
        let child = pair.slave.spawn_command(command).unwrap();
        let (keyboard, mut output) =
            (pair.master.take_writer().unwrap(), pair.master.try_clone_reader().unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(30, 120, 0)));
        let closing = Arc::new(AtomicBool::new(false));
        let (drawn, ends) = (Arc::clone(&screen), Arc::clone(&closing));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                drawn.lock().unwrap().process(&bytes[..read]);
                if ends.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        Self { playground, child, keyboard, master: Some(pair.master), screen, closing }
    }

    fn contents(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits for the dashboard, and returns the process id of its daemon.
    fn watch(&self) -> u32 {
        wait::poll(wait::TIMEOUT, || self.contents().contains("acme").then_some(()))
            .unwrap_or_else(|| panic!("no dashboard, but this:\n{}", self.contents()));
        status_in(self.playground.path()).daemon.pid
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    fn assert_ends(&mut self, daemon: u32, cleanly: bool) {
        let ended = wait::poll(wait::TIMEOUT, || self.child.try_wait().unwrap());
        let ended = ended.unwrap_or_else(|| panic!("the demo goes on:\n{}", self.contents()));
        assert!(ended.success() || !cleanly, "{ended:?}:\n{}", self.contents());
        assert_ends(daemon);
        assert_eq!(entries(self.playground.path()), [] as [PathBuf; 0]);
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn q_and_ctrl_c_end_it_and_give_the_terminal_back() {
    for keys in ["q", "\u{3}"] {
        let mut demo = OnTerminal::start();
        let daemon = demo.watch();
        demo.press(keys);
        demo.assert_ends(daemon, true);
        wait::poll(wait::TIMEOUT, || demo.contents().contains("goodbye").then_some(()))
            .unwrap_or_else(|| panic!("no goodbye, but this:\n{}", demo.contents()));
        let screen = demo.screen.lock().unwrap();
        assert!(!screen.screen().alternate_screen() && !screen.screen().hide_cursor());
    }
}

#[test]
fn a_closed_terminal_ends_it() {
    let mut demo = OnTerminal::start();
    let daemon = demo.watch();
    // The terminal closes when the test and the thread that reads the screen no longer hold it.
    demo.closing.store(true, Ordering::Relaxed);
    demo.keyboard = Box::new(std::io::sink());
    demo.master = None;
    demo.assert_ends(daemon, false);
}
