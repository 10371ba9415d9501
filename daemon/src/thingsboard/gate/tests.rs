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

/// Makes the gate of a server that has answered once.
fn known(most: u32) -> Gate {
    let mut gate = Gate::new(most);
    assert_eq!(round(&mut gate, Signal::Answered), 1);
    gate
}

/// Makes the gate of a server that is treated as down.
fn open() -> Gate {
    let mut gate = known(64);
    round(&mut gate, Signal::Unanswered);
    assert_eq!(gate.breaker(), Breaker::Open);
    gate
}

#[test]
fn doubles_until_the_first_trouble_then_grows_by_one() {
    let mut gate = known(64);
    let rounds: Vec<usize> = (0..6).map(|_| round(&mut gate, Signal::Answered)).collect();
    assert_eq!(rounds, [4, 8, 16, 32, 64, 64]);
    round(&mut gate, Signal::Overloaded);
    let rounds: Vec<usize> = (0..3).map(|_| round(&mut gate, Signal::Answered)).collect();
    assert_eq!(rounds, [32, 33, 34], "64 answers of one overload halve the limit once");
}

/// A server that is down costs one password, not four, and the time of one login, not of three.
#[test]
fn p02_an_unknown_server_gets_one_login_at_a_time_until_it_answers() {
    let mut gate = Gate::new(64);
    assert_eq!(round(&mut gate, Signal::Unanswered), 1);
    assert_eq!(gate.breaker(), Breaker::Open, "only probes are sent now");
    for signal in [Signal::Overloaded, Signal::ForeignAnswer] {
        let mut gate = Gate::new(64);
        for _ in 0..2 {
            gate.wake();
            assert_eq!(round(&mut gate, signal), 1, "{signal:?} is no answer of ThingsBoard");
        }
        gate.wake();
        assert_eq!(round(&mut gate, Signal::Answered), 1, "after {signal:?}");
        assert_eq!(round(&mut gate, Signal::Answered), usize::try_from(gate.limit()).unwrap() / 2);
    }
    // A good probe is an answer as well.
    let mut gate = Gate::new(64);
    gate.finish_probe(Signal::Answered);
    assert_eq!(round(&mut gate, Signal::Answered), 4);
}

#[test]
fn a_limit_that_is_not_in_use_does_not_grow() {
    let mut gate = Gate::new(64);
    for _ in 0..1000 {
        let ticket = gate.enter().unwrap();
        gate.leave(ticket, Signal::Answered);
    }
    assert_eq!(gate.limit(), Gate::INITIAL_LIMIT, "one at a time");
    round(&mut gate, Signal::Answered);
    round(&mut gate, Signal::Answered);
    assert_eq!(gate.limit(), 4 * Gate::INITIAL_LIMIT, "many at a time");
}

#[test]
fn a_server_that_is_overloaded_even_by_one_login_at_a_time_is_paused_until_the_next_wake() {
    let mut gate = known(64);
    let sent: usize = (0..100).map(|_| round(&mut gate, Signal::Overloaded)).sum();
    assert_eq!(sent, 4 + 2 + 1);
    assert!(gate.is_shut() && !gate.needs_probe());
    gate.wake();
    assert_eq!((0..100).map(|_| round(&mut gate, Signal::Overloaded)).sum::<usize>(), 1);
    gate.wake();
    assert_eq!((0..3).map(|_| round(&mut gate, Signal::Answered)).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_server_that_is_down_gets_no_login_before_a_good_probe() {
    let mut gate = known(64);
    let tickets: Vec<Ticket> = std::iter::from_fn(|| gate.enter()).collect();
    let breakers = tickets.iter().map(|ticket| {
        gate.leave(*ticket, Signal::Unanswered);
        gate.breaker()
    });
    use Breaker::{Closed, Open};
    assert_eq!(breakers.collect::<Vec<_>>(), [Closed, Closed, Open, Open]);
    gate.take_recovery();
    for probe in [Signal::Unanswered, Signal::Overloaded, Signal::Unanswered] {
        gate.wake();
        assert!(gate.needs_probe() && gate.is_shut());
        gate.finish_probe(probe);
        assert!(gate.is_shut() && !gate.take_recovery());
        assert_eq!(gate.enter(), None, "{probe:?}");
    }
    gate.wake();
    gate.finish_probe(Signal::Answered);
    assert_eq!(gate.breaker(), Closed);
    assert!(gate.take_recovery() && !gate.take_recovery() && gate.enter().is_some());
    // The failures in a row are counted from zero again.
    gate.leave(Ticket { epoch: 0 }, Signal::Unanswered);
    assert_eq!(gate.breaker(), Closed);
}

/// If something other than ThingsBoard answers the probe, one login per wake finds out what it is.
#[test]
fn a_probe_without_a_verdict_lets_one_login_through() {
    for (signal, breaker) in [
        (Signal::Answered, Breaker::Closed),
        (Signal::ForeignAnswer, Breaker::Open),
        (Signal::Overloaded, Breaker::Open),
        (Signal::Unanswered, Breaker::Open),
    ] {
        let mut gate = open();
        gate.finish_probe(Signal::ForeignAnswer);
        assert_eq!(gate.breaker(), Breaker::HalfOpen);
        let ticket = gate.enter().unwrap();
        assert!(!gate.is_shut(), "the others wait for it");
        assert_eq!(gate.enter(), None, "one at a time");
        gate.leave(ticket, signal);
        assert_eq!(gate.breaker(), breaker, "{signal:?}");
        assert_eq!(gate.take_recovery(), signal == Signal::Answered);
    }
    let mut gate = open();
    gate.finish_probe(Signal::ForeignAnswer);
    gate.wake();
    assert!(gate.needs_probe(), "the next wake probes again");
    let mut gate = known(64);
    gate.finish_probe(Signal::ForeignAnswer);
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
    assert_eq!((gate.limit(), gate.breaker()), (Gate::INITIAL_LIMIT, Breaker::Closed));
    assert_eq!(round(&mut gate, Signal::Answered), 1, "it is still unknown");
}

#[test]
fn the_maximum_bounds_the_limit_from_now_on() {
    let mut gate = known(64);
    let passes = |gate: &mut Gate| round(gate, Signal::Answered);
    assert_eq!((passes(&mut gate), passes(&mut gate)), (4, 8));
    gate.set_maximum(10);
    assert_eq!((passes(&mut gate), passes(&mut gate)), (10, 10));
    gate.set_maximum(0);
    assert_eq!((passes(&mut gate), passes(&mut gate)), (1, 1), "one is the least");
    gate.set_maximum(64);
    assert_eq!((passes(&mut gate), passes(&mut gate)), (1, 2));
}

#[test]
fn only_failures_in_a_row_open_the_breaker() {
    for between in [Signal::Answered, Signal::Overloaded] {
        let mut gate = known(64);
        for signal in
            [Signal::Unanswered, Signal::Unanswered, between, Signal::Unanswered, Signal::Unanswered]
        {
            gate.wake();
            let ticket = gate.enter().unwrap();
            gate.leave(ticket, signal);
            assert_ne!(gate.breaker(), Breaker::Open, "after {between:?}");
        }
        gate.wake();
        let ticket = gate.enter().unwrap();
        gate.leave(ticket, Signal::Unanswered);
        assert_eq!(gate.breaker(), Breaker::Open);
    }
}

#[test]
fn an_answer_is_a_recovery_after_trouble_and_at_first_contact() {
    use Signal::{Answered, ForeignAnswer, Overloaded, Unanswered};
    let cases: [(&[Signal], bool); 13] = [
        (&[], false),
        (&[Answered], true),
        (&[Unanswered, Answered], true),
        (&[Overloaded], false),
        (&[Overloaded, Answered], true),
        (&[ForeignAnswer], false),
        (&[ForeignAnswer, Answered], true),
        (&[Unanswered, Unanswered], false),
        (&[Unanswered, Unanswered, Answered], true),
        (&[Unanswered, Unanswered, Overloaded, Answered], true),
        (&[Answered, Overloaded, Unanswered, Answered], true),
        (&[Answered, ForeignAnswer, Answered], true),
        (&[Answered, Unanswered, Unanswered, Unanswered], false),
    ];
    let play = |gate: &mut Gate, signals: &[Signal]| {
        for signal in signals {
            gate.wake();
            match gate.enter() {
                Some(ticket) => gate.leave(ticket, *signal),
                None => gate.finish_probe(*signal),
            }
        }
        (gate.take_recovery(), gate.take_recovery())
    };
    for (signals, has_recovered) in cases {
        assert_eq!(play(&mut Gate::new(64), signals), (has_recovered, false), "{signals:?}");
    }
    let mut gate = Gate::new(64);
    assert!(play(&mut gate, &[Answered]).0);
    assert!(!play(&mut gate, &[Answered]).0, "reported once");
    for trouble in [Unanswered, Overloaded, ForeignAnswer] {
        assert!(play(&mut gate, &[trouble, Answered]).0, "{trouble:?}");
    }
    gate.finish_probe(Unanswered);
    gate.finish_probe(Answered);
    assert!(gate.take_recovery(), "a probe reports it too");
}

#[test]
fn every_unanswered_login_halves_the_limit_too() {
    let mut gate = known(64);
    round(&mut gate, Signal::Answered);
    round(&mut gate, Signal::Answered);
    let ticket = gate.enter().unwrap();
    gate.leave(ticket, Signal::Unanswered);
    assert_eq!((gate.limit(), gate.breaker()), (8, Breaker::Closed));
}

fn signals() -> impl Strategy<Value = Signal> {
    prop_oneof![
        Just(Signal::Answered),
        Just(Signal::ForeignAnswer),
        Just(Signal::Overloaded),
        Just(Signal::Unanswered)
    ]
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
                    gate.finish_probe(signal);
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
            gate.leave(ticket, Signal::Answered);
        }
        // After the last fault, each wake lets a login through, and the limit reaches its maximum again.
        for _ in 0..most + 2 {
            gate.wake();
            if gate.needs_probe() {
                gate.finish_probe(Signal::Answered);
            }
            let passed = round(&mut gate, Signal::Answered);
            prop_assert!(passed >= 1);
        }
        prop_assert!(gate.limit() == most);
    }
}
