//! Completions, evaluated by the shells themselves.

use std::process::Command;
use std::time::{Duration, Instant};

use tbtoken_proto::{Customer, ErrorCode, Request, Rows, StatusQuery};

use crate::common::{Fake, Reaction, Told, answer, customers, status, tbctl};
use crate::shell::Shell;

/// A daemon with a customer whose id would be a command if a shell heeded it.
fn fake() -> Fake {
    Fake::start(|request| match request {
        Request::Status(StatusQuery { customers: Rows::Only(_), .. }) => {
            Reaction::Refuse(ErrorCode::UnknownCustomer, "no such customer")
        }
        Request::Status(_) => {
            let evil = Customer { customer_id: "evil $(touch /nowhere)".to_owned(), ..customers().remove(1) };
            let guid = "8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11".to_owned();
            let guid = Customer { customer_id: guid, tb_username: String::new(), ..customers().remove(0) };
            Reaction::Answer(status([customers(), vec![evil, guid]].concat()))
        }
        other => answer(other),
    })
}

/// In bash and zsh alike: keys, and what the line becomes.
fn try_out(shell: &mut Shell, evil: &str) {
    for (keys, line) in [
        ("tbctl compl\t", "tbctl completions"),
        ("tbctl status --prob\t", "--problems"),
        ("tbctl status --sort cust\t", "--sort customer"),
        ("tbctl show 1B2\t", "show 1B2C9D00"),
        ("tbctl show ops@acme-h\t", "show ops@acme-hq.example"),
        ("tbctl show \"C0\t", "show \"C0FFEE12\""),
        ("tbctl show 'ops@acme-h\t", "show 'ops@acme-hq.example'"),
        // The letters of a GUID count the same in either case; the shell rewrites what differs.
        ("tbctl show 8f1c\t", "02AA-33D1-4E02-9C77-0E5A3F6B2D11"),
        ("tbctl refresh --all\u{15}tbctl refresh C0\t", "refresh C0FFEE12"),
        ("tbctl --json events -f 1B\t", "-f 1B2C9D00"),
        ("tbctl wait --for us\t", "--for usable"),
        ("tbctl show ev\t", evil),
    ] {
        shell.press(keys);
        shell.expect(line);
        // The line is thrown away.
        shell.press("\u{15}");
    }
}

#[test]
fn bash_completes() {
    let fake = fake();
    let Some(mut shell) = Shell::start("bash", &["--norc", "--noprofile", "-i"], &fake.socket()) else {
        return;
    };
    shell.run("source <(tbctl completions bash)");
    try_out(&mut shell, "evil\\ \\$\\(touch\\ /nowhere\\)");
    // In the middle of a line, what stands behind the cursor is none of its business.
    shell.press("tbctl show 1B2 --json");
    shell.press(&"\u{2}".repeat(" --json".len()));
    shell.press("\t");
    shell.expect("C9D00");
    shell.press("\u{5}\u{15}");
    // A path is the shell's own business, after a space and after a =.
    let folder = fake.socket().parent().unwrap().display().to_string();
    for option in ["--socket ", "--socket="] {
        shell.press(&format!("tbctl {option}{folder}/contr\t"));
        shell.expect("ol.sock");
        shell.press("\u{15}");
    }
    fake.requests();
}

#[test]
fn zsh_completes() {
    let fake = fake();
    let Some(mut shell) = Shell::start("zsh", &["-f", "-i"], &fake.socket()) else { return };
    shell.run("autoload -Uz compinit; compinit -u -D; source <(tbctl completions zsh)");
    try_out(&mut shell, "evil\\ \\$\\(touch\\ /nowhere\\)");
    let folder = fake.socket().parent().unwrap().display().to_string();
    shell.press(&format!("tbctl --socket={folder}/contr\t"));
    shell.expect("ol.sock");
    shell.press("\u{15}");
    // What is typed in the shell's own spelling is asked for without it.
    shell.press("tbctl show evil\\ \\$\\(to\t");
    shell.expect("uch\\ /nowhere\\)");
    shell.press("\u{15}");
    // The menu says what each word means.
    shell.press("tbctl status --sort \t");
    shell.expect("-- By customer id");
    shell.press("\u{15}");
    // The words before count as well, unquoted: here is the only socket that answers.
    shell.run("unset TBTOKEND_SOCKET");
    shell.press(&format!("tbctl --socket \"{folder}/control.sock\" show 1B2\t"));
    shell.expect("show 1B2C9D00");
    fake.requests();
}

/// As a package installs it: zsh reads the file when it is needed first. The tbctl that is asked is the one that is typed.
#[test]
fn zsh_completes_from_its_own_folder_and_a_tbctl_that_is_not_in_the_path() {
    let fake = fake();
    let Some(mut shell) = Shell::start("zsh", &["-f", "-i"], &fake.socket()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Told::by(tbctl().args(["completions", "zsh"])).stdout;
    std::fs::write(folder.path().join("_tbctl"), script).unwrap();
    // Home is / here.
    let program = env!("CARGO_BIN_EXE_tbctl");
    shell.run(&format!(
        "fpath=({} $fpath); autoload -Uz compinit; compinit -u -D; path=(/usr/bin /bin)",
        folder.path().display()
    ));
    for typed in [format!("~{program}"), program.to_owned()] {
        shell.press(&format!("{typed} show 1B2\t"));
        shell.expect("show 1B2C9D00");
        shell.press("\u{15}");
    }
    fake.requests();
}

/// fish tells what it would offer.
#[test]
fn fish_completes() {
    let fake = fake();
    let offered = |line: &str| {
        let program = env!("CARGO_BIN_EXE_tbctl");
        let folder = std::path::Path::new(program).parent().unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let script = format!("tbctl completions fish | source; complete --do-complete '{line}'");
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", &script]).env("PATH", path).env("HOME", "/tmp");
        fish.env("TBTOKEND_SOCKET", fake.socket());
        match fish.output() {
            Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
            Err(error) => {
                eprintln!("not tested: fish: {error}");
                None
            }
        }
    };
    for (line, offer) in [
        ("tbctl compl", "completions\tPrint a script that teaches a shell"),
        ("tbctl status --prob", "--problems\tOnly customers"),
        ("tbctl status --sort cust", "customer\tBy customer id"),
        ("tbctl show 1B2", "1B2C9D00\tops@acme-hq.example, valid"),
        ("tbctl show ops@acme-h", "ops@acme-hq.example\t1B2C9D00, valid"),
        ("tbctl show ", "evil $(touch /nowhere)\t"),
    ] {
        let Some(offers) = offered(line) else { return };
        assert!(offers.contains(offer), "{line}: {offers:?}");
    }
    assert!(offered("tbctl --socket /etc/passw").unwrap().contains("/etc/passwd"));
    assert_eq!(offered("tbctl show /etc/passw").unwrap(), "", "no customer is a file");
    let orders = offered("tbctl status --sort ").unwrap();
    let words: Vec<&str> = orders.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(words, ["problems", "left", "customer", "status"], "in the order of the help");
    fake.requests();
}

/// The answer to a Tab key must be fast.
#[test]
fn a_daemon_that_is_away_or_silent_means_no_customers_and_no_delay() {
    let silent = Fake::start(|_| Reaction::Silence);
    for socket in ["/nowhere/x.sock", silent.socket().to_str().unwrap()] {
        for shell in ["bash", "zsh", "fish"] {
            let begin = Instant::now();
            let line = if shell == "bash" { vec!["tbctl show x", "x"] } else { vec!["tbctl", "show", "x"] };
            let mut command = tbctl();
            command.args(["complete", shell, "--"]).args(line).env("TBTOKEND_SOCKET", socket);
            let told = Told::by(&mut command);
            assert_eq!((told.exit, told.stdout.as_str(), told.stderr.as_str()), (Some(0), "", ""));
            assert!(begin.elapsed() < Duration::from_secs(10));
        }
    }
    silent.requests();
}

#[test]
fn the_daemon_is_asked_only_for_customers() {
    let fake = fake();
    let mut command = tbctl();
    command.args(["complete", "bash", "--", "tbctl status --", "--"]).env("TBTOKEND_SOCKET", fake.socket());
    assert!(Told::by(&mut command).stdout.contains("--watch\n"));
    assert_eq!(fake.requests(), []);
}

/// A shell sees that a command was interrupted.
#[test]
fn an_interrupt_at_the_terminal_is_130() {
    let fake = fake();
    for command in ["events -f", "status --watch", "wait C0FF"] {
        let Some(mut shell) = Shell::start("bash", &["--norc", "--noprofile", "-i"], &fake.socket()) else {
            return;
        };
        shell.press(&format!("tbctl {command}\r"));
        // Each says something before it goes on.
        shell.expect(match command {
            "events -f" => "no. 3",
            "status --watch" => "LAST ERROR",
            _ => "waiting: 1 of 1",
        });
        shell.press("\u{3}");
        shell.press("echo \"code $?\"\r");
        shell.expect("code 130");
    }
    fake.requests();
}
