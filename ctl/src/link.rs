//! A connection for the commands that keep asking: it is made again after the daemon was away.

use std::path::Path;
use std::time::Duration;

use tbtoken_proto::client::{Client, ClientError};
use tbtoken_proto::{ErrorCode, Refusal, Reply, Request};

/// A connection that outlives the daemon.
pub(crate) struct Link<'a> {
    socket: &'a Path,
    client: Option<Client>,
}

impl<'a> Link<'a> {
    /// Begins with a connection, or without one.
    pub(crate) fn new(socket: &'a Path, client: Option<Client>) -> Self {
        Self { socket, client }
    }

    /// Sends a request, over a new connection if the old one is lost. The request may be sent twice.
    ///
    /// # Errors
    /// Any [`ClientError`]. The next request begins with a new connection.
    pub(crate) fn ask<T: TryFrom<Reply>>(
        &mut self,
        request: &Request,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        if let Some(mut client) = self.client.take() {
            match client.ask_within(request, Some(timeout)) {
                Err(ClientError::Closed(_) | ClientError::Io { .. }) => {}
                // Another client got the place of this connection while it was idle.
                Err(ClientError::Refused(Refusal { code: ErrorCode::Busy, .. })) => {}
                answer => return self.keep(client, answer),
            }
        }
        let mut client = Client::connect(self.socket, timeout)?;
        let answer = client.ask(request);
        self.keep(client, answer)
    }

    /// Keeps the connection unless an error has made it unusable.
    fn keep<T>(&mut self, client: Client, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        self.client = answer.is_ok().then_some(client);
        answer
    }
}
