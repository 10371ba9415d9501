//! No sequence of faults locks an account: random worlds of daemons, rows, faults and operators against a ThingsBoard that
//! counts. `TBTOKEN_LEDGER_SEED=N` repeats one world, `TBTOKEN_LEDGER_SEEDS=N` tries the first N.

mod daemon;
mod rules;
mod thingsboard;
mod world;

use self::world::World;

/// How many worlds the ordinary suite tries.
const WORLDS: u64 = 4000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn p02_no_sequence_of_faults_locks_an_account() {
    let seeds = match number("TBTOKEN_LEDGER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TBTOKEN_LEDGER_SEEDS").unwrap_or(WORLDS),
    };
    let mut sent = 0;
    let mut violations = Vec::new();
    for seed in seeds.clone() {
        let mut world = World::new(seed);
        world.run();
        sent += world.passwords_sent;
        violations.extend(world.violations.into_iter().map(|what| format!("seed {seed}: {what}")));
    }
    println!("{} worlds, {sent} passwords sent", seeds.end - seeds.start);
    let shown = violations.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(violations.is_empty(), "{} violations:\n{shown}", violations.len());
}
