//! Checks tokens of servers for which no renewal waits: reads them from the store, and checks one at a time at each server.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::sending::Ended;
use super::{Pass, Tools};
use crate::engine::checks::Check;
use crate::engine::event::Event;
use crate::model::{CustomerId, RowToken, Secret, TokenAnswer};
use crate::store::{Store, StoreError};
use crate::thingsboard::Logins;

/// A token to be checked.
#[derive(Debug)]
pub(super) struct TokenCheck {
    pub(super) check: Check,
    pub(super) token: Secret,
}

/// A call of the store that reads the tokens to be checked.
pub(super) type Fetching<'a> =
    Pin<Box<dyn Future<Output = (Vec<Check>, Result<Vec<RowToken>, StoreError>)> + Send + 'a>>;

impl<'a, S: Store, L: Logins> Pass<'a, S, L> {
    /// Begins to read the tokens to be checked, if there are any.
    pub(super) fn fetch_tokens(&self, checks: Vec<Check>) -> Option<Fetching<'a>> {
        let store = Arc::clone(&self.tools.store);
        (!checks.is_empty() && self.may_check()).then(|| {
            let fetching: Fetching<'a> = Box::pin(async move {
                let tokens = store.tokens(checks.iter().map(|check| check.id.clone()).collect()).await;
                (checks, tokens)
            });
            fetching
        })
    }

    /// Queues the tokens that were read. A token whose row has changed meanwhile is not sent. If they cannot be read, none is
    /// checked, and the next poll reports the error of the store.
    pub(super) fn tokens_fetched(&mut self, checks: Vec<Check>, tokens: Result<Vec<RowToken>, StoreError>) {
        let tokens = tokens.unwrap_or_default().into_iter();
        let mut tokens: HashMap<CustomerId, RowToken> =
            tokens.map(|token| (token.id.clone(), token)).collect();
        for check in checks {
            if let Some(row) = tokens.remove(&check.id)
                && *row.row_url == *check.row_url
                && row.username == check.username
            {
                self.queues.add_check(TokenCheck { check, token: row.token });
            }
        }
    }

    /// Whether the time for checks is not over.
    pub(super) fn may_check(&self) -> bool {
        !self.tools.abandon_checks.is_cancelled() && Instant::now() < self.tools.checks_until
    }

    /// Abandons the checks, because renewals or an operator come first.
    pub(super) async fn abandon_checks(&mut self) {
        self.checking = 0;
        for id in self.queues.abandon_checks(&mut self.gates) {
            self.report(Event::CheckAbandoned(id)).await;
        }
    }

    pub(super) async fn checked(&mut self, server: usize, id: CustomerId, answer: TokenAnswer) {
        self.checking -= 1;
        if let Some(gate) = self.queues.key(server).and_then(|key| self.gates.get_mut(key)) {
            // Its outcome says nothing about logins, because ThingsBoard limits other calls separately.
            gate.cancel();
        }
        self.queues.check_ended(server, answer);
        self.report(Event::Checked { id, answer }).await;
    }
}

/// Waits until the time for checks is over.
pub(super) async fn end_of_checks<S, L>(tools: &Tools<S, L>) {
    tokio::select! {
        biased;
        () = tools.abandon_checks.cancelled() => {}
        () = tools.stop.cancelled() => {}
        () = sleep_until(tools.checks_until) => {}
    }
}

/// Sends a token to its server, and waits for the answer.
pub(super) async fn check<L: Logins>(
    logins: &L,
    server: usize,
    TokenCheck { check, token }: TokenCheck,
) -> Ended {
    let answer = logins.check(&check.base, &token).await;
    Ended::Check { server, id: check.id, answer }
}
