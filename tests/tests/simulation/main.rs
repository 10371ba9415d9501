//! The simulation: a day of the real engine in seconds. Scheduler, plan, pass and state run against ThingsBoard servers and
//! a store in memory, on tokio's paused clock. A seed determines all random faults.
//!
//! A test run uses a hundred seeds, each for a day of a small world. By hand:
//!
//! - `TBTOKEN_SIM_SEED=N` runs one seed, which repeats a failure.
//! - `TBTOKEN_SIM_SEEDS=N` runs seeds 1 to N, `TBTOKEN_SIM_FIRST=M` begins with M.
//! - `TBTOKEN_SIM_STORY=N`, with one seed, prints the events of login `N`.
//! - `TBTOKEN_SIM_CUSTOMERS=1000` sets the number of customers of each world; each server has fifty of them.
//!
//! Two daemons share one clock and one ledger here. They elect no leader, so both act.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: whatever is not as it should be fails it"
)]

mod audit;
mod budget;
mod charging;
mod checks;
mod clock;
mod faults;
mod first;
mod fresh;
mod keys;
mod ledger;
mod lost;
mod passwords;
mod refused;
mod request_rate;
mod returning;
mod run;
mod servers;
mod silence;
mod stage;
mod store;
mod thingsboard;
mod tokens;
mod unset;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Setup, Sum};

/// Runs seeds on all processors and prints the sum of their results.
fn run_all(setups: &[Setup]) {
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Sum::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(setup) = setups.get(at) else { break };
                    let one = run::run(setup);
                    sum.lock().unwrap().add(one);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    println!("{sum}");
    assert!(sum.violations.is_empty(), "{}", sum.violations.join("\n"));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn promises_1_2_3_7_12_13_and_21_hold_for_a_hundred_days_under_random_faults() {
    let customers = number("TBTOKEN_SIM_CUSTOMERS").map(|n| usize::try_from(n).unwrap());
    let setup = |seed| customers.map_or_else(|| Setup::of(seed), |customers| Setup::large(seed, customers));
    let first = number("TBTOKEN_SIM_FIRST").unwrap_or(1);
    let setups: Vec<Setup> = match (number("TBTOKEN_SIM_SEED"), number("TBTOKEN_SIM_SEEDS")) {
        (Some(seed), _) => vec![setup(seed)],
        (None, seeds) => (first..first + seeds.unwrap_or(100)).map(setup).collect(),
    };
    run_all(&setups);
}

#[test]
fn a_seed_alone_reproduces_its_day() {
    let digest = || run::run(&Setup::of(7)).digest;
    assert_eq!(digest(), digest());
}
