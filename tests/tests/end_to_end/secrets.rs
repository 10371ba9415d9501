//! Promise 5: no secret is printed. The harness searches all output and all answers; these tests cause every output that
//! could contain a secret. The smoke tests prove that the search can fail.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use tbtoken_proto::Refresh;
use tbtoken_tests::canary;
use tbtoken_tests::harness::{Installation, Row};
use tbtoken_tests::thingsboard::{Behaviour, SecondFactor, ThingsBoard, User};

use crate::wire::Wire;

#[test]
fn p05_no_secret_comes_to_light_whatever_is_asked() {
    let thingsboard = ThingsBoard::start();
    let good = Row::new("good", &thingsboard.add(User::new("good")));
    let wrong = Row::new("wrong", &thingsboard.add(User::new("wrong"))).password(canary::password("no"));
    let expired = Row::new("expired", &thingsboard.add(User::new("expired").password_expired()));
    let factor = User::new("factor").second_factor(SecondFactor::Enabled);
    let factor = Row::new("factor", &thingsboard.add(factor));
    let redirected = Row::new("redirected", &thingsboard.add(User::new("redirected")));
    let location =
        format!("https://elsewhere.example/{0}/login?token={0}#{1}", canary::TOKEN, canary::REFRESH);
    thingsboard.set_for("redirected", Behaviour::Redirect { status: 302, location });
    let no_jwt = Row::new("no-jwt", &thingsboard.add(User::new("no-jwt")));
    thingsboard.set_for("no-jwt", Behaviour::NotAJwt);
    let rows = [good, wrong, expired, factor, redirected, no_jwt];
    let installation = Installation::new().with_rows(&rows);
    let daemon = installation.start();
    daemon.until("all customers were tried", |status| {
        let tried = |id: &&str| status.of(id).failure.is_some() || status.of(id).renewals > 0;
        ["good", "wrong", "expired", "factor", "redirected", "no-jwt"].iter().all(tried)
    });
    // The second renewal of `good` uses the refresh token.
    daemon.refresh_as(Refresh { customers: Some(vec!["good".into(), "wrong".into()]), ..Refresh::default() });
    for line in [r#"{"action":"status"}"#, r#"{"action":"events","limit":1000}"#, r#"{"action":"version"}"#] {
        assert!(daemon.ask(line).contains(r#""success":true"#));
    }
    for arguments in [&["status"][..], &["events"], &["--json", "status"], &["refresh"], &["version"]] {
        let _ = installation.ctl(arguments);
    }
    let log = daemon.log();
    for id in ["good", "wrong", "expired", "factor", "redirected", "no-jwt"] {
        assert!(log.contains(&format!("customer {id}")), "{id} in {log}");
    }
    assert!(log.contains("redirects to https://elsewhere.example: put that URL into tb_url"), "{log}");
    canary::assert_clean("the log", log.as_bytes());
}

#[test]
fn p05_a_password_in_a_url_is_not_repeated() {
    let thingsboard = ThingsBoard::start();
    let row = Row::new("url", &thingsboard.add(User::new("ops")));
    let row = row.url(format!("http://user:{}@tb.example/", canary::password("in-url")));
    let installation = Installation::new().with_row(row);
    let daemon = installation.start();
    daemon.until("it is parked", |status| status.tokens.summary.parked == 1);
}

#[test]
fn p05_a_secret_that_a_client_sends_by_mistake_is_not_logged() {
    let installation = Installation::new();
    let daemon = installation.start();
    let mut client = Wire::to(daemon.socket());
    // The answer may repeat the request of the client, but the log must not contain it.
    client.send(format!("{{\"action\":\"{}\n", canary::password("typed")).as_bytes()).unwrap();
    assert_eq!(client.line().unwrap()["success"], false);
    canary::assert_clean("the log", daemon.log().as_bytes());
}

#[test]
fn p05_the_effective_configuration_hides_the_database_password() {
    let secret = format!("{}-1", canary::DATABASE);
    let mut installation = Installation::new()
        .with("store.kind", "mssql")
        .with("store.server", "sql.example")
        .with("store.database", "app")
        .with("store.user", "tbtokend");
    let file = installation.folder().join("password");
    std::fs::write(&file, &secret).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    installation.config().set("store.password_file", file.to_str().unwrap());
    let config = installation.write_config();
    let config = config.to_str().unwrap();
    let output = installation.tbtokend(&["--check-config", "--config", config]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    canary::assert_clean("--check-config", output.stdout.as_bytes());

    let password = format!("MSSQL_PASSWORD={secret}");
    let tbtokend = tbtoken_tests::harness::binaries::path("tbtokend");
    let arguments = [&password, tbtokend.to_str().unwrap(), "--check-config", "--config", config];
    let output = std::process::Command::new("env").args(arguments).output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("***"));
    canary::assert_clean("--check-config", &output.stdout);
    canary::assert_clean("--check-config", &output.stderr);
}

/// Operators may paste the connection string of their web application here.
#[test]
fn p05_a_connection_string_as_the_server_is_refused_and_not_repeated() {
    let secret = format!("Password={}-1", canary::DATABASE);
    for kind in ["mssql", "sqlite"] {
        for server in [
            format!("Server=tcp:sql01,1433;User Id=ops;{secret}"),
            format!("sql01;{secret}"),
            format!("sql01,1433;{secret}"),
            format!("sql01\\CRM;{secret}"),
        ] {
            let installation = Installation::new()
                .with("store.kind", kind)
                .with("store.server", server.as_str())
                .with("store.database", "app")
                .with("store.user", "tbtokend");
            let config = installation.write_config();
            for arguments in [&["--config"][..], &["--check-config", "--config"]] {
                let output = installation.tbtokend(&[arguments, &[config.to_str().unwrap()]].concat());
                assert_eq!(output.code, Some(6), "{}", output.stderr);
                assert!(
                    output.stderr.contains("store.server = \"***\": write host only"),
                    "{}",
                    output.stderr
                );
                canary::assert_clean("stdout", output.stdout.as_bytes());
                canary::assert_clean("stderr", output.stderr.as_bytes());
            }
        }
    }
}
