//! Everything that can go wrong has its exit code, one error line, its hint, and its JSON.

use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use crate::common::{Fake, GIVE_UP, Reaction, Told, answer, tbctl};
use tbtoken_proto::ErrorCode;

/// `version` prints its own version even if no daemon answers.
const OWN_VERSION: &str = concat!("tbctl     ", env!("CARGO_PKG_VERSION"), "   protocol 1\n");

/// Runs the arguments twice, as text and as JSON, each time against a new daemon of this kind, and compares.
fn fails(
    fake: impl Fn() -> Fake,
    arguments: &[&str],
    (exit, code, error, hint): (i32, &str, &str, Option<&str>),
) {
    let (told, _) = fake().run(arguments);
    check(&told, exit, error, hint);
    let own = if arguments == ["version"] { OWN_VERSION } else { "" };
    assert_eq!(told.stdout, own, "{arguments:?}: an error is no data");
    let (told, _) = fake().run(&[arguments, &["--json"]].concat());
    check(&told, exit, error, hint);
    let json = told.json();
    assert_eq!(json["success"], false, "{json}");
    assert_eq!(json["code"], code, "{json}");
    assert!(json["error"].as_str().unwrap().contains(error), "{json}");
}

fn check(told: &Told, exit: i32, error: &str, hint: Option<&str>) {
    assert_eq!(told.exit, Some(exit), "{told:?}");
    let mut lines = told.stderr.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("error: ") && first.contains(error), "{told:?}");
    match (lines.next(), hint) {
        (None, None) => {}
        (Some(line), Some(hint)) => {
            assert!(line.starts_with("hint: ") && line.contains(hint), "{told:?}");
        }
        _ => panic!("{told:?}"),
    }
    assert_eq!(lines.next(), None, "{told:?}");
}

fn refusing(code: ErrorCode, error: &'static str) -> impl Fn() -> Fake {
    move || Fake::start(move |_| Reaction::Refuse(code, error))
}

#[test]
fn what_the_daemon_refuses() {
    use ErrorCode::{Busy, Internal, ReadOnly, ShuttingDown, StoreUnavailable, UnknownCustomer};
    fails(
        refusing(UnknownCustomer, "there is no customer \"8F1C\""),
        &["status", "8F1C"],
        (
            5,
            "unknown_customer",
            "there is no customer \"8F1C\"",
            Some("list the customers with tbctl status"),
        ),
    );
    fails(
        refusing(UnknownCustomer, "there is no customer \"8F1C\""),
        &["refresh", "8F1C"],
        (5, "unknown_customer", "there is no customer", Some("tbctl status")),
    );
    fails(
        refusing(ReadOnly, "stop is refused here"),
        &["stop"],
        (4, "read_only", "stop is refused here", Some("use the control socket")),
    );
    fails(refusing(Busy, "64 clients"), &[], (1, "busy", "64 clients", Some("try again in a moment")));
    fails(refusing(ShuttingDown, "bye"), &["start"], (1, "shutting_down", "bye", Some("try again")));
    fails(
        refusing(StoreUnavailable, "the disk is full"),
        &["refresh"],
        (1, "store_unavailable", "the disk is full", Some("journalctl -u tbtokend")),
    );
    fails(refusing(Internal, "oh"), &["events"], (1, "internal", "oh", Some("this is a bug")));
    fails(refusing(ErrorCode::BadRequest, "no"), &["version"], (1, "bad_request", "no", None));
    fails(
        refusing(Busy, "not\u{1b}[2J\nnow"),
        &["version"],
        (1, "busy", "not\u{fffd}[2J\u{fffd}now", Some("try again")),
    );
}

#[test]
fn a_daemon_that_does_not_speak_the_protocol() {
    fails(
        || Fake::start(|_| Reaction::Raw("HTTP/1.1 400 Bad Request\r\n\r\n")),
        &["status"],
        (1, "protocol", "does not speak version 1 of the protocol", Some("install the same version")),
    );
}

#[test]
fn a_daemon_that_hangs_up() {
    fails(
        || Fake::start(|_| Reaction::Raw("{\"success\":tr")),
        &["status"],
        (3, "unreachable", "closed the connection before it answered", Some("journalctl -u tbtokend")),
    );
}

#[test]
fn a_daemon_that_says_nothing() {
    let silent = || Fake::start(|_| Reaction::Silence);
    let told = |seconds: &'static str| (7, "timed_out", seconds, Some("wait longer with --timeout"));
    fails(silent, &["--timeout", "50ms"], told("did not answer within 0.05 s"));
    // A daemon that hangs reads its requests later.
    let maybe = (7, "timed_out", "did not answer within 0.1 s; it may still carry out the request");
    for command in ["refresh", "start", "stop"] {
        let told = (maybe.0, maybe.1, maybe.2, Some("tbctl status shows whether it was carried out"));
        fails(silent, &[command, "--timeout", "0.1"], told);
    }
}

#[test]
fn no_daemon_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.sock");
    let stale = folder.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    for (path, error, hint) in [
        (&none, "there is no such socket", "check systemctl status tbtokend"),
        (&stale, "not running", "systemctl status tbtokend ; journalctl -u tbtokend -n 20"),
    ] {
        for command in ["status", "show x", "refresh", "start", "stop", "events", "version", "status -w"] {
            let told = Told::by(tbctl().arg("--socket").arg(path).args(command.split(' ')));
            check(&told, 3, error, Some(hint));
            assert!(
                told.stderr
                    .starts_with(&format!("error: cannot reach tbtokend at {}: {error}\n", path.display()))
            );
            assert_eq!(told.stdout, if command == "version" { OWN_VERSION } else { "" });
        }
        let told = Told::by(tbctl().arg("--json").arg("--socket").arg(path));
        check(&told, 3, error, Some(hint));
        assert_eq!(told.json()["code"], "unreachable");
    }
    let long = "/x".repeat(100);
    for (path, error) in [
        (folder.path().to_str().unwrap(), "this is a folder, not a socket"),
        ("/etc/passwd", "this is a file, not a socket"),
        (&long, "the path of a socket has at most 107 bytes"),
    ] {
        let told = Told::by(tbctl().args(["--socket", path]));
        check(&told, 3, error, Some("name the daemon's socket with --socket PATH or TBTOKEND_SOCKET"));
        let told = Told::by(tbctl().args(["wait", "--socket", path]));
        check(&told, 3, error, Some("name the daemon's socket"));
        let told = Told::by(tbctl().args(["check", "--socket", path]));
        assert_eq!(told.exit, Some(2), "{told:?}");
        assert!(told.stdout.contains(error), "{told:?}");
    }
}

/// Nothing keeps root out of a socket, so where the tests run as root, this is tried as another user.
#[test]
fn no_permission() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shut.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = tbctl();
    command.args(["--json", "--socket"]).arg(&path);
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        command.uid(65_534).gid(65_534);
    } else {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    let told = match command.output() {
        Ok(output) => Told::from(output),
        // The other user may not be allowed to see the program that was built for this one.
        Err(error) => return eprintln!("not tested: {error}"),
    };
    check(&told, 4, "no permission", Some("usermod -aG GROUP USER"));
    assert_eq!(told.json()["code"], "no_permission");
}

#[test]
fn a_command_line_that_is_not_understood() {
    let cases: [(&[&str], &str); 14] = [
        (&["restart"], "unrecognized subcommand 'restart'"),
        (&["statu"], "similar subcommands exist: 'start', 'status'"),
        (&["--sockt", "/x"], "a similar argument exists: '--socket'"),
        (&["show"], "<ID>"),
        (&["status", "--sort", "size"], "possible values: problems, left, customer, status"),
        (&["status", "--status", "parked"], "possible values: expired, missing, expiring-soon, valid"),
        (&["refresh", "--all", "8F1C"], "'--all' cannot be used with '[ID]...'"),
        (&["events", "-n", "1001"], "1001 is not in 0..=1000"),
        (&["wait", "--for", "ever"], "possible values: valid, usable"),
        (&["completions", "csh"], "possible values: bash, zsh, fish"),
        (&["events", "a", "b"], "unexpected argument 'b'"),
        (&["start", "now"], "unexpected argument 'now'"),
        (&["--timeout", "soon"], "a time longer than zero is needed, as 30, 30s, 500ms, 2m, 1h or 1d"),
        (&["--color", "red"], "possible values: auto, always, never"),
    ];
    for (arguments, piece) in cases {
        let told = Told::by(tbctl().args(arguments));
        assert_eq!(told.exit, Some(2), "{told:?}");
        assert!(told.stderr.starts_with("error: ") && told.stderr.contains(piece), "{told:?}");
        assert_eq!(told.stdout, "");
        let told = Told::by(tbctl().arg("--json").args(arguments));
        assert_eq!(told.exit, Some(2));
        let json = told.json();
        assert_eq!((&json["success"], &json["code"]), (&false.into(), &"usage".into()));
        assert!(!json["error"].as_str().unwrap().is_empty());
        assert!(told.stderr.contains(piece), "{told:?}");
    }
    // After `--` it is a name, not a wish for JSON.
    let told = Told::by(tbctl().args(["start", "--", "--json"]));
    assert_eq!((told.exit, told.stdout.as_str()), (Some(2), ""));
}

#[test]
fn help_and_version_need_no_daemon() {
    for arguments in [["--help"].as_slice(), &["-h"], &["help"]] {
        let told = Told::by(tbctl().args(arguments));
        assert_eq!((told.exit, told.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        // The lines are broken to fit, so the words are compared.
        let words = told.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for piece in [
            "status",
            "refresh",
            "start",
            "stop",
            "events",
            "version",
            "--json",
            "--socket <PATH>",
            "-q, --quiet",
            "--timeout <TIME>",
            "--color <WHEN>",
            "NO_COLOR",
            "$TBTOKEND_SOCKET, else /run/tbtokend/control.sock",
            "Exit codes: 0 done 1 the operation failed",
            " 3 the daemon cannot be reached; wait: ",
            " 7 no answer in time; wait: some customers were still missing when the time was over 130 interrupted ",
        ] {
            assert!(words.contains(piece), "{arguments:?}: no {piece:?} in {}", told.stdout);
        }
    }
    for (command, piece) in [
        ("status", "--problems"),
        ("refresh", "--no-wait"),
        ("start", "Start the loop"),
        ("stop", "a running pass finishes"),
        ("events", "[default: 100; with --since: all]"),
        ("version", "of the running daemon"),
    ] {
        let told = Told::by(tbctl().args([command, "--help"]));
        assert_eq!((told.exit, told.stderr.as_str()), (Some(0), ""), "{command}");
        assert!(told.stdout.contains(piece), "{command}: {}", told.stdout);
    }
    let told = Told::by(tbctl().arg("--version"));
    assert_eq!(told.exit, Some(0));
    assert_eq!(told.stdout, format!("tbctl {}\n", env!("CARGO_PKG_VERSION")));
}

/// `tbctl | head -1` must end in peace.
#[test]
fn a_closed_pipe_is_no_error() {
    for arguments in [["status"].as_slice(), &["status", "--json"], &["events"], &["--help"]] {
        let fake = Fake::healthy();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let told = Told::by(tbctl().arg("--socket").arg(fake.socket()).args(arguments).stdout(writer));
        assert_eq!((told.exit, told.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        if arguments != ["--help"] {
            fake.requests();
        }
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let fake = Fake::healthy();
    let full = std::fs::File::create("/dev/full").unwrap();
    let told = Told::by(tbctl().arg("--socket").arg(fake.socket()).stdout(full));
    assert_eq!(told.exit, Some(1));
    assert!(told.stderr.starts_with("error: cannot write to standard output: No space left"), "{told:?}");
    fake.requests();
}

/// Without a terminal nothing is caught: the process ends by the signal, of which a shell makes 130.
#[test]
fn an_interrupt_ends_it_by_the_signal() {
    let (asked, was_asked) = std::sync::mpsc::channel();
    let asked = std::sync::Mutex::new(asked);
    let fake = Fake::start(move |request| {
        asked.lock().unwrap().send(()).unwrap();
        match request {
            tbtoken_proto::Request::Refresh(_) => Reaction::Silence,
            other => answer(other),
        }
    });
    // The parent of the tests may ignore the signal (`nohup`, some CI), which a child inherits.
    let mut command = std::process::Command::new("env");
    command.arg("--default-signal=INT").arg(env!("CARGO_BIN_EXE_tbctl")).arg("--socket").arg(fake.socket());
    let child = command.arg("refresh").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    was_asked.recv_timeout(GIVE_UP).unwrap();
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(2), "{output:?}");
    assert_eq!(output.stdout, b"");
    fake.requests();
}
