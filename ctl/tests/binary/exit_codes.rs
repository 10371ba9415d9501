//! The exit codes, each from a run; `--help` and the manual page promise them.

use tbtoken_proto::{ErrorCode, OutcomeStatus, Request};

use crate::common::{Fake, Reaction, Told, answer, outcome, refreshed, tbctl};

#[test]
fn each_code_means_what_it_says() {
    let healthy = |arguments: &[&str]| Fake::healthy().run(arguments).0.exit;
    assert_eq!(healthy(&["status"]), Some(0), "done");
    assert_eq!(healthy(&["statsu"]), Some(2), "the command line is wrong");
    assert_eq!(healthy(&["show", "no-such-id"]), Some(5), "no such customer");
    assert_eq!(healthy(&["wait", "--timeout", "50ms"]), Some(7), "one of them is parked for good");
    let failing = Fake::start(|request| match request {
        Request::Refresh(_) => Reaction::Answer(refreshed(vec![outcome("1B2C9D00", OutcomeStatus::Error)])),
        other => answer(other),
    });
    assert_eq!(failing.run(&["refresh"]).0.exit, Some(1), "the operation failed");
    assert_eq!(Told::by(tbctl().args(["--socket", "/nowhere"])).exit, Some(3), "unreachable");
    let monitor = Fake::start(|_| Reaction::Refuse(ErrorCode::ReadOnly, "refused here"));
    assert_eq!(monitor.run(&["stop"]).0.exit, Some(4), "no permission");
    let silent = Fake::start(|_| Reaction::Silence);
    assert_eq!(silent.run(&["--timeout", "50ms"]).0.exit, Some(7), "no answer in time");
    // 130 needs a shell: completions::an_interrupt_at_the_terminal_is_130
}

#[test]
fn what_cannot_be_written_is_an_error_whatever_it_is() {
    for arguments in [["--help"].as_slice(), &["--version"], &["man"], &["completions", "bash"], &["check"]] {
        let full = std::fs::File::create("/dev/full").unwrap();
        let told = Told::by(tbctl().args(arguments).args(["--socket", "/nowhere"]).stdout(full));
        assert_eq!(told.exit, Some(if arguments == ["check"] { 3 } else { 1 }), "{arguments:?}: {told:?}");
        assert!(told.stderr.starts_with("error: cannot write to standard output: No space"), "{told:?}");
    }
}
