//! ThingsBoard's rules, pure: which users get a token, and what is checked in which order. The time is a parameter, so that
//! a simulation can use them as well.
//!
//! Read from ThingsBoard 4.4: `RestLoginProcessingFilter`, `RestAuthenticationProvider`, `DefaultSystemSecurityService`,
//! `RefreshTokenAuthenticationProvider`, `JwtTokenFactory`, `DefaultTokenOutdatingService`,
//! `ThingsboardErrorResponseHandler`.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::answer::{Answer, ErrorCode};
use super::user::Record;
use super::{SecondFactor, Settings, User, UserStats, jwt};
use crate::canary;

/// The users of one server and the rules of their logins.
#[derive(Debug)]
pub struct Directory {
    /// The settings, which may change at any time.
    pub settings: Settings,
    users: HashMap<String, Record>,
    key: u64,
    sessions: u64,
}

const ISSUER: &str = "thingsboard.io";
const INVALID_CREDENTIALS: &str = "Invalid username or password";
const AUTHENTICATION_FAILED: &str = "Authentication failed";
const NOT_ACTIVE: &str = "User account is not active";
const LOCKED: &str = "User account is locked due to security policy";

impl Directory {
    /// Makes an empty directory that signs with `key`.
    #[must_use]
    pub fn new(settings: Settings, key: u64) -> Self {
        Self { settings, users: HashMap::new(), key, sessions: 0 }
    }

    /// Adds a user, in the place of one with the same name.
    pub fn add(&mut self, user: User) {
        self.users.insert(user.name.clone(), Record::new(user));
    }

    /// Removes a user; its tokens no longer work.
    pub fn remove(&mut self, name: &str) {
        self.users.remove(name);
    }

    /// Whether there is such a user.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    /// The key that signs the tokens.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Returns the counters of a user; all zero for one that does not exist.
    #[must_use]
    pub fn stats(&self, name: &str) -> UserStats {
        let stats =
            |record: &Record| UserStats { failed_login_attempts: record.user.failed_logins, ..record.stats };
        self.users.get(name).map(stats).unwrap_or_default()
    }

    /// Finds the name of the user that a client means by this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&str> {
        let same = |known: &&String| known.to_lowercase() == name.to_lowercase();
        match self.users.get_key_value(name) {
            Some((known, _)) => Some(known),
            None if self.settings.is_case_sensitive => None,
            None => self.users.keys().find(same).map(String::as_str),
        }
    }

    /// Counts a login of this user before it is checked. Returns whether the user exists.
    pub fn count_attempt(&mut self, name: &str) -> bool {
        self.find_mut(name).map(|record| record.stats.attempts += 1).is_some()
    }

    fn find_mut(&mut self, name: &str) -> Option<&mut Record> {
        let name = self.find(name)?.to_owned();
        self.users.get_mut(&name)
    }

    /// Whether a user is enabled. An administrator, or too many wrong passwords, can disable it.
    #[must_use]
    pub fn is_enabled(&self, name: &str) -> bool {
        self.users.get(name).is_some_and(|record| record.user.enabled)
    }

    /// Whether a login has a right name and password, whatever else may be wrong. Counts nothing.
    #[must_use]
    pub fn is_right(&self, body: &[u8]) -> bool {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let known = request["username"].as_str().and_then(|name| self.find(name));
        known.is_some_and(|name| request["password"] == *self.users[name].user.password)
    }

    /// Restarts the server, which forgets which tokens are outdated.
    pub fn restart(&mut self) {
        self.users.values_mut().for_each(Record::forget_what_is_outdated);
    }

    /// Changes the key that signs the tokens; all earlier tokens stop working.
    pub fn change_signing_key(&mut self) {
        self.key += 1 << 20;
    }

    /// Changes a user, as an administrator: anything but its name.
    ///
    /// # Panics
    /// If there is no such user.
    pub fn administer(&mut self, name: &str, change: impl FnOnce(User) -> User) {
        let record = self.users.get_mut(name).unwrap_or_else(|| panic!("no user {name}"));
        record.user = change(record.user.clone());
    }

    /// Enables a user, as an administrator, which resets its counter of wrong passwords; or disables it, which outdates no
    /// token.
    ///
    /// # Panics
    /// If there is no such user.
    pub fn set_enabled(&mut self, name: &str, enabled: bool) {
        let record = self.users.get_mut(name).unwrap_or_else(|| panic!("no user {name}"));
        record.user.enabled = enabled;
        if enabled {
            record.user.failed_logins = 0;
        }
    }

    /// Sets another password, which outdates the tokens of all earlier seconds.
    ///
    /// # Panics
    /// If there is no such user, or the password contains no canary.
    pub fn set_password(&mut self, name: &str, password: &str, now: DateTime<Utc>) {
        self.administer(name, |user| User { password_expired: false, ..user.password(password) });
        self.users.get_mut(name).expect("it was just there").outdate(now.timestamp());
    }

    /// Ends all sessions of a user that began before this second.
    ///
    /// # Panics
    /// If there is no such user.
    pub fn end_sessions(&mut self, name: &str, now: DateTime<Utc>) {
        self.users.get_mut(name).unwrap_or_else(|| panic!("no user {name}")).outdate(now.timestamp());
    }

    /// Answers `POST /api/auth/login`.
    pub fn login(&mut self, body: &[u8], now: DateTime<Utc>) -> Answer {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let (Some(name), Some(password)) = (request["username"].as_str(), request["password"].as_str())
        else {
            return Answer::unauthorized(AUTHENTICATION_FAILED, now);
        };
        if name.trim().is_empty() || password.is_empty() {
            return Answer::unauthorized(AUTHENTICATION_FAILED, now);
        }
        // ThingsBoard checks the policy before it looks for the user.
        let policy = self.settings.password_policy;
        if policy.force_reset && !policy.allows(password) {
            let message =
                "The entered password violates our policies. If this is your real password, please reset it.";
            return Answer::error(401, ErrorCode::PasswordViolation, message, now);
        }
        let max_failed = self.settings.max_failed_logins;
        let checks_disabled = self.settings.checks_passwords_of_the_disabled;
        let Some(record) = self.find_mut(name) else {
            return Answer::unauthorized(INVALID_CREDENTIALS, now);
        };
        if !record.user.is_active() && !checks_disabled {
            return Answer::unauthorized(NOT_ACTIVE, now);
        }
        if record.user.password != password {
            let was_active = record.user.is_active();
            let is_too_many = record.count_wrong_password(max_failed) && was_active;
            let says = if is_too_many { LOCKED } else { INVALID_CREDENTIALS };
            return Answer::unauthorized(says, now);
        }
        if !record.user.is_active() {
            return Answer::unauthorized(NOT_ACTIVE, now);
        }
        record.user.failed_logins = 0;
        let known = record.user.name.clone();
        if record.user.password_expired {
            let mut answer =
                Answer::error(401, ErrorCode::CredentialsExpired, "User password expired!", now).value();
            answer["resetToken"] = format!("{}{}", canary::RESET, &record.id[..8]).into();
            return Answer::json(401, &answer);
        }
        match record.user.second_factor {
            Some(SecondFactor::Enabled) => self.half_a_login(&known, "PRE_VERIFICATION_TOKEN", now),
            Some(SecondFactor::Enforced) => self.half_a_login(&known, "MFA_CONFIGURATION_TOKEN", now),
            None => {
                record.stats.logins += 1;
                self.pair(&known, now)
            }
        }
    }

    /// Answers `POST /api/auth/token`. It checks neither the second factor nor the age of the password.
    pub fn renew(&mut self, body: &[u8], now: DateTime<Utc>) -> Answer {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(token) = request["refreshToken"].as_str().filter(|token| !token.trim().is_empty()) else {
            return Answer::unauthorized(AUTHENTICATION_FAILED, now);
        };
        let name = match self.check_refresh_token(token, now) {
            Ok(name) => name,
            Err(answer) => {
                let subject = jwt::peek(token).unwrap_or_default();
                if let Some(record) = subject["sub"].as_str().and_then(|name| self.users.get_mut(name)) {
                    record.stats.renewals_refused += 1;
                }
                return answer;
            }
        };
        if let Some(record) = self.users.get_mut(&name) {
            record.stats.renewals += 1;
        }
        self.pair(&name, now)
    }

    fn check_refresh_token(&self, token: &str, now: DateTime<Utc>) -> Result<String, Answer> {
        let claims = self.read(token, now)?;
        if claims["scopes"][0] != "REFRESH_TOKEN" {
            return Err(Answer::error(500, ErrorCode::General, "Invalid Refresh Token scope", now));
        }
        let (name, record) =
            self.owner(&claims).ok_or_else(|| Answer::unauthorized(INVALID_CREDENTIALS, now))?;
        if !record.user.is_active() {
            return Err(Answer::unauthorized(NOT_ACTIVE, now));
        }
        if outdated(record, &claims) {
            return Err(Answer::unauthorized("Token is outdated", now));
        }
        Ok(name)
    }

    /// Answers `GET /api/auth/user`: whether an access token is valid.
    #[must_use]
    pub fn whoami(&self, token: Option<&str>, now: DateTime<Utc>) -> Answer {
        match self.check_access_token(token, now) {
            Err(answer) => answer,
            Ok(name) => Answer::json(
                200,
                &json!({
                    "id": {"entityType": "USER", "id": self.users[&name].id},
                    "tenantId": {"entityType": "TENANT", "id": tenant()},
                    "email": name, "name": name, "authority": "TENANT_ADMIN",
                    "firstName": "Token", "lastName": "Keeper",
                }),
            ),
        }
    }

    /// Answers `POST /api/auth/logout`, which ends the session of the token.
    pub fn logout(&mut self, token: Option<&str>, now: DateTime<Utc>) -> Answer {
        let name = match self.check_access_token(token, now) {
            Ok(name) => name,
            Err(answer) => return answer,
        };
        let claims = token.and_then(jwt::peek).unwrap_or_default();
        let record = self.users.get_mut(&name).expect("the token was just checked");
        record.end_session(claims["sessionId"].as_str().unwrap_or_default(), now.timestamp());
        Answer { status: 200, content_type: "", headers: Vec::new(), body: Vec::new() }
    }

    /// Answers `POST /api/auth/changePassword`.
    pub fn change_password(&mut self, token: Option<&str>, body: &[u8], now: DateTime<Utc>) -> Answer {
        let name = match self.check_access_token(token, now) {
            Ok(name) => name,
            Err(answer) => return answer,
        };
        let bad = |message| Answer::error(400, ErrorCode::BadRequestParams, message, now);
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let new = request["newPassword"].as_str().unwrap_or_default();
        let old = &self.users[&name].user.password;
        if request["currentPassword"].as_str() != Some(old) {
            return bad("Current password doesn't match!");
        }
        if new == old {
            return bad("New password should be different from existing!");
        }
        if !self.settings.password_policy.allows(new) || !new.contains(canary::PASSWORD) {
            return bad("Password must conform to the password policy.");
        }
        self.set_password(&name, new, now);
        self.pair(&name, now)
    }

    /// Answers `GET /api/noauth/userPasswordPolicy`.
    #[must_use]
    pub fn policy(&self) -> Answer {
        let policy = self.settings.password_policy;
        Answer::json(
            200,
            &json!({
                "minimumLength": policy.minimum_length, "maximumLength": policy.maximum_length,
                "minimumUppercaseLetters": null, "minimumLowercaseLetters": null,
                "minimumDigits": policy.minimum_digits, "minimumSpecialCharacters": null,
                "allowWhitespaces": true, "forceUserToResetPasswordIfNotValid": policy.force_reset,
                "passwordExpirationPeriodDays": null, "passwordReuseFrequencyDays": null,
            }),
        )
    }

    fn check_access_token(&self, token: Option<&str>, now: DateTime<Utc>) -> Result<String, Answer> {
        let token = token.ok_or_else(|| Answer::unauthorized(AUTHENTICATION_FAILED, now))?;
        let claims = self.read(token, now)?;
        let (name, record) = self.owner(&claims).ok_or_else(|| token_expired(now))?;
        if claims["scopes"][0] != "TENANT_ADMIN" {
            let message = "You don't have permission to perform this operation!";
            return Err(Answer::error(403, ErrorCode::PermissionDenied, message, now));
        }
        if outdated(record, &claims) {
            return Err(token_expired(now));
        }
        Ok(name)
    }

    /// Reads the claims of a token of this server that has not ended. A token that another key has signed counts as expired.
    fn read(&self, token: &str, now: DateTime<Utc>) -> Result<Value, Answer> {
        let claims = jwt::verify(self.key, token).ok_or_else(|| match jwt::peek(token) {
            Some(_) => token_expired(now),
            None => Answer::unauthorized(INVALID_CREDENTIALS, now),
        })?;
        // As in jjwt, a token ends exactly at its `exp`, to the millisecond.
        let ends_at = claims["exp"].as_i64().unwrap_or_default() * 1000;
        if now.timestamp_millis() > ends_at {
            return Err(token_expired(now));
        }
        Ok(claims)
    }

    fn owner(&self, claims: &Value) -> Option<(String, &Record)> {
        let name = claims["sub"].as_str().unwrap_or_default();
        Some((name.to_owned(), self.users.get(name)?))
    }

    /// Makes a new pair of tokens in a new session.
    fn pair(&mut self, name: &str, now: DateTime<Utc>) -> Answer {
        let user = &self.users[name].user;
        let access_life = user.access_life.unwrap_or(self.settings.access_life);
        let refresh_life = user.refresh_life.unwrap_or(self.settings.refresh_life);
        let claims = self.claims(name, "TENANT_ADMIN", access_life, now);
        let token = jwt::mint(self.key, canary::TOKEN, &claims);
        let mut claims = self.claims(name, "REFRESH_TOKEN", refresh_life, now);
        claims["jti"] = jwt::uuid((self.key, self.sessions, "jti")).into();
        let refresh_token = jwt::mint(self.key, canary::REFRESH, &claims);
        self.sessions += 1;
        let pair = Answer::json(200, &json!({"token": token, "refreshToken": refresh_token}));
        Answer { content_type: "application/json;charset=ISO-8859-1", ..pair }
    }

    /// Makes the answer to a right password without the second factor: a token that gives no access.
    fn half_a_login(&mut self, name: &str, scope: &str, now: DateTime<Utc>) -> Answer {
        let claims = self.claims(name, scope, Duration::from_secs(30 * 60), now);
        self.sessions += 1;
        let token = jwt::mint(self.key, canary::TOKEN, &claims);
        Answer::json(200, &json!({"token": token, "scope": scope}))
    }

    fn claims(&self, name: &str, scope: &str, life: Duration, now: DateTime<Utc>) -> Value {
        let issued = now.timestamp();
        let life = i64::try_from(life.as_secs()).unwrap_or(i64::MAX / 2);
        let mut claims = json!({
            "sub": name,
            "userId": self.users[name].id,
            "scopes": [scope],
            "sessionId": jwt::uuid((self.key, self.sessions)),
            "exp": issued + life,
            "iss": ISSUER,
            "iat": issued,
        });
        if scope == "TENANT_ADMIN" {
            claims["firstName"] = "Token".into();
            claims["lastName"] = "Keeper".into();
            claims["enabled"] = true.into();
            claims["customerId"] = "13814000-1dd2-11b2-8080-808080808080".into();
        }
        if scope.ends_with("_TOKEN") && scope != "REFRESH_TOKEN" {
            claims["tenantId"] = tenant().into();
        } else {
            claims["isPublic"] = false.into();
            claims["tenantId"] = tenant().into();
        }
        claims
    }
}

fn tenant() -> String {
    jwt::uuid("the tenant")
}

fn token_expired(now: DateTime<Utc>) -> Answer {
    Answer::error(401, ErrorCode::JwtTokenExpired, "Token has expired", now)
}

fn outdated(record: &Record, claims: &Value) -> bool {
    let session = claims["sessionId"].as_str().unwrap_or_default();
    record.is_outdated(session, claims["iat"].as_i64().unwrap_or_default())
}
