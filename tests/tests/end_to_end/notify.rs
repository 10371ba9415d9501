//! Messages about troubles, by mail and webhook: one for each trouble, and one when it is over.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use tbtoken_tests::canary;
use tbtoken_tests::harness::http::free_port;
use tbtoken_tests::harness::{Installation, Row};
use tbtoken_tests::receivers::{Mail, SmtpServer, Webhook};
use tbtoken_tests::thingsboard::{Behaviour, Certificate, CertificateKind, ThingsBoard, TlsFront, User};

type Table = toml::Table;

/// Far more customers than a message names.
const MANY: usize = 5_000;

/// An installation whose times are as short as they may be.
fn installation(receivers: Vec<Table>) -> Installation {
    let receivers = receivers.into_iter().map(toml::Value::Table).collect::<Vec<_>>();
    ["group_wait", "group_interval", "resolve_wait"]
        .into_iter()
        .fold(Installation::new(), |installation, key| installation.with(&format!("notify.{key}"), "1s"))
        .with("notify.receiver", receivers)
}

pub(super) fn webhook(name: &str, format: &str, url: &str) -> Table {
    let keys = [("name", name), ("kind", "webhook"), ("format", format), ("url", url)];
    keys.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
}

fn mail(server: &SmtpServer, to: &[&str]) -> Table {
    let mut mail: Table = [
        ("name", "ops-mail"),
        ("kind", "email"),
        ("from", "tbtokend@example.com"),
        ("smtp", &format!("127.0.0.1:{}", server.port())),
        ("ca_file", server.authority().to_str().unwrap()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.into()))
    .collect();
    mail.insert("to".to_owned(), to.iter().map(|to| toml::Value::from(*to)).collect::<Vec<_>>().into());
    mail
}

/// Adds a secret in a file.
fn with_secret(mut receiver: Table, installation: &std::path::Path, key: &str, secret: &str) -> Table {
    let file = installation.join(format!("secret-{key}"));
    std::fs::write(&file, secret).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    receiver.insert(key.to_owned(), file.to_str().unwrap().into());
    receiver
}

/// Customers of a server that refuses all connections.
fn customers_of_a_dead_server(count: usize) -> (ThingsBoard, Vec<Row>) {
    let thingsboard = ThingsBoard::start();
    let accounts = thingsboard.add_many(count, |n| User::new(format!("ops{n}")));
    let rows = accounts.iter().map(|account| Row::new(&account.username, account)).collect();
    thingsboard.set(Behaviour::Refuse);
    (thingsboard, rows)
}

#[test]
fn p32_customers_of_one_dead_server_are_one_message_and_one_when_it_is_back() {
    let (thingsboard, rows) = customers_of_a_dead_server(MANY);
    let receiver = Webhook::start();
    let installation = installation(vec![webhook("chat", "standard", &receiver.url())]).with_rows(&rows);
    let daemon = installation.start();
    let fired = receiver.until(1)[0].json();
    assert_eq!(fired["type"], "tbtokend.trouble.firing", "{fired}");
    let data = &fired["data"];
    assert_eq!((&data["customers"], &data["severity"]), (&MANY.into(), &"critical".into()), "{fired}");
    assert_eq!(data["worst"].as_array().unwrap().len(), 10);
    assert_eq!(data["cause"], format!("server:{}", thingsboard.url()));
    assert_eq!(data["command"], "tbctl status --problems");
    thingsboard.set(Behaviour::Normal);
    // A busy machine needs some time for so many.
    for valid in (1_000..=MANY).step_by(1_000) {
        daemon.until("more are valid", |status| status.tokens.summary.valid >= valid);
    }
    let _ = receiver.until(2);
    assert_eq!(receiver.events(), ["tbtokend.trouble.firing", "tbtokend.trouble.resolved"]);
    assert!(!daemon.log().contains("secret-part"), "the URL is a secret");
}

#[test]
fn p32_a_kill_between_firing_and_resolved_repeats_nothing() {
    let (thingsboard, rows) = customers_of_a_dead_server(3);
    let receiver = Webhook::start();
    let installation = installation(vec![webhook("chat", "standard", &receiver.url())]).with_rows(&rows);
    let mut daemon = installation.start();
    let _ = receiver.until(1);
    let stored = || {
        let table = installation.table().connect();
        table.query_row("SELECT count(*) FROM tbtokend_notice", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    tbtoken_tests::harness::wait::poll(tbtoken_tests::harness::wait::TIMEOUT, || {
        (stored() == 1).then_some(())
    })
    .expect("what was told is stored");
    daemon.kill();
    let daemon = installation.start();
    daemon.wait_for_log("3 customers");
    daemon.until("its breaker is open", |status| {
        status.servers.iter().flatten().any(|server| server.breaker != tbtoken_proto::BreakerState::Closed)
    });
    thingsboard.set(Behaviour::Normal);
    daemon.until("all are valid", |status| status.tokens.summary.valid == 3);
    let _ = receiver.until(2);
    assert_eq!(receiver.events(), ["tbtokend.trouble.firing", "tbtokend.trouble.resolved"]);
    tbtoken_tests::harness::wait::poll(tbtoken_tests::harness::wait::TIMEOUT, || {
        (stored() == 0).then_some(())
    })
    .expect("nothing is stored any more");
}

#[test]
fn p32_receivers_that_never_answer_delay_no_token() {
    let (_dead, mut rows) = customers_of_a_dead_server(2);
    let thingsboard = ThingsBoard::start();
    let hanging: Vec<Webhook> = (0..16).map(|_| Webhook::start()).collect();
    hanging.iter().for_each(|webhook| webhook.answer(0));
    let receivers =
        hanging.iter().enumerate().map(|(n, hook)| webhook(&format!("hook-{n}"), "slack", &hook.url()));
    rows.extend(
        thingsboard
            .add_many(20, |n| User::new(format!("fine{n}")).access_life(std::time::Duration::from_secs(8)))
            .iter()
            .map(|account| Row::new(&account.username, account)),
    );
    let installation = installation(receivers.collect()).with_rows(&rows);
    let mut daemon = installation.start();
    hanging.iter().for_each(|webhook| drop(webhook.until(1)));
    let status = daemon.until("the healthy are renewed twice while all receivers hang", |status| {
        let fine = status.tokens.customers.iter().flatten().filter(|it| it.customer_id.starts_with("fine"));
        assert!(status.tokens.summary.expired == 0, "{:?}", status.tokens.summary);
        fine.filter(|customer| customer.renewals >= 3).count() == 20
    });
    assert_eq!(status.tokens.summary.valid + status.tokens.summary.expiring_soon, 20);
    assert!(daemon.stop().success());
}

#[test]
fn every_format_neutralizes_what_a_row_says() {
    let id = "<!channel> @here [x](https://evil.example)";
    let receivers: Vec<Webhook> = (0..3).map(|_| Webhook::start()).collect();
    let formats = ["standard", "slack", "teams"];
    let hooks = formats.iter().zip(&receivers).map(|(format, hook)| webhook(format, format, &hook.url()));
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let row = Row::new(format!("{id}\r\nBcc: x@evil.example"), &account).password(canary::password("wrong"));
    let installation = installation(hooks.collect()).with_row(row);
    let _daemon = installation.start();
    let [standard, slack, teams] = [0, 1, 2].map(|at: usize| receivers[at].until(1)[0].clone());
    assert_eq!(standard.json()["data"]["cause"], "parked:credentials_rejected");
    let text = slack.json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("customers are parked: wrong password: 1 customer"), "{text}");
    assert!(text.contains("&lt;!channel&gt;") && !text.contains("<!"), "{text}");
    assert!(!text.contains("@here") && !text.contains("](") && !text.contains("\r"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    let card = &teams.json()["attachments"][0]["content"];
    assert_eq!((&card["version"], &card["type"]), (&"1.4".into(), &"AdaptiveCard".into()));
    // Brackets are escaped, and a hidden space follows each sign that has a meaning.
    assert!(card.to_string().contains("\\\\[x\\\\]\u{200b}\\\\(https:\u{200b}//evil"), "{card}");
}

#[test]
fn a_mail_goes_over_tls_with_a_login_and_names_the_firing_one_when_it_is_over() {
    let (thingsboard, rows) = customers_of_a_dead_server(5);
    for mode in ["starttls", "implicit"] {
        thingsboard.set(Behaviour::Refuse);
        let mut installation = installation(Vec::new()).with_rows(&rows);
        let Some(server) = SmtpServer::start(mode, installation.folder()) else { return };
        let mut receiver = mail(&server, &["ops@example.com", "550@example.com"]);
        receiver.extend([("tls".to_owned(), mode.into()), ("user".to_owned(), "tbtokend".into())]);
        let password = canary::password("right");
        let receiver = with_secret(receiver, installation.folder(), "password_file", &password);
        installation.config().set("notify.receiver", vec![toml::Value::Table(receiver)]);
        let daemon = installation.start();
        let fired = server.until(1, "mail").remove(0);
        assert!(fired.tls && fired.to == "ops@example.com", "{fired:?}");
        assert!(server.seen("auth").iter().all(|auth| auth.tls && auth.to == password));
        let header = |mail: &Mail, name: &str| {
            let line = mail.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.map(str::to_owned)
        };
        let subject = header(&fired, "Subject").unwrap();
        assert!(subject.starts_with("[tbtokend] server http://127.0.0.1:"), "{subject}");
        assert_eq!(header(&fired, "Auto-Submitted").as_deref(), Some("auto-generated"));
        assert!(fired.text.contains("is down: 5 customers"), "{}", fired.text);
        // The log comes after the end of the conversation with the server.
        daemon.wait_for_log("550@example.com");
        daemon.wait_for_log("SMTP 550");
        thingsboard.set(Behaviour::Normal);
        daemon.until("all are valid", |status| status.tokens.summary.valid == 5);
        let over = server.until(2, "mail").remove(1);
        assert_eq!(header(&over, "In-Reply-To"), header(&fired, "Message-ID"));
        assert_ne!(header(&over, "Message-ID"), header(&fired, "Message-ID"));
        installation.table().execute("UPDATE customer_settings SET tbtoken = NULL, tbtokenexpiry = NULL");
    }
}

/// A recipient that is refused for now gets the mail later, and the others get it once.
#[test]
fn a_mail_is_repeated_for_the_recipients_alone_that_lack_it() {
    let (_thingsboard, rows) = customers_of_a_dead_server(1);
    let mut installation = installation(Vec::new()).with_rows(&rows);
    let Some(server) = SmtpServer::start("none", installation.folder()) else { return };
    let mut receiver = mail(&server, &["ops@example.com", "451@example.com", "550@example.com"]);
    receiver.insert("tls".to_owned(), "none".into());
    installation.config().set("notify.receiver", vec![toml::Value::Table(receiver)]);
    let daemon = installation.start();
    let mails = server.until(2, "mail");
    let to: Vec<&str> = mails.iter().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, ["ops@example.com", "451@example.com"]);
    let asked: Vec<String> = server.seen("rcpt").into_iter().map(|rcpt| rcpt.to).collect();
    assert_eq!(
        asked[3..],
        ["451@example.com"],
        "neither the one that has it, nor the one that is refused for good"
    );
    daemon.wait_for_log("SMTP 451");
}

#[test]
fn a_row_adds_no_header_to_a_mail_and_no_recipient() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let row = Row::new("<!channel>\r\nBcc: x@evil.example", &account).password(canary::password("wrong"));
    let mut installation = installation(Vec::new()).with_row(row);
    let Some(server) = SmtpServer::start("none", installation.folder()) else { return };
    let mut receiver = mail(&server, &["ops@example.com"]);
    receiver.insert("tls".to_owned(), "none".into());
    installation.config().set("notify.receiver", vec![toml::Value::Table(receiver)]);
    let _daemon = installation.start();
    let mail = server.until(1, "mail").remove(0);
    assert_eq!(mail.to, "ops@example.com");
    assert!(!mail.text.lines().any(|line| line.starts_with("Bcc")), "{}", mail.text);
}

#[test]
fn a_password_is_sent_to_no_mail_server_without_tls() {
    let (_thingsboard, rows) = customers_of_a_dead_server(1);
    let mut installation = installation(Vec::new()).with_rows(&rows);
    // It would take a password, and offers no STARTTLS.
    let Some(server) = SmtpServer::start("plain", installation.folder()) else { return };
    let mut receiver = mail(&server, &["ops@example.com"]);
    receiver.extend([("tls".to_owned(), "starttls".into()), ("user".to_owned(), "tbtokend".into())]);
    let receiver = with_secret(receiver, installation.folder(), "password_file", &canary::password("right"));
    installation.config().set("notify.receiver", vec![toml::Value::Table(receiver)]);
    let daemon = installation.start();
    daemon.wait_for_log("STARTTLS is not supported on this server");
    let test = installation.ctl(&["notify", "test"]);
    assert!(test.code == Some(1) && test.stdout.contains("STARTTLS"), "{test:?}");
    for kind in ["auth", "rcpt", "mail"] {
        assert_eq!(server.seen(kind), []);
    }
}

/// HTTP 410 ends the messages until a test, and each place that shows receivers says so.
#[test]
fn a_webhook_that_is_gone_gets_nothing_until_a_test() {
    let (thingsboard, rows) = customers_of_a_dead_server(1);
    let receiver = Webhook::start();
    receiver.answer(410);
    let installation = installation(vec![webhook("chat", "standard", &receiver.url())]).with_rows(&rows);
    let daemon = installation.start();
    let _ = receiver.until(1);
    let said = "it gets no more messages until a restart";
    daemon.until("the status names it", |status| status.daemon.failing_receivers == ["chat"]);
    let list = installation.ctl(&["notify", "list", "--json"]).stdout;
    assert!(list.contains(said), "{list}");
    let metrics = installation.ctl(&["metrics"]).stdout;
    assert!(metrics.contains(r#"tbtokend_notifications_up{receiver="chat"} 0"#), "{metrics}");
    let config = installation.write_config();
    let told = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]).stdout;
    assert!(told.contains(said), "{told}");
    receiver.answer(202);
    assert_eq!(installation.ctl(&["notify", "test", "chat"]).code, Some(0));
    let events = || receiver.events();
    let _ = receiver.until(3);
    assert_eq!(events(), ["tbtokend.trouble.firing", "tbtokend.test", "tbtokend.trouble.firing"]);
    daemon.until("it is up again", |status| status.daemon.failing_receivers.is_empty());
    thingsboard.set(Behaviour::Normal);
    let _ = receiver.until(4);
    assert_eq!(events()[3], "tbtokend.trouble.resolved");
}

#[test]
fn a_webhook_behind_tls_needs_an_authority_and_a_redirect_is_not_followed() {
    let (receiver, elsewhere) = (Webhook::start(), Webhook::start());
    let certificate = Certificate::new(CertificateKind::Issued);
    let front = TlsFront::before(receiver.address(), &certificate);
    let url = format!("{}/services/secret-part", front.url());
    let mut known = webhook("known", "slack", &url);
    let mut installation = installation(Vec::new());
    let authority = installation.folder().join("webhook-ca.pem");
    std::fs::write(&authority, &certificate.authority).unwrap();
    known.insert("ca_file".to_owned(), authority.to_str().unwrap().into());
    let hooks = [known, webhook("unknown", "slack", &url)].map(toml::Value::Table);
    installation.config().set("notify.receiver", hooks.to_vec());
    let _daemon = installation.start();
    assert_eq!(installation.ctl(&["notify", "test", "known"]).code, Some(0));
    assert_eq!(installation.ctl(&["notify", "test", "unknown"]).code, Some(1));
    assert_eq!(receiver.posted().len(), 1);
    receiver.answer_with(307, &format!("Location: {}\r\n", elsewhere.url()));
    let redirected = installation.ctl(&["notify", "test", "known"]);
    assert!(redirected.code == Some(1) && redirected.stdout.contains("HTTP 307"), "{redirected:?}");
    assert_eq!(elsewhere.posted(), []);
}

/// What waits is tried once more at the shutdown.
#[test]
fn a_message_that_waits_is_tried_at_the_shutdown() {
    let (_thingsboard, rows) = customers_of_a_dead_server(1);
    let receiver = Webhook::start();
    receiver.answer(503);
    let installation = installation(vec![webhook("chat", "standard", &receiver.url())]).with_rows(&rows);
    let mut daemon = installation.start();
    daemon.wait_for_log("HTTP 503");
    receiver.answer(200);
    assert!(daemon.stop().success());
    assert_eq!(receiver.events(), ["tbtokend.trouble.firing"; 2]);
}

/// A reload takes over the secrets of a receiver.
#[test]
fn a_reload_takes_over_how_a_receiver_is_reached() {
    let (former, present) = (Webhook::start(), Webhook::start());
    let mut installation = installation(Vec::new());
    let mut hook = webhook("chat", "slack", "");
    hook.remove("url");
    let hook = with_secret(hook, installation.folder(), "url_file", &former.url());
    let file = hook["url_file"].as_str().unwrap().to_owned();
    installation.config().set("notify.receiver", vec![toml::Value::Table(hook)]);
    let _daemon = installation.start();
    std::fs::write(file, present.url()).unwrap();
    assert_eq!(installation.ctl(&["reload"]).code, Some(0));
    assert_eq!(installation.ctl(&["notify", "test"]).code, Some(0));
    assert_eq!((former.posted().len(), present.posted().len()), (0, 1));
}

/// A credential that nothing would use is refused like such a key.
#[test]
fn a_secret_of_signatures_for_a_chat_is_refused() {
    let receiver = Webhook::start();
    let installation = installation(vec![webhook("chat", "slack", &receiver.url())]);
    let folder = installation.folder().join("credentials");
    std::fs::create_dir(&folder).unwrap();
    let credential = folder.join("notify-chat-secret");
    std::fs::write(&credential, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    std::fs::set_permissions(&credential, Permissions::from_mode(0o600)).unwrap();
    let mut daemon = installation.launch_with(|command| {
        command.env("CREDENTIALS_DIRECTORY", &folder);
    });
    assert!(!daemon.wait().success());
    assert!(daemon.log().contains("only messages of the format standard are signed"), "{}", daemon.log());
}

#[test]
fn a_test_says_what_the_receiver_said() {
    let receiver = Webhook::start();
    let other = Webhook::start();
    other.answer(500);
    let mut installation = installation(vec![
        webhook("chat", "slack", &receiver.url()),
        webhook("pager", "standard", &other.url()),
    ]);
    let server = SmtpServer::start("starttls", installation.folder());
    if let Some(server) = &server {
        let mut mail = mail(server, &["ops@example.com"]);
        mail.insert("user".to_owned(), "tbtokend".into());
        let mail = with_secret(mail, installation.folder(), "password_file", &canary::password("wrong"));
        let chat = webhook("chat", "slack", &receiver.url());
        let pager = webhook("pager", "standard", &other.url());
        let all: Vec<toml::Value> = [chat, pager, mail].map(toml::Value::Table).into();
        installation = installation.with("notify.receiver", all);
    }
    let _daemon = installation.start();
    let one = installation.ctl(&["notify", "test", "chat"]);
    assert_eq!((one.code, one.stdout.contains("HTTP 200")), (Some(0), true), "{one:?}");
    let all = installation.ctl(&["notify", "test"]);
    assert_eq!((all.code, all.stdout.contains("HTTP 500")), (Some(1), true), "{all:?}");
    if server.is_some() {
        assert!(all.stdout.contains("SMTP 535 to AUTH"), "{all:?}");
    }
    let list = installation.ctl(&["notify", "list"]);
    assert_eq!(list.code, Some(0));
    assert!(list.stdout.contains("pager") && list.stdout.contains("HTTP 500"), "{list:?}");
    assert!(!format!("{list:?}{all:?}").contains("secret-part"));
    let unknown = installation.ctl(&["notify", "test", "other"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("tbctl notify list"), "{unknown:?}");
    let metrics = installation.ctl(&["metrics"]).stdout;
    assert!(
        metrics.contains(r#"tbtokend_notifications_total{receiver="pager",outcome="failed"} 1"#),
        "{metrics}"
    );
    assert!(metrics.contains(r#"tbtokend_notifications_queued{receiver="chat"} 0"#), "{metrics}");
}

/// The signature, checked by the reference implementation in Python.
#[test]
fn a_signature_is_one_of_standard_webhooks() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let receiver = Webhook::start();
    let mut installation = installation(Vec::new());
    let hook = webhook("signed", "standard", &receiver.url());
    let hook = with_secret(
        hook,
        installation.folder(),
        "secret_file",
        &format!("whsec_{}\n{secret}\n", "QUJD".repeat(8)),
    );
    installation.config().set("notify.receiver", vec![toml::Value::Table(hook)]);
    let _daemon = installation.start();
    assert_eq!(installation.ctl(&["notify", "test"]).code, Some(0));
    let posted = receiver.until(1).remove(0);
    let verify = "import sys, json; from standardwebhooks import Webhook; Webhook(sys.argv[1]).verify(sys.argv[2], json.loads(sys.argv[3]))";
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    assert_eq!(posted.header("webhook-signature").split(' ').count(), 2, "{posted:?}");
    let headers: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), posted.header(name).into())).collect();
    let run = |body: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", verify, secret, body, &serde_json::to_string(&headers).unwrap()]);
        command.stderr(Stdio::piped()).output().unwrap()
    };
    let right = run(&posted.body);
    let said = String::from_utf8_lossy(&right.stderr).into_owned();
    if said.contains("No module named") {
        eprintln!("not run: python3 has no standardwebhooks");
        return;
    }
    assert!(right.status.success(), "{said}");
    assert!(!run(&format!("{} ", posted.body)).status.success(), "another body has another signature");
}

/// What was told is stored in the database that is in trouble; the message comes all the same.
#[test]
fn trouble_of_the_database_is_told_though_it_holds_what_was_told() {
    let thingsboard = ThingsBoard::start();
    let receiver = Webhook::start();
    let row = Row::new("ops", &thingsboard.add(User::new("ops")));
    let installation = installation(vec![webhook("chat", "standard", &receiver.url())]).with_row(row);
    let daemon = installation.start();
    daemon.until("it is valid", |status| status.tokens.summary.valid == 1);
    installation.table().execute("ALTER TABLE customer_settings RENAME TO elsewhere");
    let fired = receiver.until(1)[0].json();
    assert_eq!(fired["data"]["cause"], "schema", "{fired}");
    assert!(fired["data"]["text"].as_str().unwrap().contains("no table customer_settings"), "{fired}");
    installation.table().execute("ALTER TABLE elsewhere RENAME TO customer_settings");
    let _ = receiver.until(2);
    assert_eq!(receiver.events(), ["tbtokend.trouble.firing", "tbtokend.trouble.resolved"]);
}

#[test]
fn the_doctor_connects_to_each_receiver_and_sends_nothing() {
    let receiver = Webhook::start();
    let gone = format!("http://127.0.0.1:{}/hook", free_port());
    let hooks = [webhook("chat", "slack", &receiver.url()), webhook("gone", "slack", &gone)];
    let mut installation = installation(hooks.into());
    let server = SmtpServer::start("implicit", installation.folder());
    if let Some(server) = &server {
        let mut mail = mail(server, &["ops@example.com"]);
        mail.extend([("tls".to_owned(), "implicit".into()), ("user".to_owned(), "tbtokend".into())]);
        let mail = with_secret(mail, installation.folder(), "password_file", &canary::password("right"));
        let all = [mail, webhook("chat", "slack", &receiver.url()), webhook("gone", "slack", &gone)];
        installation = installation.with("notify.receiver", all.map(toml::Value::Table).to_vec());
    }
    let config = installation.write_config();
    let told = installation.tbtokend(&["doctor", "--config", config.to_str().unwrap()]);
    assert_eq!(told.code, Some(1), "{told:?}");
    let place = receiver.url().replace("/services/secret-part", "");
    assert!(told.stdout.contains(&format!("chat: {place} accepts connections")), "{}", told.stdout);
    assert!(told.stdout.contains("gone: http://127.0.0.1:") && !told.stdout.contains("secret-part"));
    if let Some(server) = &server {
        assert!(told.stdout.contains("EHLO and AUTH accepted"), "{}", told.stdout);
        assert_eq!(server.seen("mail").len(), 0);
    }
    assert_eq!(receiver.posted(), []);
}
