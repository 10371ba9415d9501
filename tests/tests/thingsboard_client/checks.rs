//! Checks of tokens: what each answer says, and that a token goes nowhere but to its own server.

use std::time::Duration;

use tbtoken_tests::thingsboard::{Behaviour, ThingsBoard, User};
use tbtokend::model::{BaseUrl, DeadCause, Secret, TokenAnswer};
use tbtokend::thingsboard::{Client, ClientSettings, Logins as _};

use crate::ground::{TIMEOUT, client, log_in_as, settings};

const NAME: &str = "ops@acme.example";

/// A server with a user, and a token of it.
async fn with_token(client: &Client) -> (ThingsBoard, BaseUrl, Secret) {
    let thingsboard = ThingsBoard::start();
    let account = thingsboard.add(User::new(NAME));
    let grant = log_in_as(client, &account, TIMEOUT).await.unwrap();
    let base = BaseUrl::parse(&account.url).unwrap();
    (thingsboard, base, grant.token.jwt().clone())
}

#[tokio::test]
async fn a_token_works_until_its_key_its_password_or_its_user_goes() {
    const EXPIRED: TokenAnswer = TokenAnswer::Dead(DeadCause::ExpiredEarly);
    let client = client();
    let (thingsboard, base, token) = with_token(&client).await;
    assert_eq!(client.check(&base, &token).await, TokenAnswer::Works);
    thingsboard.disable(NAME);
    assert_eq!(client.check(&base, &token).await, TokenAnswer::Works, "until it ends");
    thingsboard.change_settings(|settings| settings.skew = chrono::TimeDelta::seconds(2));
    thingsboard.end_sessions(NAME);
    assert_eq!(client.check(&base, &token).await, EXPIRED);
    thingsboard.restart();
    assert_eq!(client.check(&base, &token).await, TokenAnswer::Works, "it has forgotten what is outdated");
    thingsboard.change_signing_key();
    assert_eq!(client.check(&base, &token).await, EXPIRED);
    let (thingsboard, base, token) = with_token(&client).await;
    thingsboard.remove(NAME);
    assert_eq!(client.check(&base, &token).await, EXPIRED);
}

#[tokio::test]
async fn what_is_no_answer_of_thingsboard_says_nothing_and_no_token_follows_a_redirect() {
    let settings = ClientSettings { request_timeout: Duration::from_millis(300), ..settings() };
    let client = Client::new(&settings).unwrap();
    let elsewhere = ThingsBoard::start();
    let (thingsboard, base, token) = with_token(&self::client()).await;
    let to_there =
        |status| Behaviour::Redirect { status, location: format!("{}/api/auth/user", elsewhere.url()) };
    for (behaviour, expected) in [
        (to_there(301), TokenAnswer::Unclear),
        (to_there(302), TokenAnswer::Unclear),
        (to_there(307), TokenAnswer::Unclear),
        (to_there(308), TokenAnswer::Unclear),
        (Behaviour::CutsTokenHeader, TokenAnswer::Unclear),
        (Behaviour::ProxyUnauthorized, TokenAnswer::Unclear),
        (Behaviour::LoginPage, TokenAnswer::Unclear),
        (Behaviour::RateLimit { retry_after: None }, TokenAnswer::Unclear),
        (Behaviour::Garbage, TokenAnswer::Unclear),
        (Behaviour::DatabaseError, TokenAnswer::NoAnswer),
        (Behaviour::Silent, TokenAnswer::NoAnswer),
        (Behaviour::Reset, TokenAnswer::NoAnswer),
        (Behaviour::Refuse, TokenAnswer::NoAnswer),
    ] {
        thingsboard.set(behaviour.clone());
        assert_eq!(client.check(&base, &token).await, expected, "{behaviour:?}");
    }
    assert_eq!(elsewhere.stats().requests, 0);
    let odd = Secret::new("two\nlines");
    assert_eq!(client.check(&base, &odd).await, TokenAnswer::Unclear);
}
