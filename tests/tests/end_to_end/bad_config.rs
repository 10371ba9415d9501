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

#[test]
fn an_http_listener_that_would_be_dangerous_or_cannot_be_is_refused() {
    let (good, other) = ("a-token-of-thirty-two-characters", "another-token-of-enough-characters");
    let file = |installation: &Installation, name: &str, text: &str, mode: u32| {
        let path = installation.folder().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let listening = |listen: &str, token: &str, mode: u32| {
        let installation = Installation::new();
        let path = file(&installation, "token", token, mode);
        installation.with("http.listen", listen).with("http.token_file", path)
    };
    let local = "127.0.0.1:9137";
    let ok = listening(local, good, 0o640);
    let config = ok.write_config();
    let output = ok.tbtokend(&["--check-config", "--config", config.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(!output.stdout.contains(good), "{}", output.stdout);
    for (installation, key, words) in [
        (Installation::new().with("http.listen", local), "http.token_file", "tbtokend http-token"),
        (listening("0.0.0.0:9137", good, 0o600), "http.listen", "http.behind_proxy = true"),
        (listening("[::]:9137", good, 0o600), "http.listen", "http.behind_proxy = true"),
        (listening("[::ffff:10.0.0.1]:9137", good, 0o600), "http.listen", "http.behind_proxy = true"),
        (listening("127.0.0.1:443", good, 0o600), "http.listen", "below 1024"),
        (listening("127.0.0.1:0", good, 0o600), "http.listen", "below 1024"),
        (listening("localhost:9137", good, 0o600), "http.listen", "write an address and a port"),
        (listening("127.0.0.1", good, 0o600), "http.listen", "write an address and a port"),
        (listening("unix:http.sock", good, 0o600), "http.listen", "an absolute path"),
        (listening(local, &good[1..], 0o600), "http.token_file", "32 to 256"),
        (listening(local, &"x".repeat(257), 0o600), "http.token_file", "32 to 256"),
        (listening(local, &format!("{good} {other}"), 0o600), "http.token_file", "without spaces"),
        (listening(local, &format!("{good}ä"), 0o600), "http.token_file", "ASCII"),
        (listening(local, good, 0o604), "http.token_file", "all users can read this file"),
        (
            listening("", good, 0o600).with("http.token_file", "not-a-path"),
            "http.token_file",
            "does not name a file",
        ),
        (Installation::new().with("http.metrics", "all"), "http.metrics", "use read or open"),
        (Installation::new().with("http.page", "yes"), "http.page", "true or false"),
        (
            Installation::new().with("http.allowed_hosts", "x.example"),
            "http.allowed_hosts",
            "a list of texts",
        ),
        (
            Installation::new().with("http.allowed_hosts", vec!["https://x.example".to_owned()]),
            "http.allowed_hosts",
            "without scheme and port",
        ),
        (Installation::new().with("http.lisen", local), "http.lisen", "http.listen?"),
    ] {
        let said = refusal(&installation);
        assert!(said.contains(key) && said.contains(words), "{said}");
        assert!(!said.contains(good), "{said}");
    }
    let same = listening(local, good, 0o600);
    let path = file(&same, "read", good, 0o600);
    let said = refusal(&same.with("http.read_token_file", path));
    assert!(said.contains("http.read_token_file") && said.contains("the same token"), "{said}");
    let exposed = listening("0.0.0.0:9137", good, 0o600).with("http.behind_proxy", true);
    let config = exposed.write_config();
    let output = exposed.tbtokend(&["--check-config", "--config", config.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

/// Without this check, `--check-config` would accept the file, and the daemon would end every ten seconds.
#[test]
fn a_proxy_and_an_authority_that_cannot_be_used_are_refused_and_a_password_in_them_is_not_shown() {
    let installation = Installation::new();
    let empty = installation.folder().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    for (key, value, words) in [
        ("thingsboard.proxy", "not a url", "URL"),
        ("thingsboard.proxy", "socks5://127.0.0.1:1080", "write for example http://"),
        ("thingsboard.proxy", "ftp://127.0.0.1:21", "write for example http://"),
        ("thingsboard.proxy", "http://proxy.example:3128/path", "write for example http://"),
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
fn a_file_without_certificates_is_refused_for_sql_server_too() {
    let mut installation = Installation::new()
        .with("store.kind", "mssql")
        .with("store.server", "sql.example")
        .with("store.database", "app")
        .with("store.user", "tbtokend");
    let empty = installation.folder().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    let password = installation.folder().join("password");
    std::fs::write(&password, tbtoken_tests::canary::DATABASE).unwrap();
    std::fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
    installation.config().set("store.password_file", password.to_str().unwrap());
    installation.config().set("store.ca_file", empty.to_str().unwrap());
    let said = refusal(&installation);
    assert!(said.contains("store.ca_file") && said.contains("holds no certificate in PEM form"), "{said}");
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
fn a_secret_that_others_can_read_is_refused() {
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

/// The reader of the printed configuration may end before it has read everything.
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

/// Makes an installation with a SQL Server as its store, to which nothing connects.
fn with_sql_server() -> Installation {
    Installation::new()
        .with("store.kind", "mssql")
        .with("store.server", "sql.example")
        .with("store.database", "app")
        .with("store.user", "tbtokend")
}

/// Otherwise the second line would become part of the password, and each login would be refused.
#[test]
fn a_password_file_of_two_lines_is_refused() {
    let mut installation = with_sql_server();
    let file = installation.folder().join("password");
    installation.config().set("store.password_file", file.to_str().unwrap());
    for (end, is_fine) in
        [("", true), ("\n", true), ("\r\n", true), ("\n\n", true), ("\nuser=x\n", false), ("\rx", false)]
    {
        std::fs::write(&file, format!("{}{end}", tbtoken_tests::canary::DATABASE)).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        if is_fine {
            let config = installation.write_config();
            let output = installation.tbtokend(&["--check-config", "--config", config.to_str().unwrap()]);
            assert_eq!(output.code, Some(0), "{end:?}: {}", output.stderr);
        } else {
            let said = refusal(&installation);
            assert!(said.contains("store.password_file") && said.contains("more than one line"), "{said}");
        }
    }
    let mut command = Command::new(binaries::path("tbtokend"));
    command.env_clear().env("MSSQL_PASSWORD", format!("{}\n", tbtoken_tests::canary::DATABASE));
    let output = command.arg("--check-config").arg("--config").arg(installation.write_config()).output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(said.contains("MSSQL_PASSWORD = \"***\": it holds a line break"), "{said}");
}

/// The setting holds the password itself instead of its file. The harness searches all output for canaries.
#[test]
fn p05_a_value_that_names_no_file_is_refused_and_not_repeated() {
    let secret = tbtoken_tests::canary::DATABASE;
    let folder = Installation::new();
    for kind in ["mssql", "sqlite"] {
        for (key, value) in [
            ("store.password_file", secret.to_owned()),
            ("store.password_file", format!("/{secret}")),
            ("store.password_file", format!("{}/{secret}", folder.folder().display())),
            ("store.password_file", folder.folder().display().to_string()),
            ("store.ca_file", secret.to_owned()),
            ("thingsboard.ca_file", secret.to_owned()),
        ] {
            let installation = with_sql_server().with("store.kind", kind).with(key, value.as_str());
            let said = refusal(&installation);
            assert!(
                said.contains(&format!("{key} does not name a file")) && !said.contains(&value),
                "{said}"
            );
            let config = installation.write_config();
            let output = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
            assert_eq!((output.code, output.stdout.as_str()), (Some(6), ""), "{output:?}");
        }
    }
}

/// With the environment of the old service, the daemon must not make a new, empty SQLite file.
#[test]
fn a_sql_server_in_the_environment_beside_sqlite_is_refused() {
    let mut installation = Installation::new();
    for says_kind in [true, false] {
        if !says_kind {
            installation.config().unset("store.kind");
        }
        let config = installation.write_config();
        for variable in ["MSSQL_SERVER", "MSSQL_DATABASE", "MSSQL_USER", "MSSQL_PASSWORD"] {
            if !says_kind && variable == "MSSQL_SERVER" {
                continue;
            }
            for check in [&["--check-config"][..], &["doctor"], &[]] {
                let mut command = Command::new(binaries::path("tbtokend"));
                command.env_clear().env(variable, tbtoken_tests::canary::DATABASE).stdin(Stdio::null());
                let output = command.arg("--config").arg(&config).args(check).output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(6), "{variable} {check:?}: {said}");
                assert!(
                    said.contains(&format!("store.kind = \"sqlite\": {variable} in the environment")),
                    "{said}"
                );
                tbtoken_tests::canary::assert_clean("the refusal", said.as_bytes());
            }
        }
    }
}

/// The output must name the file of the configuration or of the error.
#[test]
fn the_file_that_was_read_is_named() {
    let installation = Installation::new();
    let config = installation.write_config();
    let config = config.to_str().unwrap();
    let output = installation.tbtokend(&["--check-config", "--config", "config.toml"]);
    assert!(output.stdout.starts_with(&format!("# Configuration: {config}\n")), "{output:?}");
    let output = installation.tbtokend(&["doctor", "--config", "config.toml"]);
    assert!(output.stdout.contains(&format!("valid; read from {config}\n")), "{output:?}");
    let installation = installation.with("log.level", "loud");
    let _ = installation.write_config();
    for arguments in [&["--check-config"][..], &["doctor"], &[]] {
        let output = installation.tbtokend(&[&["--config", "config.toml"], arguments].concat());
        assert!(output.stderr.contains(&format!("{config}: log.level = \"loud\"")), "{output:?}");
    }
}

#[test]
fn check_config_is_not_for_a_command() {
    let output = Installation::new().tbtokend(&["--check-config", "doctor"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("`tbtokend doctor` checks the configuration too"), "{output:?}");
}
