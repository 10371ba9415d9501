//! The help texts, to the letter, and the manual page.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::{Told, tbctl};

fn help(arguments: &[&str]) -> String {
    let told = Told::by(tbctl().args(arguments).env("COLUMNS", "100").stdin(Stdio::null()));
    assert_eq!((told.exit, told.stderr.as_str()), (Some(0), ""));
    told.stdout
}

#[test]
fn help_is_as_it_was_agreed() {
    insta::assert_snapshot!("help", help(&["--help"]));
    for command in [
        "status",
        "show",
        "refresh",
        "start",
        "stop",
        "reload",
        "events",
        "check",
        "wait",
        "notify",
        "version",
        "completions",
        "man",
    ] {
        insta::assert_snapshot!(format!("help_{command}"), help(&[command, "--help"]));
    }
}

#[test]
fn the_manual_page_is_a_manual_page() {
    let page = help(&["man"]);
    assert!(page.contains(".TH TBCTL 1"), "{page}");
    let Ok(mut mandoc) = Command::new("mandoc")
        .args(["-T", "lint", "-W", "warning"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        return eprintln!("not tested: mandoc is not installed");
    };
    mandoc.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = mandoc.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
