//! The in-memory ThingsBoard, with the real one's rules (`AuthController`, `RestAuthenticationProvider`,
//! `RefreshTokenAuthenticationProvider`, `DefaultSystemSecurityService`).

use std::future::pending;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tbtokend::model::{BaseUrl, Credentials, Failure, Grant, Secret, Token};
use tbtokend::thingsboard::{Logins, NotRenewed};
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::stories::Says;
use super::world::{Mood, REQUEST_TIMEOUT, Session, Shared, World};

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
            Mood::Well | Mood::Slow | Mood::Crawling | Mood::Late | Mood::Limited(_) | Mood::Broken => {
                sleep(latency).await;
            }
        }
        let mut world = self.world.lock();
        let second = world.true_time().timestamp();
        let it = &mut world.hosts[host];
        match it.mood {
            Mood::Limited(most) => {
                let counted = if it.second.0 == second { it.second.1 + 1 } else { 1 };
                it.second = (second, counted);
                if counted > most {
                    world.audit.limited += 1;
                    world.count_trouble(host);
                    return Err(Failure::RateLimited { retry_after: None });
                }
                Ok(())
            }
            Mood::Broken => {
                world.count_trouble(host);
                Err(Failure::ServerError { status: 503 })
            }
            Mood::Refusing | Mood::Silent => Err(Failure::Unreachable { why: "reset".to_owned() }),
            Mood::Well | Mood::Slow | Mood::Crawling | Mood::Late => Ok(()),
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
        let reached = self.reach(host, login).await;
        if reached.is_ok() {
            let (result, is_late) = {
                let mut world = self.world.lock();
                world.audit.logins += 1;
                (world.authenticate(host, login, password), world.hosts[host].mood == Mood::Late)
            };
            if is_late {
                self.world.lock().audit.unheard += u64::from(result.is_err());
                sleep(REQUEST_TIMEOUT).await;
                heard.says = None;
                return Err(Failure::Timeout { after: REQUEST_TIMEOUT });
            }
            heard.says = None;
            let mut world = self.world.lock();
            return match result {
                Ok(()) => {
                    world.forgive(&says);
                    Ok(world.grant(self.daemon, host, login, password))
                }
                Err(failure) => {
                    world.refused(self.daemon, says, &failure);
                    Err(failure)
                }
            };
        }
        heard.says = None;
        reached.map(|()| unreachable!("it was reached"))
    }

    async fn refresh(&self, base: &BaseUrl, refresh_token: &str) -> Result<Grant, NotRenewed> {
        let host = host_of(base);
        let session = self.world.lock().sessions.get(refresh_token).cloned();
        let user: usize = refresh_token.split('-').nth(1).unwrap().parse().unwrap();
        self.reach(host, user).await.map_err(NotRenewed::Failed)?;
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
        if !account.active {
            return Err(Failure::AccountDisabled);
        }
        if account.password != password {
            account.failures += 1;
            if lockout.is_some_and(|most| account.failures > most) {
                account.active = false;
                return Err(Failure::AccountLocked);
            }
            return Err(Failure::CredentialsRejected);
        }
        account.failures = 0;
        if account.second_factor {
            return Err(Failure::SecondFactorRequired);
        }
        Ok(())
    }

    fn grant(&mut self, daemon: u32, host: usize, user: usize, password: &str) -> Grant {
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
        self.granted(daemon, user, host, jwt.clone(), worth_until);
        Grant { token: Token::parse(&jwt).unwrap(), refresh_token: Some(Secret::new(refresh_token)) }
    }
}
