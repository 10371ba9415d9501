//! Limit and circuit breaker of one server.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_assert, prop_oneof, proptest};

use super::*;

fn round(gate: &mut Gate, signal: Signal) -> usize {
    let tickets: Vec<Ticket> = std::iter::from_fn(|| gate.enter()).collect();
    for ticket in &tickets {
        gate.leave(*ticket, signal);
    }
    tickets.len()
}

/// The gate of a server that has answered once.
fn known(most: u32) -> Gate {
    let mut gate = Gate::new(most);
    assert_eq!(round(&mut gate, Signal::Well), 1);
    gate
}

/// The gate of a server that is treated as down.
fn open() -> Gate {
    let mut gate = known(64);
    round(&mut gate, Signal::Dead);
    assert_eq!(gate.breaker(), Breaker::Open);
    gate
}

#[test]
fn doubles_until_the_first_trouble_then_grows_by_one() {
    let mut gate = known(64);
    let rounds: Vec<usize> = (0..6).map(|_| round(&mut gate, Signal::Well)).collect();
    assert_eq!(rounds, [4, 8, 16, 32, 64, 64]);
    round(&mut gate, Signal::Strained);
    let rounds: Vec<usize> = (0..3).map(|_| round(&mut gate, Signal::Well)).collect();
    assert_eq!(rounds, [32, 33, 34], "64 answers of one overload halve the limit once");
}

/// A dead server costs one password, not four, and the time of one login, not of three.
#[test]
fn p02_an_unknown_server_gets_one_login_at_a_time_until_it_answers() {
    let mut gate = Gate::new(64);
    assert_eq!(round(&mut gate, Signal::Dead), 1);
    assert_eq!(gate.breaker(), Breaker::Open, "only probes are sent now");
    for silent in [Signal::Strained, Signal::Foreign] {
        let mut gate = Gate::new(64);
        for _ in 0..2 {
            gate.wake();
            assert_eq!(round(&mut gate, silent), 1, "{silent:?} is no answer of ThingsBoard");
        }
        gate.wake();
        assert_eq!(round(&mut gate, Signal::Well), 1, "after {silent:?}");
        assert_eq!(round(&mut gate, Signal::Well), usize::try_from(gate.limit()).unwrap() / 2);
    }
    // A good probe is an answer as well.
    let mut gate = Gate::new(64);
    gate.probed(Signal::Well);
    assert_eq!(round(&mut gate, Signal::Well), 4);
}

#[test]
fn a_limit_that_is_not_in_use_does_not_grow() {
    let mut gate = Gate::new(64);
    for _ in 0..1000 {
        let ticket = gate.enter().unwrap();
        gate.leave(ticket, Signal::Well);
    }
    assert_eq!(gate.limit(), Gate::FIRST, "one at a time");
    round(&mut gate, Signal::Well);
    round(&mut gate, Signal::Well);
    assert_eq!(gate.limit(), 4 * Gate::FIRST, "many at a time");
}

#[test]
fn a_server_that_is_strained_even_one_at_a_time_rests_until_the_next_wake() {
    let mut gate = known(64);
    let asked: usize = (0..100).map(|_| round(&mut gate, Signal::Strained)).sum();
    assert_eq!(asked, 4 + 2 + 1);
    assert!(gate.is_shut() && !gate.needs_probe());
    gate.wake();
    assert_eq!((0..100).map(|_| round(&mut gate, Signal::Strained)).sum::<usize>(), 1);
    gate.wake();
    assert_eq!((0..3).map(|_| round(&mut gate, Signal::Well)).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_dead_server_gets_no_login_before_a_good_probe() {
    let mut gate = known(64);
    let tickets: Vec<Ticket> = std::iter::from_fn(|| gate.enter()).collect();
    let breakers = tickets.iter().map(|ticket| {
        gate.leave(*ticket, Signal::Dead);
        gate.breaker()
    });
    use Breaker::{Closed, Open};
    assert_eq!(breakers.collect::<Vec<_>>(), [Closed, Closed, Open, Open]);
    gate.take_recovery();
    for probe in [Signal::Dead, Signal::Strained, Signal::Dead] {
        gate.wake();
        assert!(gate.needs_probe() && gate.is_shut());
        gate.probed(probe);
        assert!(gate.is_shut() && !gate.take_recovery());
        assert_eq!(gate.enter(), None, "{probe:?}");
    }
    gate.wake();
    gate.probed(Signal::Well);
    assert_eq!(gate.breaker(), Closed);
    assert!(gate.take_recovery() && !gate.take_recovery() && gate.enter().is_some());
    // It begins to count again.
    gate.leave(Ticket { epoch: 0 }, Signal::Dead);
    assert_eq!(gate.breaker(), Closed);
}

/// Something else answers the probe: one login each wake finds out what it is.
#[test]
fn a_probe_without_a_verdict_lets_one_login_through() {
    for (signal, breaker) in [
        (Signal::Well, Breaker::Closed),
        (Signal::Foreign, Breaker::Open),
        (Signal::Strained, Breaker::Open),
        (Signal::Dead, Breaker::Open),
    ] {
        let mut gate = open();
        gate.probed(Signal::Foreign);
        assert_eq!(gate.breaker(), Breaker::HalfOpen);
        let ticket = gate.enter().unwrap();
        assert!(!gate.is_shut(), "the others wait for it");
        assert_eq!(gate.enter(), None, "one at a time");
        gate.leave(ticket, signal);
        assert_eq!(gate.breaker(), breaker, "{signal:?}");
        assert_eq!(gate.take_recovery(), signal == Signal::Well);
    }
    let mut gate = open();
    gate.probed(Signal::Foreign);
    gate.wake();
    assert!(gate.needs_probe(), "the next wake probes again");
    let mut gate = known(64);
    gate.probed(Signal::Foreign);
    assert_eq!(gate.breaker(), Breaker::Closed, "it answers logins");
}

#[test]
fn a_login_that_was_not_sent_says_nothing() {
    let mut gate = Gate::new(64);
    for _ in 0..5 {
        assert!(gate.enter().is_some());
        assert_eq!(gate.enter(), None);
        gate.cancel();
    }
    assert!(!gate.take_recovery());
    assert_eq!((gate.limit(), gate.breaker()), (Gate::FIRST, Breaker::Closed));
    assert_eq!(round(&mut gate, Signal::Well), 1, "it is still unknown");
}

#[test]
fn what_is_allowed_bounds_the_limit_from_now_on() {
    let mut gate = known(64);
    let passes = |gate: &mut Gate| round(gate, Signal::Well);
    assert_eq!((passes(&mut gate), passes(&mut gate)), (4, 8));
    gate.allow(10);
    assert_eq!((passes(&mut gate), passes(&mut gate)), (10, 10));
    gate.allow(0);
    assert_eq!((passes(&mut gate), passes(&mut gate)), (1, 1), "one is the least");
    gate.allow(64);
    assert_eq!((passes(&mut gate), passes(&mut gate)), (1, 2));
}

#[test]
fn only_failures_in_a_row_open_the_breaker() {
    for between in [Signal::Well, Signal::Strained] {
        let mut gate = known(64);
        for signal in [Signal::Dead, Signal::Dead, between, Signal::Dead, Signal::Dead] {
            gate.wake();
            let ticket = gate.enter().unwrap();
            gate.leave(ticket, signal);
            assert_ne!(gate.breaker(), Breaker::Open, "after {between:?}");
        }
        gate.wake();
        let ticket = gate.enter().unwrap();
        gate.leave(ticket, Signal::Dead);
        assert_eq!(gate.breaker(), Breaker::Open);
    }
}

#[test]
fn an_answer_is_a_recovery_after_trouble_and_at_the_very_first() {
    use Signal::{Dead, Foreign, Strained, Well};
    let cases: [(&[Signal], bool); 13] = [
        (&[], false),
        (&[Well], true),
        (&[Dead, Well], true),
        (&[Strained], false),
        (&[Strained, Well], true),
        (&[Foreign], false),
        (&[Foreign, Well], true),
        (&[Dead, Dead], false),
        (&[Dead, Dead, Well], true),
        (&[Dead, Dead, Strained, Well], true),
        (&[Well, Strained, Dead, Well], true),
        (&[Well, Foreign, Well], true),
        (&[Well, Dead, Dead, Dead], false),
    ];
    let play = |gate: &mut Gate, signals: &[Signal]| {
        for signal in signals {
            gate.wake();
            match gate.enter() {
                Some(ticket) => gate.leave(ticket, *signal),
                None => gate.probed(*signal),
            }
        }
        (gate.take_recovery(), gate.take_recovery())
    };
    for (signals, has_recovered) in cases {
        assert_eq!(play(&mut Gate::new(64), signals), (has_recovered, false), "{signals:?}");
    }
    let mut gate = Gate::new(64);
    assert!(play(&mut gate, &[Well]).0);
    assert!(!play(&mut gate, &[Well]).0, "no news");
    for trouble in [Dead, Strained, Foreign] {
        assert!(play(&mut gate, &[trouble, Well]).0, "{trouble:?}");
    }
    gate.probed(Dead);
    gate.probed(Well);
    assert!(gate.take_recovery(), "a probe tells it too");
}

#[test]
fn every_silence_halves_the_limit_too() {
    let mut gate = known(64);
    round(&mut gate, Signal::Well);
    round(&mut gate, Signal::Well);
    let ticket = gate.enter().unwrap();
    gate.leave(ticket, Signal::Dead);
    assert_eq!((gate.limit(), gate.breaker()), (8, Breaker::Closed));
}

fn signals() -> impl Strategy<Value = Signal> {
    prop_oneof![Just(Signal::Well), Just(Signal::Foreign), Just(Signal::Strained), Just(Signal::Dead)]
}

proptest! {
    #[test]
    fn the_limit_stays_in_bounds_and_recovers(
        most in 1_u32..200, story in vec((0_usize..70, signals(), proptest::bool::ANY), 0..200),
    ) {
        let mut gate = Gate::new(most);
        let mut out: Vec<Ticket> = Vec::new();
        for (index, signal, wakes) in story {
            out.extend(gate.enter());
            if wakes {
                gate.wake();
                if gate.needs_probe() {
                    gate.probed(signal);
                }
            }
            if !out.is_empty() {
                let ticket = out.swap_remove(index % out.len());
                gate.leave(ticket, signal);
            }
            prop_assert!((1..=most).contains(&gate.limit()));
            prop_assert!(out.len() <= usize::try_from(most).unwrap());
        }
        for ticket in out.drain(..) {
            gate.leave(ticket, Signal::Well);
        }
        // No starvation: after the last fault, each wake lets a login through, and the limit is whole again.
        for _ in 0..most + 2 {
            gate.wake();
            if gate.needs_probe() {
                gate.probed(Signal::Well);
            }
            let passed = round(&mut gate, Signal::Well);
            prop_assert!(passed >= 1);
        }
        prop_assert!(gate.limit() == most);
    }
}
