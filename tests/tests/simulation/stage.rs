//! The parts that all simulations share: a daemon with the usual settings, and a clock that advances only when all tasks wait.

use chrono::TimeDelta;
use tbtokend::engine::pass::{Limits, budget};
use tbtokend::engine::policy::Policy;
use tbtokend::engine::scheduler::Parts;
use tbtokend::model::{Lifetime, VerifyTokens};

use super::world::{REQUEST_TIMEOUT, Shared};

/// Makes the usual daemon with this store and these servers.
pub(crate) fn parts<S, L>(world: &Shared, store: S, logins: L) -> Parts<S, L> {
    Parts {
        store,
        logins,
        clock: world.clock(),
        policy: Policy {
            interval: TimeDelta::seconds(60),
            window: TimeDelta::minutes(5),
            lifetime: Lifetime::Jwt,
            require_https: false,
            wrong_password_budget: 3,
            verify_tokens: VerifyTokens::Sample,
        },
        limits: Limits {
            in_flight: 512,
            per_server: 64,
            budget: budget(REQUEST_TIMEOUT),
            request_timeout: REQUEST_TIMEOUT,
        },
        autostart: true,
        config_file: None,
        seed: 1,
        name: "daemon".into(),
    }
}

/// Runs a future on tokio's paused clock.
pub(crate) fn on_a_paused_clock<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(story)
}
