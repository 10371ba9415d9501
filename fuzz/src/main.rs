//! Calls the targets with changed examples for some seconds each: `cargo run --release -- [TARGET] [SECONDS]`.
//!
//! It has no feedback from coverage, unlike libFuzzer, but needs no nightly compiler. It prints an input that panics.

use std::time::{Duration, Instant};

use tbtoken_fuzz::TARGETS;
use tbtoken_tests::rng::Rng;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = arguments.iter().find(|argument| argument.parse::<u64>().is_err());
    let seconds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(60);
    let targets = TARGETS.iter().filter(|target| wanted.is_none_or(|name| name == target.name));
    let mut count = 0;
    for target in targets {
        count += 1;
        let (end, mut seed) = (Instant::now() + Duration::from_secs(seconds), 0);
        while Instant::now() < end {
            let input = mutate_example(target.examples, seed);
            if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
                eprintln!("{} panics: seed {seed}, input b\"{}\"", target.name, input.escape_ascii());
                std::process::exit(1);
            }
            seed += 1;
        }
        println!("{}: {seed} inputs", target.name);
    }
    assert!(count > 0, "no such target; there are {}", TARGETS.map(|target| target.name).join(", "));
}

/// Returns one of the examples with some bytes changed, added or removed. The same seed gives the same bytes.
fn mutate_example(examples: &[&[u8]], seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut input = rng.pick(examples).to_vec();
    for _ in 0..rng.below(8) {
        let (place, byte) = (rng.index(input.len() + 1), u8::try_from(rng.below(256)).unwrap());
        match rng.below(4) {
            0 => input.truncate(place),
            1 => input.insert(place, byte),
            2 => drop(input.splice(place..place, rng.pick(examples).to_vec())),
            _ if place < input.len() => input[place] = byte,
            _ => {}
        }
    }
    input
}
