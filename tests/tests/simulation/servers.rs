//! The connection of one daemon to all servers: the requests and the answers.

use std::future::pending;

use tbtokend::model::{BaseUrl, Credentials, DeadCause, Failure, Grant, Secret, Token, TokenAnswer};
use tbtokend::thingsboard::{Logins, Probe, RefreshError};
use tokio::sync::oneshot;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use super::checks::CheckInFlight;
use super::passwords::RowCredentials;
use super::thingsboard::{Answer, Granted, Request, serve};
use super::world::{NAMES, OTHER_PORT, REQUEST_TIMEOUT, Shared, World};

/// How long the client waits for the answer to a check.
const LONGEST_CHECK: Duration = Duration::from_secs(5);

/// The connection of one daemon to all servers.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) world: Shared,
    /// The number of the daemon.
    pub(crate) daemon: u32,
    /// Cancelled when the daemon is killed: then it sends and receives nothing more.
    pub(crate) killed: CancellationToken,
}

/// A password in flight, until its daemon stops waiting for the answer.
struct Flight<'a> {
    servers: &'a Servers,
    credentials: RowCredentials,
    number: u64,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        // A killed daemon ends nothing in good order.
        if !self.servers.killed.is_cancelled() {
            self.servers.world.lock().end_flight(self.credentials.account(), self.number);
        }
    }
}

impl Servers {
    async fn alive<T>(&self, call: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.killed.cancelled() => pending().await,
            result = call => result,
        }
    }

    async fn ask(&self, server: usize, request: Request, within: Duration) -> Answer {
        let (reply, answer) = oneshot::channel();
        tokio::spawn(serve(self.world.clone(), server, request, reply));
        let answer = async {
            match answer.await {
                Ok(answer) => answer,
                Err(_) => pending().await,
            }
        };
        let failure = Failure::Timeout { after: within };
        timeout(within, answer).await.unwrap_or(Err(RefreshError::Failed(failure)))
    }

    async fn log_in(
        &self,
        server: usize,
        credentials: RowCredentials,
        within: Duration,
    ) -> Result<Grant, Failure> {
        let number = {
            let mut world = self.world.lock();
            world.count_request(server, credentials.login);
            world.begin_send(self.daemon, &credentials, within)
        };
        let flight = Flight { servers: self, credentials: credentials.clone(), number };
        let answer =
            self.ask(server, Request::Password(credentials.clone()), within.min(REQUEST_TIMEOUT)).await;
        drop(flight);
        let mut world = self.world.lock();
        let result = match answer {
            Ok(granted) => Ok(world.take(self.daemon, &credentials, granted)),
            Err(RefreshError::Failed(failure)) => Err(failure),
            Err(RefreshError::Rejected { .. }) => unreachable!("no answer to a password"),
        };
        world.note_password_outcome(self.daemon, &credentials, result.as_ref().err());
        match &result {
            Ok(_) => world.failing.remove(&credentials.account()).map_or((), drop),
            Err(failure) => world.note_failure(self.daemon, server, credentials.login, failure),
        }
        note_answer(&mut world, server, result.as_ref().err());
        result
    }

    async fn answer_refresh(&self, server: usize, refresh_token: &str) -> Result<Grant, RefreshError> {
        let login: usize = refresh_token.split('-').nth(1).unwrap().parse().unwrap();
        let credentials = {
            let mut world = self.world.lock();
            world.count_request(server, login);
            world.check_refresh_token(server, refresh_token);
            world.sessions.get(refresh_token).map(|session| session.credentials.clone())
        };
        let request = Request::RefreshToken(refresh_token.to_owned(), login);
        let answer = self.ask(server, request, REQUEST_TIMEOUT).await;
        let mut world = self.world.lock();
        let result = answer.map(|granted| {
            let credentials = credentials.expect("a token of no session works nowhere");
            world.take(self.daemon, &credentials, granted)
        });
        let failure = match &result {
            Ok(_) => {
                world.failing.remove(&(server, login));
                None
            }
            Err(RefreshError::Rejected { .. }) => None,
            Err(RefreshError::Failed(failure)) => {
                world.note_failure(self.daemon, server, login, failure);
                Some(failure)
            }
        };
        note_answer(&mut world, server, failure);
        result
    }

    async fn check_token(&self, server: usize, port: bool, token: &str) -> TokenAnswer {
        self.world.lock().asked_about(server, token);
        let _in_flight = CheckInFlight::begin(&self.world, (self.daemon, server, port));
        let answer = match self.ask(server, Request::Check(token.to_owned()), LONGEST_CHECK).await {
            Err(RefreshError::Failed(Failure::CredentialsRejected)) => TokenAnswer::Works,
            Err(RefreshError::Rejected { .. }) => TokenAnswer::Dead(DeadCause::ExpiredEarly),
            Err(RefreshError::Failed(Failure::UnexpectedResponse(_) | Failure::RateLimited { .. })) => {
                TokenAnswer::Unclear
            }
            Err(RefreshError::Failed(_)) => TokenAnswer::NoAnswer,
            Ok(_) => unreachable!("no answer to a check"),
        };
        let mut world = self.world.lock();
        world.note_check((self.daemon, server, port), answer);
        let row = world.rows.iter().find(|(_, row)| row.token.as_deref() == Some(token));
        world.log_for_server(server, || {
            format!("says of the token of row {:?}: {answer:?}", row.map(|(user, _)| user))
        });
        answer
    }

    async fn try_out(&self, server: usize) -> Probe {
        self.world.lock().audit.probes += 1;
        let probe = match self.ask(server, Request::Probe, REQUEST_TIMEOUT).await {
            Err(RefreshError::Failed(Failure::CredentialsRejected)) => Probe::Good,
            Err(RefreshError::Failed(failure @ Failure::UnexpectedResponse(_))) => Probe::NoVerdict(failure),
            Err(RefreshError::Failed(failure)) => Probe::Bad(failure),
            Ok(_) | Err(RefreshError::Rejected { .. }) => unreachable!("no answer to a probe"),
        };
        let mut world = self.world.lock();
        world.log_for_server(server, || format!("is probed: {probe:?}"));
        if probe == Probe::Good {
            world.note_server_answer(server);
        }
        probe
    }
}

/// Notes that a server answered, which ends the wait of all its customers, whatever the answer was.
fn note_answer(world: &mut World, server: usize, failure: Option<&Failure>) {
    let is_trouble = matches!(
        failure,
        Some(
            Failure::Unreachable { .. }
                | Failure::Interrupted { .. }
                | Failure::Timeout { .. }
                | Failure::ServerError { .. }
                | Failure::RateLimited { .. }
                | Failure::UnexpectedResponse(_)
        )
    );
    if !is_trouble {
        world.note_server_answer(server);
    }
}

impl Logins for Servers {
    async fn login(
        &self,
        base: &BaseUrl,
        credentials: &Credentials,
        within: Duration,
    ) -> Result<Grant, Failure> {
        let (server, port) = server_of(base);
        let name = &*credentials.username;
        let spelling = NAMES.iter().position(|spelling| name.starts_with(spelling)).unwrap();
        let login = name.trim_start_matches(|c: char| c.is_alphabetic()).parse().unwrap();
        let password = credentials.password.expose().to_owned();
        self.alive(self.log_in(
            server,
            RowCredentials { server, port, login, name: spelling, password },
            within,
        ))
        .await
    }

    async fn refresh(&self, base: &BaseUrl, refresh_token: &Secret) -> Result<Grant, RefreshError> {
        self.alive(self.answer_refresh(server_of(base).0, refresh_token.expose())).await
    }

    async fn probe(&self, base: &BaseUrl) -> Probe {
        self.alive(self.try_out(server_of(base).0)).await
    }

    async fn check(&self, base: &BaseUrl, token: &Secret) -> TokenAnswer {
        let (server, port) = server_of(base);
        self.alive(self.check_token(server, port, token.expose())).await
    }
}

/// Returns the number of the server, and whether the URL has its other port.
fn server_of(base: &BaseUrl) -> (usize, bool) {
    let url = base.endpoint("");
    let name = url.host_str().unwrap();
    let server = name.strip_prefix("server").and_then(|name| name.strip_suffix(".example"));
    (server.unwrap().parse().unwrap(), url.port() == Some(OTHER_PORT))
}

impl World {
    /// Gives a daemon its token.
    fn take(&mut self, daemon: u32, credentials: &RowCredentials, granted: Granted) -> Grant {
        let Granted { jwt, refresh_token, worth_until } = granted;
        let token = Token::parse(&jwt).unwrap();
        self.note_renewal(credentials.account());
        self.note_token(daemon, credentials.server, credentials.login, jwt, worth_until);
        Grant { token, refresh_token: Some(Secret::new(refresh_token)) }
    }
}
