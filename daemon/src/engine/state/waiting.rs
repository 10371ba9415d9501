//! Ends the waits of customers for a server that answers again.

use chrono::{DateTime, Utc};

use super::State;
use crate::model::FailureKind;

impl State {
    /// Ends the waits for servers that answer again, if the server was not reached or the customer has a refresh token. After a
    /// password without an answer, or an overload, a customer waits as many intervals as it has failed.
    pub(super) fn end_waits(&mut self, at: DateTime<Utc>) {
        let recovered = std::mem::take(&mut self.recovered);
        if recovered.is_empty() {
            return;
        }
        let interval = self.policy.interval;
        self.customers.edit_all(at, |edit| {
            let since = edit.server.as_ref().and_then(|server| recovered.get(server));
            let Some(failure) = edit.record().failure.as_deref().filter(|failure| !failure.permanent) else {
                return;
            };
            let (Some(until), Some(since)) = (failure.next_attempt_at, since) else { return };
            let failed_at = edit.waits_since(failure);
            let next = match failure.kind {
                FailureKind::Unreachable => failed_at,
                FailureKind::Timeout if edit.usable_refresh_token().is_some() => failed_at,
                FailureKind::Timeout | FailureKind::ServerError | FailureKind::UnexpectedResponse => {
                    failed_at + interval * i32::try_from(failure.consecutive).unwrap_or(i32::MAX)
                }
                _ => return,
            };
            if failure.at <= *since
                && next < until
                && let Some(failure) = &mut edit.record_mut().failure
            {
                failure.next_attempt_at = Some(next).filter(|next| *next > at);
            }
        });
    }
}
