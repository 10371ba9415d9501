//! The requests start, stop, refresh and status in all forms.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tbtoken_proto::{ErrorCode, OutcomeStatus, Phase, Refresh, RefreshReply, Request};
use tbtoken_tests::canary;
use tbtoken_tests::clock;
use tbtoken_tests::harness::{Daemon, Installation, Row, wait};
use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};

fn all() -> Refresh {
    Refresh { all: true, ..Refresh::default() }
}

fn named(id: &str) -> Request {
    Request::Refresh(Refresh { customers: Some(vec![id.to_owned()]), ..Refresh::default() })
}

fn outcomes(reply: RefreshReply) -> Vec<(String, OutcomeStatus)> {
    reply.result.unwrap().details.into_iter().map(|one| (one.customer_id, one.status)).collect()
}

/// Waits for another second. Expiries have whole seconds, and a token does not replace one with the same expiry. So a
/// second renewal in the same second would not be written.
fn in_another_second(installation: &Installation) {
    let expiry = installation.table().row("good").expiry().unwrap();
    let another = expiry - TimeDelta::minutes(15) + TimeDelta::seconds(1);
    wait::poll(wait::TIMEOUT, || (clock::now() >= another).then_some(())).unwrap();
}

/// Makes `good`, which has a token, and `bad`, which is parked. No token is checked, because the result is a change too.
fn good_and_bad(thingsboard: &ThingsBoard) -> (Installation, Daemon) {
    let good = Row::new("good", &thingsboard.add(User::new("good")));
    let bad = Row::new("bad", &thingsboard.add(User::new("bad"))).password(canary::password("wrong"));
    let installation = Installation::new().with_rows([&good, &bad]).with("thingsboard.verify_tokens", "off");
    let daemon = installation.start();
    daemon.until("one is well and one parked", |status| {
        status.tokens.summary.valid == 1 && status.tokens.summary.parked == 1 && !status.cron.refreshing
    });
    in_another_second(&installation);
    (installation, daemon)
}

#[test]
fn refresh_in_all_its_forms() {
    use OutcomeStatus::{Error, Skipped, Success};
    let thingsboard = ThingsBoard::start();
    let (installation, daemon) = good_and_bad(&thingsboard);
    let said = |id: &str, status| (id.to_owned(), status);

    assert_eq!(outcomes(daemon.refresh()), [said("bad", Skipped)], "no customer is due");
    assert_eq!(outcomes(daemon.refresh_as(all())), [said("bad", Skipped), said("good", Success)]);
    assert_eq!(thingsboard.user_stats("bad").attempts, 1);
    in_another_second(&installation);
    assert_eq!(outcomes(daemon.refresh_customer("good")), [said("good", Success)], "though it is valid");
    assert_eq!(outcomes(daemon.refresh_customer("bad")), [said("bad", Skipped)], "it was rejected");
    assert_eq!(thingsboard.user_stats("bad").attempts, 1);
    let force = Refresh { customers: Some(vec!["bad".to_owned()]), force: true, ..Refresh::default() };
    assert_eq!(outcomes(daemon.refresh_as(force)), [said("bad", Error)], "though it was rejected");
    assert_eq!(thingsboard.user_stats("bad").attempts, 2);
    let refusal = daemon.request(&named("nowhere")).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnknownCustomer);
    assert!(refusal.error.contains("nowhere"), "{}", refusal.error);

    let renewals = daemon.status().of("good").renewals;
    in_another_second(&installation);
    let later = Refresh { wait: false, ..all() };
    assert_eq!(daemon.refresh_as(later).result, None);
    daemon.until_customer("good", "is renewed later", |good| good.renewals == renewals + 1);
}

#[test]
fn a_refresh_that_need_not_wait_is_answered_at_once() {
    let thingsboard = ThingsBoard::start();
    let (_installation, daemon) = good_and_bad(&thingsboard);
    thingsboard.set(Behaviour::Silent);
    assert_eq!(daemon.refresh_as(Refresh { wait: false, ..all() }).result, None);
    daemon.until("the pass hangs", |status| status.of("good").state == Phase::Refreshing);
}

/// The client may be gone later, so the error must come at once.
#[test]
fn a_refresh_without_waiting_names_unknown_customers_at_once() {
    let thingsboard = ThingsBoard::start();
    let (_installation, daemon) = good_and_bad(&thingsboard);
    let ids = ["good", "typo", "another"].map(ToOwned::to_owned).to_vec();
    let refresh = Refresh { customers: Some(ids), wait: false, ..Refresh::default() };
    let refusal = daemon.request(&Request::Refresh(refresh)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnknownCustomer);
    assert!(refusal.error.starts_with("no such customer: another, typo ("), "{}", refusal.error);
}

#[test]
fn stop_keeps_the_loop_from_renewing_and_start_lets_it_go_on() {
    let thingsboard = ThingsBoard::start();
    let (installation, daemon) = good_and_bad(&thingsboard);
    let say = |line: &str| serde_json::from_str::<Value>(&daemon.ask(line)).unwrap();
    let stopped = say(r#"{"action":"stop","id":7}"#);
    assert_eq!((&stopped["cron"]["running"], &stopped["id"]), (&json!(false), &json!(7)));
    let again = say(r#"{"action":"stop"}"#);
    assert_eq!(again["success"], true);
    assert_ne!(again["message"], stopped["message"]);

    installation.table().set("good", "tbtokenexpiry", None);
    daemon.until_customer("good", "is seen to be due", |good| good.state == Phase::Due);
    let seen = thingsboard.stats().requests;
    let as_of = daemon.status().tokens.as_of;
    daemon.until("the stopped loop has looked twice more", |status| {
        status.tokens.as_of > as_of.map(|at| at + TimeDelta::seconds(2))
    });
    assert_eq!(thingsboard.stats().requests, seen, "a stopped loop renews no customer");
    assert_eq!(say(r#"{"action":"start"}"#)["cron"]["running"], true);
    daemon.until_customer("good", "is renewed", |good| good.state == Phase::Ok);
    assert_eq!(say(r#"{"action":"start"}"#)["success"], true);
}

#[test]
fn status_by_revision_moves_only_what_changed() {
    let thingsboard = ThingsBoard::start();
    let (installation, daemon) = good_and_bad(&thingsboard);
    let since = |revision: u64| {
        let line = json!({"action": "status", "since": revision}).to_string();
        serde_json::from_str::<Value>(&daemon.ask(&line)).unwrap()
    };
    let ids = |status: &Value| -> Vec<String> {
        let rows = status["tokens"]["customers"].as_array().unwrap();
        rows.iter().map(|row| row["customer_id"].as_str().unwrap().to_owned()).collect()
    };
    let revision = daemon.status().daemon.revision.0;
    assert_eq!(ids(&since(revision)), Vec::<String>::new());
    daemon.refresh_customer("good");
    assert_eq!(ids(&since(revision)), ["good"]);
    let revision = daemon.status().daemon.revision.0;
    installation.table().remove("bad");
    daemon.until("bad is gone", |status| status.find("bad").is_none());
    assert_eq!(since(revision)["tokens"]["removed"], json!(["bad"]));
    let whole = since(1);
    assert_eq!((ids(&whole), &whole["tokens"]["complete"]), (vec!["good".to_owned()], &json!(true)));

    let none: Value = serde_json::from_str(&daemon.ask(r#"{"action":"status","customers":"none"}"#)).unwrap();
    assert_eq!(none["tokens"].get("customers"), None);
    let one: Value =
        serde_json::from_str(&daemon.ask(r#"{"action":"status","customers":["good"]}"#)).unwrap();
    assert_eq!(ids(&one), ["good"]);
    let wrong: Value =
        serde_json::from_str(&daemon.ask(r#"{"action":"status","customers":["bad"]}"#)).unwrap();
    assert_eq!(wrong["code"], "unknown_customer");
}

#[test]
fn events_go_on_where_the_client_was() {
    let thingsboard = ThingsBoard::start();
    let (_installation, daemon) = good_and_bad(&thingsboard);
    let ask = |line: Value| serde_json::from_str::<Value>(&daemon.ask(&line.to_string())).unwrap();
    let kinds = |answer: &Value| -> Vec<String> {
        let events = answer["events"].as_array().unwrap();
        events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    };
    let first = ask(json!({"action": "events"}));
    for kind in ["pass_started", "renewed", "parked"] {
        assert!(kinds(&first).iter().any(|known| known == kind), "{kind} in {first}");
    }
    let next = &first["next"];
    assert_eq!(kinds(&ask(json!({"action": "events", "since": next}))), Vec::<String>::new());
    daemon.refresh_customer("good");
    let more = ask(json!({"action": "events", "since": next}));
    assert_eq!(kinds(&more), ["pass_started", "renewed", "pass_finished"]);
    assert_eq!(kinds(&ask(json!({"action": "events", "since": next, "limit": 1}))), ["pass_started"]);
}

/// The id is the beginning of another id, and the loop has not read the row yet.
#[test]
fn a_row_that_is_newer_than_the_last_poll_is_refreshed_by_its_name() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let other = Row::new("acme-test", &account).token("t", "2099-01-01 00:00:00");
    let installation = Installation::new().with("schedule.interval", "60s").with_row(other.clone());
    let daemon = installation.start();
    daemon.until("the table is read", |status| status.tokens.summary.valid == 1);
    installation.table().insert(&[Row::new("acme", &account)]);
    let output = installation.ctl(&["refresh", "acme"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stdout.starts_with("renewed  acme  until "), "{}", output.stdout);
    assert_eq!(installation.table().row("acme-test"), other);
}

/// A request line has a limit. A command with more customers than fit still works, or says how many fit.
#[test]
fn more_names_than_a_line_holds() {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new("ops"));
    let ids: Vec<String> = (0..2000).map(|n| format!("8F1C02AA-0000-4000-8000-{n:012}")).collect();
    let rows: Vec<_> =
        ids.iter().map(|id| Row::new(id, &account).token("t", "2099-01-01 00:00:00")).collect();
    let installation = Installation::new().with_rows(&rows).with("thingsboard.verify_tokens", "off");
    let daemon = installation.start();
    daemon.until("all are valid", |status| status.tokens.summary.valid == 2000);
    let tbctl = |words: &[&str], ids: &[String]| {
        let arguments: Vec<&str> = words.iter().copied().chain(ids.iter().map(String::as_str)).collect();
        installation.ctl(&arguments)
    };
    let output = tbctl(&["--json", "status"], &ids);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.stdout.matches("\"customer_id\"").count(), 2000);

    let output = tbctl(&["refresh", "--no-wait"], &ids);
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    let most = output.stderr.split("more than the ").nth(1).and_then(|rest| rest.split(' ').next());
    let most: usize = most.unwrap_or_else(|| panic!("{}", output.stderr)).parse().unwrap();
    // The number in the message is right: the daemon accepts that many.
    let output = tbctl(&["refresh", "--no-wait"], &ids[..most]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let output = tbctl(&["refresh", "--no-wait"], &ids[..=most]);
    assert_eq!(output.code, Some(2), "{}", output.stderr);
}
