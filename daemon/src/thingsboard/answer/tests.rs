//! Every row of the table "Answers that are not a token", and that nothing else is believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any, prop_assert, prop_oneof, proptest};

use super::*;
use crate::model::NotAToken;

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, location: None, retry_after: None, date: None, body: Some(body.as_bytes().to_vec()) }
}

/// ThingsBoard's own error.
fn error(status: u16, code: i64, message: &str) -> Answer {
    answer(
        status,
        &format!(
            r#"{{"status":{status},"message":"{message}","errorCode":{code},"timestamp":1764000000000}}"#
        ),
    )
}

fn jwt(claims: &str) -> String {
    format!("eyJhbGciOiJIUzUxMiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

fn pair() -> String {
    let token = jwt(r#"{"sub":"a","iat":1000,"exp":10000}"#);
    format!(r#"{{"token":"{token}","refreshToken":"r","scope":null}}"#)
}

#[test]
fn every_row_of_the_table_is_the_failure_that_it_names() {
    let unexpected = Failure::UnexpectedResponse;
    let redirect = |location: &str| unexpected(Unexpected::Redirect { location: location.to_owned() });
    let policy =
        "The entered password violates our policies. If this is your real password, please reset it.";
    let expired = r#"{"status":401,"message":"User password expired!","errorCode":15,"resetToken":"secret"}"#;
    let useless = |scope: &str| format!(r#"{{"token":"{}","scope":"{scope}"}}"#, jwt(r#"{"iat":1,"exp":2}"#));
    let with_token = |token: &str| answer(200, &format!(r#"{{"token":"{token}","refreshToken":"r"}}"#));
    let moved = Answer { location: Some("https://u:p@b.example/x?t=1".into()), ..answer(302, "") };
    let rows = [
        (error(401, 10, "Invalid username or password"), Failure::CredentialsRejected, true),
        (error(401, 10, "Authentication failed"), Failure::CredentialsRejected, true),
        (error(401, 10, "User account is not active"), Failure::AccountDisabled, true),
        (error(401, 10, "User account is locked due to security policy"), Failure::AccountLocked, true),
        (answer(401, expired), Failure::PasswordExpired, true),
        (error(401, 45, policy), Failure::PasswordViolatesPolicy, true),
        (answer(200, &useless("PRE_VERIFICATION_TOKEN")), Failure::SecondFactorRequired, true),
        (answer(200, &useless("MFA_CONFIGURATION_TOKEN")), Failure::SecondFactorRequired, true),
        // Not in ThingsBoard's words: a proxy, perhaps after ThingsBoard has counted.
        (answer(401, "<html>proxy</html>"), unexpected(Unexpected::ProxyLogin), false),
        (error(401, 99, "whatever comes"), unexpected(Unexpected::ProxyLogin), false),
        (error(401, 10, "Token is outdated"), unexpected(Unexpected::ProxyLogin), false),
        (Answer { body: None, ..answer(401, "") }, unexpected(Unexpected::ProxyLogin), false),
        (
            error(429, 33, "Too many requests for current tenant!"),
            Failure::RateLimited { retry_after: None },
            false,
        ),
        (error(500, 46, "Database error"), Failure::ServerError { status: 500 }, false),
        (answer(503, "<html>"), Failure::ServerError { status: 503 }, false),
        (moved, redirect("https://***@b.example/x"), false),
        (answer(308, ""), redirect("(nowhere)"), false),
        (answer(404, "<html>"), unexpected(Unexpected::Status { status: 404 }), false),
        (answer(403, "{}"), unexpected(Unexpected::Status { status: 403 }), false),
        (answer(204, ""), unexpected(Unexpected::Status { status: 204 }), false),
        (answer(200, "<html>log in</html>"), unexpected(Unexpected::NotJson), false),
        (answer(200, ""), unexpected(Unexpected::NotJson), false),
        (answer(200, r#"{"refreshToken":"r"}"#), unexpected(Unexpected::NoToken), false),
        (with_token("abc"), unexpected(Unexpected::NotAToken(NotAToken::NotThreeParts)), false),
        (
            with_token(&jwt(r#"{"iat":5,"exp":5}"#)),
            unexpected(Unexpected::NotAToken(NotAToken::EndsBeforeItBegins)),
            false,
        ),
        (Answer { body: None, ..answer(200, "") }, unexpected(Unexpected::TooLong), false),
    ];
    for (answer, failure, permanent) in rows {
        assert_eq!(read_login(&answer), Err(failure.clone()), "{answer:?}");
        assert_eq!(failure.is_permanent(), permanent, "{failure:?}");
        assert!(!failure.kind().remedy().is_empty());
    }
    let grant = read_login(&answer(200, &pair())).unwrap();
    assert_eq!(grant.token.life().num_seconds(), 9_000);
    assert_eq!(grant.refresh_token, Some(Secret::new("r")));
}

#[test]
fn a_refused_refresh_token_means_log_in_and_a_server_in_trouble_does_not() {
    for (refused, is_outdated) in [
        (error(401, 11, "Token has expired"), false),
        (error(401, 10, "Token is outdated"), true),
        (error(401, 10, "Invalid username or password"), false),
        (error(401, 10, "User account is not active"), false),
        (error(401, 10, "whatever comes"), false),
        (error(500, 2, "Invalid Refresh Token scope"), false),
        (answer(200, r#"{"token":"t","scope":"PRE_VERIFICATION_TOKEN"}"#), false),
    ] {
        assert_eq!(read_renewal(&refused), Err(NotRenewed::Refused { is_outdated }), "{refused:?}");
    }
    for not_thingsboard in [
        answer(404, ""),
        answer(200, "<html>"),
        answer(302, ""),
        answer(401, "<html>"),
        answer(401, "outdated"),
        error(401, 99, "Token is outdated"),
    ] {
        let Err(NotRenewed::Failed(Failure::UnexpectedResponse(_))) = read_renewal(&not_thingsboard) else {
            panic!("a password for {not_thingsboard:?}");
        };
    }
    for status in [500, 502, 503] {
        let trouble = NotRenewed::Failed(Failure::ServerError { status });
        assert_eq!(read_renewal(&error(status, 46, "Database error")), Err(trouble));
    }
    // Of the general internal errors only that one is about the token.
    for trouble in [
        error(500, 2, "null"),
        error(500, 46, "Invalid Refresh Token scope"),
        answer(500, r#"{"errorCode":2}"#),
        answer(500, "<html>Refresh Token</html>"),
    ] {
        let failure = NotRenewed::Failed(Failure::ServerError { status: 500 });
        assert_eq!(read_renewal(&trouble), Err(failure), "{trouble:?}");
    }
    assert!(matches!(
        read_renewal(&error(429, 33, "Too many requests")),
        Err(NotRenewed::Failed(Failure::RateLimited { .. }))
    ));
    assert!(read_renewal(&answer(200, &pair())).is_ok());
}

/// Only ThingsBoard's own refusal of the user shows that ThingsBoard works.
#[test]
fn p02_a_probe_is_good_only_in_thingsboards_words() {
    for (answer, expected) in [
        (error(401, 10, "Invalid username or password"), "good"),
        (error(401, 10, "Authentication failed"), "good"),
        (error(500, 46, "Database error"), "bad"),
        (answer(502, "<html>"), "bad"),
        (answer(504, ""), "bad"),
        (error(429, 33, "Too many requests"), "bad"),
        (answer(401, "<html>"), "no verdict"),
        (error(401, 99, "Invalid username or password"), "no verdict"),
        (error(401, 10, "User account is not active"), "no verdict"),
        (error(401, 15, "User password expired!"), "no verdict"),
        (answer(403, ""), "no verdict"),
        (answer(404, ""), "no verdict"),
        (answer(302, ""), "no verdict"),
        (answer(200, "<html>"), "no verdict"),
        (answer(200, &pair()), "no verdict"),
    ] {
        let said = match read_probe(&answer) {
            Probe::Good => "good",
            Probe::Bad(_) => "bad",
            Probe::NoVerdict(_) => "no verdict",
        };
        assert_eq!(said, expected, "{answer:?}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_by_the_servers_own_clock() {
    let wait = |retry_after: &str, date: Option<&str>| {
        let answer = Answer {
            retry_after: Some(retry_after.to_owned()),
            date: date.map(ToOwned::to_owned),
            ..answer(429, "")
        };
        match read_login(&answer) {
            Err(Failure::RateLimited { retry_after }) => retry_after.map(|wait| wait.as_secs()),
            other => panic!("{other:?}"),
        }
    };
    let noon = "Sun, 06 Nov 1994 12:00:00 GMT";
    assert_eq!(wait(" 120 ", None), Some(120));
    assert_eq!(wait("Sun, 06 Nov 1994 12:01:30 GMT", Some(noon)), Some(90));
    assert_eq!(wait("Sun, 06 Nov 1994 11:00:00 GMT", Some(noon)), None, "it is over");
    assert_eq!(wait("Sun, 06 Nov 1994 12:01:30 GMT", None), None);
    assert_eq!(wait("-1", Some(noon)), None);
    assert_eq!(wait("soon", Some("today")), None);
}

fn bodies() -> impl Strategy<Value = Option<Vec<u8>>> {
    let shaped = (
        prop_oneof!["[a-z.]{0,12}", "eyJ[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,20}"],
        option::of("[A-Z_]{0,30}"),
        -1_i64..60,
        "(Token|User|Invalid|is locked|is not active|Refresh Token| ){0,6}",
    )
        .prop_map(|(token, scope, code, message)| {
            let scope = scope.map_or(String::new(), |scope| format!(r#""scope":"{scope}","#));
            format!(r#"{{{scope}"token":"{token}","errorCode":{code},"message":"{message}"}}"#).into_bytes()
        });
    option::of(prop_oneof![vec(any::<u8>(), 0..300), shaped])
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic_and_no_token_is_believed_that_should_not_be(
        status in prop_oneof![100_u16..600, proptest::strategy::Just(200), proptest::strategy::Just(401)],
        location in option::of(".*"), retry_after in option::of(".*"), date in option::of(".*"), body in bodies(),
    ) {
        let answer = Answer { status, location, retry_after, date, body };
        for result in [read_login(&answer).ok(), read_renewal(&answer).ok()].into_iter().flatten() {
            prop_assert!(status == 200);
            let body: serde_json::Value = serde_json::from_slice(answer.body.as_ref().unwrap()).unwrap();
            prop_assert!(body.get("scope").is_none_or(serde_json::Value::is_null));
            prop_assert!(body["token"] == result.token.jwt().expose());
            prop_assert!(result.token.jwt().expose().split('.').count() == 3);
            prop_assert!(result.token.life() > chrono::TimeDelta::zero());
        }
        if let Err(failure) = read_login(&answer) {
            prop_assert!(!failure.to_string().chars().any(char::is_control));
            prop_assert!(failure.to_string().len() < 1_500);
        }
    }
}
