//! A day of the real engine in seconds: scheduler, plan, pass and state against an in-memory ThingsBoard and an
//! in-memory store, on tokio's paused clock, under random faults that follow from one number.
//!
//! A few seeds run with every test; a thousand customers, and more seeds, by hand. Not modelled yet: a second daemon, a
//! server that goes on with a login after the client has given it up, refreshes by name; requests per second are not
//! checked.
//!
//! `TBTOKEN_SIM_SEED=N` runs that seed alone, `TBTOKEN_SIM_SEEDS=N` runs as many, `TBTOKEN_SIM_CUSTOMERS=N` chooses how
//! many customers each of them has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: whatever is not as it should be fails it"
)]

mod audit;
mod dice;
mod faults;
mod run;
mod store;
mod thingsboard;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Setup, Sum};

/// Runs seeds on all processors and prints what they came to.
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

/// Whether somebody wants the long day to be run.
fn is_asked_for() -> bool {
    let asked = number("TBTOKEN_SIM_SEED").or(number("TBTOKEN_SIM_SEEDS")).is_some();
    if !asked {
        println!("skipped: set TBTOKEN_SIM_SEED or TBTOKEN_SIM_SEEDS");
    }
    asked
}

#[test]
fn promises_1_2_3_7_and_21_hold_for_a_day_under_random_faults() {
    let customers = number("TBTOKEN_SIM_CUSTOMERS").map(|n| usize::try_from(n).unwrap());
    let small = |seed| Setup { seed, customers: customers.unwrap_or(40), hosts: 5 };
    let setups: Vec<Setup> = match (number("TBTOKEN_SIM_SEED"), number("TBTOKEN_SIM_SEEDS")) {
        (Some(seed), _) => vec![small(seed)],
        (None, seeds) => (1..=seeds.unwrap_or(4)).map(small).collect(),
    };
    run_all(&setups);
}

#[test]
fn a_day_of_a_thousand_customers_on_twenty_hosts() {
    if !is_asked_for() {
        return;
    }
    let seed = number("TBTOKEN_SIM_SEED").unwrap_or(1000);
    run_all(&[Setup { seed, customers: 1000, hosts: 20 }]);
}

#[test]
fn a_seed_alone_reproduces_its_day() {
    let digest = || run::run(&Setup { seed: 7, customers: 30, hosts: 4 }).digest;
    assert_eq!(digest(), digest());
}
