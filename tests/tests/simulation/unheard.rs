//! Wrong passwords that a server counts while nobody hears its answer. By the contract a time-out is tried again, so more
//! than one is sent; but no more than a back-off that doubles lets through, or the account would be locked by waiting.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::stories::Says;
use super::world::World;

/// One wrong password whose answers come too late.
#[derive(Debug)]
pub(crate) struct Unheard {
    since: Instant,
    sent: u32,
    /// So many more may be sent: operators asked, or a daemon ended before its record was durable.
    leave: u32,
}

/// All of them, while some row says so.
pub(crate) type AllUnheard = BTreeMap<Says, Unheard>;

/// The back-off doubles from a minute to half an hour, each ±20 %.
const LONGEST_MINUTES: f64 = 24.0;

impl Unheard {
    /// How often it may have been sent by now: three times to save a token of a minute, and then ever later.
    fn most(&self) -> u32 {
        let minutes = self.since.elapsed().as_secs_f64() / 60.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a day has few minutes")]
        let by_backoff = (3.0 + (1.0 + minutes).log2() + minutes / LONGEST_MINUTES) as u32;
        by_backoff + self.leave
    }
}

impl World {
    /// A server has counted a wrong password, and its answer comes too late.
    pub(crate) fn not_heard(&mut self, says: &Says) {
        self.audit.unheard += 1;
        let Some(user) = self.saying(says).first().copied() else { return };
        let daemons = self.setup.daemons;
        let it = self.unheard.entry(says.clone()).or_insert_with(|| Unheard {
            since: Instant::now(),
            sent: 0,
            leave: 0,
        });
        it.sent += 1;
        let (sent, most, since) = (it.sent, it.most() * daemons, it.since.elapsed());
        self.audit.unheard_most = self.audit.unheard_most.max(sent);
        if sent == most + 1 {
            let what = format!(
                "its wrong password was counted {sent} times in {since:?} by a server whose answer nobody heard"
            );
            self.violation("2", user, &what);
        }
    }

    /// Whoever waits may be tried once more.
    pub(crate) fn one_more_may_be_sent(&mut self) {
        for it in self.unheard.values_mut() {
            it.leave += 1;
        }
    }
}
