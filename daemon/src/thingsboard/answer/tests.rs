//! Every row of the table "Answers that are not a token"; nothing else is accepted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any, prop_assert, prop_oneof, proptest};

use super::*;
use crate::model::NotAToken;

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        request_url: Url::parse("https://tb.example/prefix/api/auth/login").unwrap(),
        status,
        location: None,
        retry_after: None,
        date: None,
        encoding: None,
        body: Some(body.as_bytes().to_vec()),
    }
}

/// An error in ThingsBoard's form.
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
fn only_thingsboards_own_words_about_a_token_make_it_dead() {
    let user = r#"{"id":{"entityType":"USER","id":"x"},"email":"a@b.example","authority":"TENANT_ADMIN"}"#;
    let dead = TokenAnswer::Dead;
    for (answer, expected) in [
        (answer(200, user), TokenAnswer::Works),
        (error(401, 11, "Token has expired"), dead(DeadCause::ExpiredEarly)),
        (error(401, 10, "Token is outdated"), dead(DeadCause::Outdated)),
        (error(401, 10, "Authentication failed"), TokenAnswer::Unclear),
        (error(401, 10, "Invalid username or password"), TokenAnswer::Unclear),
        (error(401, 10, "User account is not active"), TokenAnswer::Unclear),
        (error(403, 20, "You don't have permission to perform this operation!"), TokenAnswer::Unclear),
        (error(429, 33, "Too many requests for current tenant!"), TokenAnswer::Unclear),
        (answer(401, "<html>Token has expired</html>"), TokenAnswer::Unclear),
        (Answer { body: None, ..answer(401, "") }, TokenAnswer::Unclear),
        (answer(200, "<html>Please log in</html>"), TokenAnswer::Unclear),
        (answer(200, "{}"), TokenAnswer::Unclear),
        (answer(302, ""), TokenAnswer::Unclear),
        (answer(404, ""), TokenAnswer::Unclear),
        (error(500, 46, "Database error"), TokenAnswer::NoAnswer),
        (answer(503, "<html>"), TokenAnswer::NoAnswer),
    ] {
        assert_eq!(read_check(&answer), expected, "{answer:?}");
    }
}

#[test]
fn every_row_of_the_table_gives_the_failure_that_it_names() {
    let unexpected = Failure::UnexpectedResponse;
    let compressed = |status| Answer { encoding: Some("gzip".into()), ..answer(status, "") };
    let server_error = |status| Failure::ServerError { status, retry_after: None };
    let policy =
        "The entered password violates our policies. If this is your real password, please reset it.";
    let expired = r#"{"status":401,"message":"User password expired!","errorCode":15,"resetToken":"secret"}"#;
    let useless = |scope: &str| format!(r#"{{"token":"{}","scope":"{scope}"}}"#, jwt(r#"{"iat":1,"exp":2}"#));
    let with_token = |token: &str| answer(200, &format!(r#"{{"token":"{token}","refreshToken":"r"}}"#));
    let rows = [
        (error(401, 10, "Invalid username or password"), Failure::CredentialsRejected, true),
        (error(401, 10, "Authentication failed"), Failure::AuthenticationFailed, true),
        (error(401, 10, "User account is not active"), Failure::AccountDisabled, true),
        (error(401, 10, "User account is locked due to security policy"), Failure::AccountLocked, true),
        (answer(401, expired), Failure::PasswordExpired, true),
        (error(401, 45, policy), Failure::PasswordViolatesPolicy, true),
        (answer(200, &useless("PRE_VERIFICATION_TOKEN")), Failure::SecondFactorRequired, true),
        (answer(200, &useless("MFA_CONFIGURATION_TOKEN")), Failure::SecondFactorRequired, true),
        // Not in ThingsBoard's words: from a proxy, perhaps after ThingsBoard has counted the login.
        (answer(401, "<html>proxy</html>"), unexpected(UnexpectedAnswer::ProxyLogin), false),
        (error(401, 99, "whatever comes"), unexpected(UnexpectedAnswer::ProxyLogin), false),
        (error(401, 10, "Token is outdated"), unexpected(UnexpectedAnswer::ProxyLogin), false),
        (Answer { body: None, ..answer(401, "") }, unexpected(UnexpectedAnswer::ProxyLogin), false),
        (compressed(200), unexpected(UnexpectedAnswer::Encoded), false),
        (compressed(401), unexpected(UnexpectedAnswer::Encoded), false),
        (answer(407, ""), unexpected(UnexpectedAnswer::ProxyAuthentication), false),
        (
            answer(400, "<html>400 The plain HTTP request was sent to HTTPS port</html>"),
            unexpected(UnexpectedAnswer::Tls),
            false,
        ),
        (
            answer(400, "Bad Request\r\nThis combination of host and port requires TLS.\r\n"),
            unexpected(UnexpectedAnswer::Tls),
            false,
        ),
        (
            error(429, 33, "Too many requests for current tenant!"),
            Failure::RateLimited { retry_after: None },
            false,
        ),
        (error(500, 46, "Database error"), server_error(500), false),
        (answer(503, "<html>"), server_error(503), false),
        (answer(308, ""), unexpected(UnexpectedAnswer::OwnRedirect), false),
        (answer(404, "<html>"), unexpected(UnexpectedAnswer::Status { status: 404 }), false),
        (answer(403, "{}"), unexpected(UnexpectedAnswer::Status { status: 403 }), false),
        (answer(204, ""), unexpected(UnexpectedAnswer::Status { status: 204 }), false),
        (answer(200, "<html>log in</html>"), unexpected(UnexpectedAnswer::NotJson), false),
        (answer(200, ""), unexpected(UnexpectedAnswer::NotJson), false),
        (answer(200, r#"{"refreshToken":"r"}"#), unexpected(UnexpectedAnswer::NoToken), false),
        (with_token("abc"), unexpected(UnexpectedAnswer::NotAToken(NotAToken::NotThreeParts)), false),
        (
            with_token(&jwt(r#"{"iat":5,"exp":5}"#)),
            unexpected(UnexpectedAnswer::NotAToken(NotAToken::EndsBeforeItBegins)),
            false,
        ),
        (Answer { body: None, ..answer(200, "") }, unexpected(UnexpectedAnswer::TooLong), false),
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
fn a_rejected_refresh_token_leads_to_a_login_and_a_server_in_trouble_does_not() {
    for (rejected, is_outdated) in [
        (error(401, 11, "Token has expired"), false),
        (error(401, 10, "Token is outdated"), true),
        (error(401, 10, "Invalid username or password"), false),
        (error(401, 10, "User account is not active"), false),
        (error(401, 10, "whatever comes"), false),
        (error(500, 2, "Invalid Refresh Token scope"), false),
        (answer(200, r#"{"token":"t","scope":"PRE_VERIFICATION_TOKEN"}"#), false),
    ] {
        assert_eq!(read_refresh(&rejected), Err(RefreshError::Rejected { is_outdated }), "{rejected:?}");
    }
    for not_thingsboard in [
        answer(404, ""),
        answer(200, "<html>"),
        answer(302, ""),
        answer(401, "<html>"),
        answer(401, "outdated"),
        error(401, 99, "Token is outdated"),
    ] {
        let Err(RefreshError::Failed(Failure::UnexpectedResponse(_))) = read_refresh(&not_thingsboard) else {
            panic!("a password for {not_thingsboard:?}");
        };
    }
    for status in [500, 502, 503] {
        let trouble = RefreshError::Failed(Failure::ServerError { status, retry_after: None });
        assert_eq!(read_refresh(&error(status, 46, "Database error")), Err(trouble));
    }
    // Of the general internal errors, only that one is about the token.
    for trouble in [
        error(500, 2, "null"),
        error(500, 46, "Invalid Refresh Token scope"),
        answer(500, r#"{"errorCode":2}"#),
        answer(500, "<html>Refresh Token</html>"),
    ] {
        let failure = RefreshError::Failed(Failure::ServerError { status: 500, retry_after: None });
        assert_eq!(read_refresh(&trouble), Err(failure), "{trouble:?}");
    }
    assert!(matches!(
        read_refresh(&error(429, 33, "Too many requests")),
        Err(RefreshError::Failed(Failure::RateLimited { .. }))
    ));
    assert!(read_refresh(&answer(200, &pair())).is_ok());
}

/// Only a rejection in ThingsBoard's own words, for whatever reason, shows that ThingsBoard works.
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
        (error(401, 10, "User account is not active"), "good"),
        (error(401, 15, "User password expired!"), "good"),
        (answer(403, ""), "no verdict"),
        (answer(404, ""), "no verdict"),
        (answer(302, ""), "no verdict"),
        (answer(200, "<html>"), "no verdict"),
        (answer(200, &pair()), "good"),
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
        let waits = [429, 503].map(|status| {
            let answer = Answer {
                retry_after: Some(retry_after.to_owned()),
                date: date.map(ToOwned::to_owned),
                ..answer(status, "")
            };
            read_login(&answer).unwrap_err().retry_after().map(|wait| wait.as_secs())
        });
        assert_eq!(waits[0], waits[1], "a proxy may send it with either");
        waits[0]
    };
    let noon = "Sun, 06 Nov 1994 12:00:00 GMT";
    assert_eq!(wait(" 120 ", None), Some(120));
    assert_eq!(wait("Sun, 06 Nov 1994 12:01:30 GMT", Some(noon)), Some(90));
    assert_eq!(wait("Sun, 06 Nov 1994 11:00:00 GMT", Some(noon)), None, "it is over");
    assert_eq!(wait("Sun, 06 Nov 1994 12:01:30 GMT", None), None);
    assert_eq!(wait("-1", Some(noon)), None);
    assert_eq!(wait("soon", Some("today")), None);
    assert_eq!(wait("1800", None), Some(1800));
    assert_eq!(wait("1801", None), Some(1800), "half an hour at most");
    assert_eq!(wait("Sun, 06 Nov 1994 15:00:00 GMT", Some(noon)), Some(1800));
}

#[test]
fn a_redirect_names_another_server_and_nothing_that_may_be_secret() {
    let says = |location: &str| {
        let answer = Answer { location: Some(location.to_owned()), ..answer(302, "") };
        let failure = read_login(&answer).unwrap_err();
        assert!(!failure.is_permanent(), "a maintenance page parks no customer");
        let text = failure.to_string();
        assert!(!text.contains("secret") && !text.contains('?'), "{text}");
        match failure {
            Failure::UnexpectedResponse(UnexpectedAnswer::Redirect { location }) => {
                assert!(
                    text.contains(&format!("redirects to {location}: put that URL into tb_url")),
                    "{text}"
                );
                Some(location)
            }
            Failure::UnexpectedResponse(UnexpectedAnswer::OwnRedirect) => None,
            other => panic!("{other:?}"),
        }
    };
    let to = |base: &str| Some(base.to_owned());
    // The base URL that works: without the paths that ThingsBoard and its pages add.
    assert_eq!(says("https://new.example/prefix/api/auth/login"), to("https://new.example/prefix"));
    assert_eq!(says("http://tb.example/prefix/login?next=secret"), to("http://tb.example/prefix"));
    assert_eq!(says("https://tb.example:8443/prefix/api/"), to("https://tb.example:8443/prefix"));
    assert_eq!(says("https://new.example/api/auth/login"), to("https://new.example"));
    for other in [
        "https://u:secret@sso.example/secret/api/auth/login?secret#secret",
        "https://sso.example/login/secret",
        "//sso.example/login;jsessionid=secret",
        "https://sso.example/reset/secret/x",
    ] {
        assert_eq!(says(other), to("https://sso.example"), "{other}");
    }
    for own in
        ["/maintenance.html", "/login?secret", "../secret", "", "https://tb.example/", "ftp://x/", "data:x"]
    {
        assert_eq!(says(own), None, "{own}");
    }
}

#[test]
fn a_probe_is_good_for_whatever_reason_thingsboard_rejects_its_user() {
    for good in [
        error(401, 10, "Invalid username or password"),
        error(401, 10, "Authentication failed"),
        error(401, 10, "User account is not active"),
        error(401, 45, "The entered password violates our policies."),
        answer(200, &pair()),
    ] {
        assert_eq!(read_probe(&good), Probe::Good, "{good:?}");
    }
    for bad in [error(500, 46, "Database error"), answer(502, "<html>"), answer(429, "")] {
        assert!(matches!(read_probe(&bad), Probe::Bad(_)), "{bad:?}");
    }
    for other in [answer(401, "<html>"), answer(403, "<html>"), answer(302, ""), answer(200, "<html>")] {
        assert!(matches!(read_probe(&other), Probe::NoVerdict(_)), "{other:?}");
    }
}

#[test]
fn a_refresh_token_above_the_limit_is_not_stored() {
    let token = jwt(r#"{"iat":1000,"exp":10000}"#);
    let kept = |length: usize| {
        let refresh_token = "r".repeat(length);
        let body = format!(r#"{{"token":"{token}","refreshToken":"{refresh_token}"}}"#);
        read_login(&answer(200, &body)).unwrap().refresh_token.is_some()
    };
    assert!(kept(8 * 1024));
    assert!(!kept(8 * 1024 + 1));
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
    fn no_answer_causes_a_panic_and_only_real_tokens_are_accepted(
        status in prop_oneof![100_u16..600, proptest::strategy::Just(200), proptest::strategy::Just(401)],
        location in option::of(".*"), retry_after in option::of(".*"), date in option::of(".*"), body in bodies(),
    ) {
        let answer = Answer { status, location, retry_after, date, body, ..answer(status, "") };
        for result in [read_login(&answer).ok(), read_refresh(&answer).ok()].into_iter().flatten() {
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
