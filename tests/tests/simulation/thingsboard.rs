//! The in-memory ThingsBoard, with the real one's rules (`AuthController`, `RestAuthenticationProvider`,
//! `RefreshTokenAuthenticationProvider`, `DefaultSystemSecurityService`). It counts a wrong password before it answers. The
//! fate of the answer, and of the daemon that waits for it, changes nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tbtokend::model::{Failure, UnexpectedAnswer};
use tbtokend::thingsboard::RefreshError;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, sleep};

use super::passwords::RowCredentials;
use super::world::{Behaviour, Loss, Reach, Session, Shared, World};

/// A request to a server.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// A login of a user.
    Password(RowCredentials),
    /// A renewal: the refresh token, and its login.
    RefreshToken(String, usize),
    /// A login of a user that does not exist.
    Probe,
    /// A question whether a token works. One that does is answered like a probe, and a dead one is refused.
    Check(String),
}

/// The content of a good answer.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) jwt: String,
    pub(crate) refresh_token: String,
    /// The time until which the token is worth saving.
    pub(crate) worth_until: Instant,
}

/// An answer, as a client understands it.
pub(crate) type Answer = Result<Granted, RefreshError>;

/// A request in the queue of a frozen server.
#[derive(Debug)]
pub(crate) struct Queued {
    request: Request,
    reply: oneshot::Sender<Answer>,
}

/// Sends a request to its server, which processes it even if no client waits for the answer.
pub(crate) async fn serve(world: Shared, server: usize, request: Request, reply: oneshot::Sender<Answer>) {
    let (behaviour, before, after) = world.lock().latencies(server);
    let slept = world.lock().slept;
    match behaviour {
        Behaviour::Refusing => {
            world.lock().count_trouble(server);
            sleep(Duration::from_millis(5)).await;
            let why = "connection refused".to_owned();
            let _ = reply.send(failed(Failure::Unreachable { why }));
            return;
        }
        // The client gets no answer.
        Behaviour::Silent => return world.lock().count_trouble(server),
        _ => sleep(before).await,
    }
    let Some((answer, reply)) = world.lock().take_request(server, request, reply) else { return };
    sleep(after).await;
    // Connections do not survive a suspension of the client's machine.
    if world.lock().slept == slept {
        let _ = reply.send(answer);
    }
}

fn failed(failure: Failure) -> Answer {
    Err(RefreshError::Failed(failure))
}

impl Loss {
    /// Returns what the client gets in place of the answer; `None` if nothing arrives.
    fn answer(self) -> Option<Answer> {
        let unexpected = |what| Failure::UnexpectedResponse(what);
        Some(failed(match self {
            Self::TimedOut => return None,
            Self::Closed => Failure::Interrupted { why: "connection closed".to_owned() },
            Self::Status(status) => Failure::ServerError { status, retry_after: None },
            Self::Limited => Failure::RateLimited { retry_after: None },
            Self::Forbidden => unexpected(UnexpectedAnswer::Status { status: 403 }),
            Self::NotFound => unexpected(UnexpectedAnswer::Status { status: 404 }),
            Self::Page => unexpected(UnexpectedAnswer::NotJson),
            Self::NoToken => unexpected(UnexpectedAnswer::NoToken),
            Self::TooLong => unexpected(UnexpectedAnswer::TooLong),
            Self::ProxyLogin => unexpected(UnexpectedAnswer::ProxyLogin),
            Self::Redirect => {
                unexpected(UnexpectedAnswer::Redirect { location: "http://elsewhere.example".to_owned() })
            }
        }))
    }

    /// Whether a client treats the server as down.
    pub(crate) fn is_trouble(self) -> bool {
        matches!(self, Self::TimedOut | Self::Closed | Self::Status(_) | Self::Limited)
    }
}

impl World {
    /// Returns the behaviour of a server, and the times until a request is processed and until it is answered.
    fn latencies(&mut self, server: usize) -> (Behaviour, Duration, Duration) {
        let behaviour = self.servers[server].behaviour;
        let total = match behaviour {
            Behaviour::Slow => self.rng.between(1_500, 6_000),
            Behaviour::Crawling => self.rng.between(5_000, 9_500),
            _ => self.rng.between(20, 200),
        };
        // The token is made when the request is processed, before the answer travels back.
        let before = total - self.rng.between(1, (total - 1).min(900));
        let ms = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        (behaviour, ms(before), ms(total - before))
    }

    /// Processes a request at its server. Returns the answer; `None` if the client gets none, or not yet.
    fn take_request(
        &mut self,
        server: usize,
        request: Request,
        reply: oneshot::Sender<Answer>,
    ) -> Option<(Answer, oneshot::Sender<Answer>)> {
        let behaviour = self.servers[server].behaviour;
        let answer = match behaviour {
            Behaviour::Refusing => failed(Failure::Interrupted { why: "reset".to_owned() }),
            Behaviour::Silent => return None,
            Behaviour::Frozen => {
                self.count_trouble(server);
                self.servers[server].frozen.push(Queued { request, reply });
                return None;
            }
            Behaviour::Limited(most, seconds) if self.is_over_limit(server, most) => {
                failed(Failure::RateLimited { retry_after: seconds.map(Duration::from_secs) })
            }
            Behaviour::Before(loss) => {
                if loss.is_trouble() {
                    self.count_trouble(server);
                }
                loss.answer()?
            }
            Behaviour::WithoutDatabase => {
                self.count_trouble(server);
                // Requests that need the database wait for it longer than a client does.
                let is_at_once = match &request {
                    Request::Probe => true,
                    Request::RefreshToken(..) | Request::Check(_) => false,
                    Request::Password(credentials) => !self.is_right_password(credentials),
                };
                is_at_once.then(|| failed(Failure::ServerError { status: 500, retry_after: None }))?
            }
            Behaviour::Lost(loss, reach) => {
                let is_lost = match (&request, reach) {
                    (_, Reach::All) | (Request::Password(_), _) => true,
                    (Request::Probe, Reach::Logins) => true,
                    (Request::Probe | Request::RefreshToken(..) | Request::Check(_), _) => false,
                };
                let answer = self.process(server, &request);
                if is_lost { loss.answer()? } else { answer }
            }
            Behaviour::Well | Behaviour::Slow | Behaviour::Crawling | Behaviour::Limited(..) => {
                self.process(server, &request)
            }
        };
        Some((answer, reply))
    }

    fn is_over_limit(&mut self, server: usize, most: u32) -> bool {
        let second = self.true_time().timestamp();
        let it = &mut self.servers[server];
        let counted = if it.second.0 == second { it.second.1 + 1 } else { 1 };
        it.second = (second, counted);
        if counted > most {
            self.audit.limited += 1;
            self.count_trouble(server);
        }
        counted > most
    }

    /// Thaws a server, which then processes every request that had arrived, even if its client has given up.
    pub(crate) fn thaw(&mut self, server: usize) {
        for Queued { request, reply } in std::mem::take(&mut self.servers[server].frozen) {
            let answer = self.process(server, &request);
            let _ = reply.send(answer);
        }
    }

    /// Processes a request as ThingsBoard does.
    fn process(&mut self, server: usize, request: &Request) -> Answer {
        match request {
            Request::Probe => failed(Failure::CredentialsRejected),
            Request::Check(token) => match self.is_dead(token) {
                true => Err(RefreshError::Rejected { is_outdated: false }),
                false => failed(Failure::CredentialsRejected),
            },
            Request::Password(credentials) => {
                self.audit.logins += 1;
                self.authenticate(credentials).map_err(RefreshError::Failed)?;
                Ok(self.grant(credentials))
            }
            Request::RefreshToken(token, login) => {
                self.audit.renewals += 1;
                self.renew(server, *login, token)
            }
        }
    }

    /// Whether ThingsBoard has a user of this name. By default case matters.
    pub(crate) fn is_user(&self, server: usize, login: usize, name: usize) -> bool {
        self.accounts.contains_key(&(server, login)) && (name == 0 || self.servers[server].ignores_case)
    }

    fn is_right_password(&self, credentials: &RowCredentials) -> bool {
        self.is_user(credentials.server, credentials.login, credentials.name)
            && self
                .accounts
                .get(&credentials.account())
                .is_some_and(|account| account.password == credentials.password)
    }

    /// Checks a login in the order of the real server. Older versions check the password first.
    fn authenticate(&mut self, credentials: &RowCredentials) -> Result<(), Failure> {
        if !self.is_user(credentials.server, credentials.login, credentials.name) {
            return Err(Failure::CredentialsRejected);
        }
        let Self { servers, accounts, .. } = self;
        let (server, account) =
            (&servers[credentials.server], accounts.get_mut(&credentials.account()).unwrap());
        if account.is_refused_by_policy {
            return Err(Failure::PasswordViolatesPolicy);
        }
        if !account.active && !server.is_old {
            return Err(Failure::AccountDisabled);
        }
        if account.password != credentials.password {
            let was_active = account.active;
            account.failures += 1;
            if was_active && server.lockout.is_some_and(|most| account.failures > most) {
                account.active = false;
                self.audit.locked += 1;
            }
            let is_locked = was_active && !account.active;
            self.count_wrong_password(credentials);
            return Err(if is_locked { Failure::AccountLocked } else { Failure::CredentialsRejected });
        }
        if !account.active {
            return Err(Failure::AccountDisabled);
        }
        account.failures = 0;
        let outcome = if account.is_expired {
            Err(Failure::PasswordExpired)
        } else if account.second_factor {
            Err(Failure::SecondFactorRequired)
        } else {
            Ok(())
        };
        self.reset_counter(credentials);
        outcome
    }

    fn renew(&mut self, server: usize, login: usize, token: &str) -> Answer {
        let now = self.server_time(server);
        let session = self.sessions.get(token).cloned();
        let session = session.filter(|session| {
            session.credentials.server == server
                && session.credentials.login == login
                && now < session.ends_at
        });
        let account = self.accounts.get(&(server, login));
        let (Some(session), Some(account)) = (session, account.filter(|account| account.active)) else {
            return Err(RefreshError::Rejected { is_outdated: false });
        };
        if session.issued_at < account.changed_at {
            self.note_refresh_token_outdated(&session.credentials);
            return Err(RefreshError::Rejected { is_outdated: true });
        }
        self.note_refresh_token_worked(&session.credentials);
        Ok(self.grant(&session.credentials))
    }

    fn grant(&mut self, credentials: &RowCredentials) -> Granted {
        let (server, login) = credentials.account();
        let serial = self.serial();
        let iat = self.server_time(server);
        let life = self.servers[server].life;
        let claims = format!(r#"{{"sub":"user{login}","jti":{serial},"iat":{iat},"exp":{}}}"#, iat + life);
        let jwt = format!("eyJhbGciOiJIUzUxMiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let refresh_token = format!("refresh-{login}-{serial}");
        let ends_at = iat + self.servers[server].refresh_life;
        let session = Session { credentials: credentials.clone(), issued_at: iat, ends_at };
        self.sessions.insert(refresh_token.clone(), session);
        let worth = self.declared_life.map_or(life, |most| most.min(life));
        // The engine cuts the expiry to whole seconds, and does not save the token after that.
        let worth_until = Instant::now() + Duration::from_secs(worth.unsigned_abs().saturating_sub(1));
        Granted { jwt, refresh_token, worth_until }
    }
}
