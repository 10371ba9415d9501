//! A configuration that cannot be used is refused with exit code 6, and the key is named.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use tbtoken_tests::harness::{Installation, binaries};

fn refusal(installation: &Installation) -> String {
    let config = installation.write_config();
    let mut said = String::new();
    for check in [&["--check-config"][..], &[]] {
        let mut arguments = vec!["--config", config.to_str().unwrap()];
        arguments.extend(check);
        let output = installation.tbtokend(&arguments);
        assert_eq!(output.code, Some(6), "{}", output.stderr);
        said = output.stderr;
    }
    said
}

#[test]
fn a_wrong_key_or_value_is_named() {
    for (key, value, words) in [
        ("schedule.intervall", "5s", &["schedule.intervall", "schedule.interval?"][..]),
        ("thingsboard.max_inflight", "5", &["thingsboard.max_inflight", "thingsboard.max_in_flight?"]),
        ("schedul.interval", "5s", &["schedul.interval", "schedule.interval?"]),
        ("schedule.interval", "900ms", &["schedule.interval", "at least 1s"]),
        ("schedule.interval", "soon", &["schedule.interval", "it is not a time", "\"60s\""]),
        ("thingsboard.request_timeout", "21s", &["thingsboard.request_timeout", "at most 20s"]),
        ("schedule.autostart", "yes", &["schedule.autostart", "true or false"]),
        ("thingsboard.max_in_flight", "many", &["thingsboard.max_in_flight", "whole number"]),
        ("store.kind", "postgres", &["store.kind", "sqlite or mssql"]),
        ("store.path", "", &["store.path"]),
        ("control.socket", &format!("/run/{}", "x".repeat(103)), &["control.socket", "at most 107 bytes"]),
        ("control.mode", "rw", &["control.mode"]),
        ("log.level", "loud", &["log.level", "off, error"]),
        ("control.group", "no-such-group", &["control.group", "there is no group"]),
    ] {
        let said = refusal(&Installation::new().with(key, value));
        assert!(words.iter().all(|word| said.contains(word)), "{key} = {value:?}: {said}");
    }
    let said = refusal(&Installation::new().with("schedule.interval", 5));
    assert!(
        said.contains("schedule.interval") && said.contains("a text in quotes, but is a number"),
        "{said}"
    );
}

/// What is only seen when it is used would otherwise end the daemon every ten seconds, and `--check-config` praise it.
#[test]
fn a_proxy_and_an_authority_that_cannot_be_used_are_refused_and_a_password_in_them_is_not_shown() {
    let installation = Installation::new();
    let empty = installation.folder().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    for (key, value, words) in [
        ("thingsboard.proxy", "not a url", "URL"),
        ("thingsboard.proxy", "http://user:canary-pw-proxy@:x", "write for example http://"),
        ("thingsboard.ca_file", "/nowhere/ca.pem", "/nowhere/ca.pem cannot be read"),
        ("thingsboard.ca_file", empty.to_str().unwrap(), "holds no certificate"),
    ] {
        let said = refusal(&Installation::new().with(key, value));
        assert!(said.contains(key) && said.contains(words), "{key} = {value:?}: {said}");
        tbtoken_tests::canary::assert_clean("the refusal", said.as_bytes());
    }
}

#[test]
fn an_empty_password_file_is_refused() {
    let mut installation = Installation::new()
        .with("store.kind", "mssql")
        .with("store.server", "sql.example")
        .with("store.database", "app")
        .with("store.user", "tbtokend");
    let said = refusal(&installation);
    assert!(said.contains("write the password into /etc/tbtokend/mssql-password"), "{said}");
    let file = installation.folder().join("password");
    std::fs::write(&file, "\n").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    installation.config().set("store.password_file", file.to_str().unwrap());
    let said = refusal(&installation);
    assert!(said.contains("store.password_file") && said.contains("the file is empty"), "{said}");
}

#[test]
fn a_secret_for_everybody_is_refused() {
    let mut installation = Installation::new()
        .with("store.kind", "mssql")
        .with("store.server", "sql.example")
        .with("store.database", "app")
        .with("store.user", "tbtokend");
    let file = installation.folder().join("password");
    std::fs::write(&file, tbtoken_tests::canary::DATABASE).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o604)).unwrap();
    installation.config().set("store.password_file", file.to_str().unwrap());
    let said = refusal(&installation);
    assert!(said.contains("store.password_file") && said.contains("chmod"), "{said}");
}

/// What the effective configuration is piped into may end before it has read it all.
#[test]
fn a_reader_that_ends_is_no_error_and_a_full_disk_is_one() {
    let config = Installation::new();
    let path = config.write_config();
    let check = |stdout: Stdio| {
        let mut command = Command::new(binaries::path("tbtokend"));
        command.args(["--check-config", "--config"]).arg(&path).stdin(Stdio::null()).stdout(stdout);
        command.output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = check(writer.into());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");

    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = check(full.into());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "), "{output:?}");
}
