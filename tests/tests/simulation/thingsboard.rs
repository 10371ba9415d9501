//! The in-memory ThingsBoard, with the real one's rules (`AuthController`, `RestAuthenticationProvider`,
//! `RefreshTokenAuthenticationProvider`, `DefaultSystemSecurityService`).

use std::future::pending;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tbtokend::model::{BaseUrl, Credentials, Failure, Grant, Secret, Token, Unexpected};
use tbtokend::thingsboard::{Logins, NotRenewed};
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::audit::SHORT;
use super::stories::Says;
use super::world::{Mood, Oddity, REQUEST_TIMEOUT, Session, Shared, World};

/// One daemon's way to all servers.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) world: Shared,
    /// The number of the daemon.
    pub(crate) daemon: u32,
    /// The daemon was killed: whatever it does from then on does not happen.
    pub(crate) killed: CancellationToken,
}

/// A password on its way: if its daemon ends before the answer, in good order, that is noted.
struct Heard<'a> {
    servers: &'a Servers,
    says: Option<Says>,
}

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        if let Some(says) = self.says.take().filter(|_| !self.servers.killed.is_cancelled()) {
            self.servers.world.lock().abandoned(says);
        }
    }
}

impl Servers {
    /// Takes the request to the server; brings what keeps it from answering itself, or else how it is answered.
    async fn reach(&self, host: usize, user: usize) -> Result<(), Failure> {
        let (mood, latency) = {
            let mut world = self.world.lock();
            world.count_request(host, user);
            let mood = world.hosts[host].mood;
            let ms = match mood {
                Mood::Slow => world.dice.between(1_500, 6_000),
                Mood::Crawling => world.dice.between(5_000, 9_500),
                _ => world.dice.between(20, 200),
            };
            (mood, Duration::from_millis(ms.unsigned_abs()))
        };
        match mood {
            Mood::Refusing => {
                self.world.lock().count_trouble(host);
                sleep(Duration::from_millis(5)).await;
                return Err(Failure::Unreachable { why: "connection refused".to_owned() });
            }
            Mood::Silent => {
                self.world.lock().count_trouble(host);
                sleep(REQUEST_TIMEOUT).await;
                return Err(Failure::Timeout { after: REQUEST_TIMEOUT });
            }
            Mood::Well
            | Mood::Slow
            | Mood::Crawling
            | Mood::Late
            | Mood::LatePasswords
            | Mood::Limited(..)
            | Mood::Odd(_)
            | Mood::Broken => sleep(latency).await,
        }
        let mut world = self.world.lock();
        let second = world.true_time().timestamp();
        let it = &mut world.hosts[host];
        match it.mood {
            Mood::Limited(most, seconds) => {
                let counted = if it.second.0 == second { it.second.1 + 1 } else { 1 };
                it.second = (second, counted);
                if counted > most {
                    world.audit.limited += 1;
                    world.count_trouble(host);
                    return Err(Failure::RateLimited { retry_after: seconds.map(Duration::from_secs) });
                }
                Ok(())
            }
            Mood::Broken => {
                world.count_trouble(host);
                Err(Failure::ServerError { status: 503 })
            }
            Mood::Refusing | Mood::Silent => Err(Failure::Unreachable { why: "reset".to_owned() }),
            Mood::Odd(oddity) => Err(Failure::UnexpectedResponse(says(oddity))),
            Mood::Well | Mood::Slow | Mood::Crawling | Mood::Late | Mood::LatePasswords => Ok(()),
        }
    }

    async fn alive<T>(&self, call: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.killed.cancelled() => pending().await,
            result = call => result,
        }
    }

    async fn log_in(&self, base: &BaseUrl, credentials: &Credentials) -> Result<Grant, Failure> {
        let host = host_of(base);
        let login = credentials.username.strip_prefix("user").unwrap().parse().unwrap();
        let password = credentials.password.expose();
        let says: Says = (host, login, password.to_owned());
        self.world.lock().sends(&says);
        let mut heard = Heard { servers: self, says: Some(says.clone()) };
        let result = self.answer_to_password(host, login, &says).await;
        heard.says = None;
        let mut world = self.world.lock();
        match &result {
            Ok(_) => world.failing.remove(&(host, login)).map_or((), drop),
            Err(failure) => {
                world.failed(self.daemon, host, login, failure, true);
                if failure.is_permanent() {
                    world.refused(self.daemon, says, failure);
                }
            }
        }
        self.heard_of(&mut world, host, result.as_ref().err());
        result
    }

    /// That a server answers, whatever it says, is news for everyone who waits for it.
    fn heard_of(&self, world: &mut World, host: usize, failure: Option<&Failure>) {
        if !matches!(failure, Some(Failure::Unreachable { .. } | Failure::Timeout { .. })) {
            world.answered(host);
        }
    }

    async fn answer_to_password(&self, host: usize, login: usize, says: &Says) -> Result<Grant, Failure> {
        self.reach(host, login).await?;
        let (result, mood) = {
            let mut world = self.world.lock();
            world.audit.logins += 1;
            (world.authenticate(host, login, &says.2), world.hosts[host].mood)
        };
        if matches!(mood, Mood::Late | Mood::LatePasswords) {
            // What is right about the account is no wrong password.
            if matches!(result, Err(Failure::CredentialsRejected | Failure::AccountLocked)) {
                self.world.lock().not_heard(says);
            }
            sleep(REQUEST_TIMEOUT).await;
            return Err(Failure::Timeout { after: REQUEST_TIMEOUT });
        }
        result?;
        let mut world = self.world.lock();
        if world.was_refused(says) {
            // Somebody named one of them, or it was thought of as another story.
            world.saying(says).into_iter().for_each(|user| world.excuse_for(user, SHORT));
        }
        world.forget(says);
        Ok(world.grant(self.daemon, host, login, &says.2))
    }

    async fn refresh(&self, base: &BaseUrl, refresh_token: &str) -> Result<Grant, NotRenewed> {
        let host = host_of(base);
        let user: usize = refresh_token.split('-').nth(1).unwrap().parse().unwrap();
        let result = self.answer_to_refresh_token(host, user, refresh_token).await;
        let mut world = self.world.lock();
        let failure = match &result {
            Ok(_) => {
                world.failing.remove(&(host, user));
                None
            }
            Err(NotRenewed::Refused) => None,
            Err(NotRenewed::Failed(failure)) => {
                world.failed(self.daemon, host, user, failure, false);
                Some(failure)
            }
        };
        self.heard_of(&mut world, host, failure);
        result
    }

    async fn answer_to_refresh_token(
        &self,
        host: usize,
        user: usize,
        refresh_token: &str,
    ) -> Result<Grant, NotRenewed> {
        let session = self.world.lock().sessions.get(refresh_token).cloned();
        self.reach(host, user).await.map_err(|failure| match failure {
            // Whatever is odd about it, the password is asked next.
            Failure::UnexpectedResponse(_) => NotRenewed::Refused,
            failure => NotRenewed::Failed(failure),
        })?;
        let is_late = {
            let mut world = self.world.lock();
            world.audit.renewals += 1;
            world.check_refresh_token(host, refresh_token);
            world.hosts[host].mood == Mood::Late
        };
        if is_late {
            sleep(REQUEST_TIMEOUT).await;
            return Err(NotRenewed::Failed(Failure::Timeout { after: REQUEST_TIMEOUT }));
        }
        let mut world = self.world.lock();
        let now = world.host_time(host);
        let account = world.accounts.get(&(host, user));
        let is_good = session.as_ref().is_some_and(|session| {
            session.host == host
                && session.user == user
                && now < session.ends_at
                && world.sessions.contains_key(refresh_token)
                && account.is_some_and(|account| account.active && session.issued_at >= account.changed_at)
        });
        match session.filter(|_| is_good) {
            Some(Session { password, .. }) => {
                if world.setup.daemons > 1 {
                    // One daemon was refused, the other gets tokens all the same: a second factor, say, does not end
                    // sessions. That the first one then tries again is right.
                    world.forgive(&(host, user, password.clone()));
                }
                Ok(world.grant(self.daemon, host, user, &password))
            }
            None => Err(NotRenewed::Refused),
        }
    }
}

impl Logins for Servers {
    async fn login(&self, base: &BaseUrl, credentials: &Credentials) -> Result<Grant, Failure> {
        self.alive(self.log_in(base, credentials)).await
    }

    async fn renew(&self, base: &BaseUrl, refresh_token: &Secret) -> Result<Grant, NotRenewed> {
        self.alive(self.refresh(base, refresh_token.expose())).await
    }
}

fn says(oddity: Oddity) -> Unexpected {
    match oddity {
        Oddity::NotFound => Unexpected::Status { status: 404 },
        Oddity::Page => Unexpected::NotJson,
        Oddity::NoToken => Unexpected::NoToken,
        Oddity::Redirect => Unexpected::Redirect { location: "http://elsewhere.example".to_owned() },
    }
}

fn host_of(base: &BaseUrl) -> usize {
    let url = base.endpoint("");
    let name = url.host_str().unwrap();
    name.strip_prefix("host").and_then(|name| name.strip_suffix(".example")).unwrap().parse().unwrap()
}

impl World {
    /// A login, in the order in which the real server looks at things.
    fn authenticate(&mut self, host: usize, user: usize, password: &str) -> Result<(), Failure> {
        let lockout = self.hosts[host].lockout;
        let Some(account) = self.accounts.get_mut(&(host, user)) else {
            return Err(Failure::CredentialsRejected);
        };
        if account.is_refused_by_policy {
            return Err(Failure::PasswordViolatesPolicy);
        }
        if !account.active {
            return Err(Failure::AccountDisabled);
        }
        if account.password != password {
            account.failures += 1;
            if lockout.is_some_and(|most| account.failures > most) {
                account.active = false;
                self.audit.locked += 1;
                return Err(Failure::AccountLocked);
            }
            return Err(Failure::CredentialsRejected);
        }
        account.failures = 0;
        if account.is_expired {
            return Err(Failure::PasswordExpired);
        }
        if account.second_factor {
            return Err(Failure::SecondFactorRequired);
        }
        Ok(())
    }

    fn grant(&mut self, daemon: u32, host: usize, user: usize, password: &str) -> Grant {
        self.accepted.insert((host, user, password.to_owned()));
        let serial = self.serial();
        let iat = self.host_time(host);
        let life = self.hosts[host].life;
        let claims = format!(r#"{{"sub":"user{user}","jti":{serial},"iat":{iat},"exp":{}}}"#, iat + life);
        let jwt = format!("eyJhbGciOiJIUzUxMiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let refresh_token = format!("refresh-{user}-{serial}");
        let session = Session {
            host,
            user,
            password: password.to_owned(),
            issued_at: iat,
            ends_at: iat + self.hosts[host].refresh_life,
        };
        self.sessions.insert(refresh_token.clone(), session);
        let worth = self.declared_life.map_or(life, |most| most.min(life));
        // The expiry that the engine writes is cut to whole seconds; from then on the token is worth nothing to it.
        let worth_until = Instant::now() + Duration::from_secs(worth.unsigned_abs().saturating_sub(1));
        self.granted(daemon, host, user, jwt.clone(), worth_until);
        Grant { token: Token::parse(&jwt).unwrap(), refresh_token: Some(Secret::new(refresh_token)) }
    }
}
