//! A connection for commands that go on: it is made anew when the daemon has been away.

use std::path::Path;
use std::time::Duration;

use tbtoken_proto::client::{Client, ClientError};
use tbtoken_proto::{ErrorCode, Refusal, Reply, Request};

/// A connection that survives the daemon.
pub(crate) struct Link<'a> {
    socket: &'a Path,
    client: Option<Client>,
}

impl<'a> Link<'a> {
    /// Begins with a connection, or without one.
    pub(crate) fn new(socket: &'a Path, client: Option<Client>) -> Self {
        Self { socket, client }
    }

    /// Asks, over a new connection if the old one is of no use any more. Only for questions that may be asked twice.
    ///
    /// # Errors
    /// What the daemon or the connection says. The next question begins with a new connection.
    pub(crate) fn ask(&mut self, request: &Request, timeout: Duration) -> Result<Reply, ClientError> {
        if let Some(client) = &mut self.client {
            match client.send_within(request, Some(timeout)) {
                Err(ClientError::Closed(_) | ClientError::Io { .. }) => self.client = None,
                // Another client has got the place of this connection, which was idle.
                Err(ClientError::Refused(Refusal { code: ErrorCode::Busy, .. })) => self.client = None,
                answer => return self.heed(answer),
            }
        }
        let answer = match Client::connect(self.socket, timeout) {
            Ok(client) => self.client.insert(client).send(request),
            Err(error) => Err(error),
        };
        self.heed(answer)
    }

    /// After all errors but a refusal the connection is of no use, and after some refusals it is closed.
    fn heed(&mut self, answer: Result<Reply, ClientError>) -> Result<Reply, ClientError> {
        if answer.is_err() {
            self.client = None;
        }
        answer
    }
}
