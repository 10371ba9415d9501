//! Random passes: each customer ends once, and no password is sent against the rules.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::test_runner::TestCaseError;

use super::*;

/// One row of the table, in small numbers.
#[derive(Debug, Clone)]
struct Row {
    server: usize,
    user: usize,
    password: usize,
    has_refresh_token: bool,
    may_log_in: bool,
    leave: Leave,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let leave = prop_oneof![8 => Just(Leave::None), 2 => Just(Leave::Requested), 1 => Just(Leave::Forced)];
    let row = (0_usize..3, 0_usize..3, 0_usize..3, any::<bool>(), 0_usize..8, leave);
    let row = row.prop_map(|(server, user, password, has_refresh_token, may_log_in, leave)| Row {
        server,
        user,
        password,
        has_refresh_token,
        may_log_in: may_log_in > 0 || !has_refresh_token,
        leave,
    });
    vec(row, 1..14)
}

fn attempts(rows: &[Row]) -> Vec<Attempt> {
    let attempt = |(n, row): (usize, &Row)| {
        // The third is another port of the first one: the same account.
        let url = ["https://a.example", "https://b.example", "https://a.example:8443"][row.server];
        // The third is another spelling of the first one.
        let user = ["u", "v", "U"][row.user];
        let attempt = at(url, &n.to_string(), user, &row.password.to_string());
        let attempt = if row.has_refresh_token { with_refresh_token(attempt) } else { attempt };
        Attempt { may_log_in: row.may_log_in, leave: row.leave, ..attempt }
    };
    rows.iter().enumerate().map(attempt).collect()
}

/// The test's own record of the pass.
#[derive(Default)]
struct Witness {
    ended: Vec<String>,
    rejected: BTreeSet<Fingerprint>,
}

impl Witness {
    fn take_facts(&mut self, stage: &mut Stage) {
        for fact in std::mem::take(&mut stage.facts) {
            match fact {
                Event::Failed { id, .. } | Event::Deferred { id, .. } | Event::CarriedOver { id, .. } => {
                    self.ended.push(id.to_string());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Checks the request that was just sent against the rules.
    fn check_request(&mut self, stage: &Stage, charges_before: u8) -> Result<(), TestCaseError> {
        let logins = || {
            stage.under_way.iter().filter_map(|start| match start {
                Start::Login(request, _) => Some(request),
                _ => None,
            })
        };
        let Some(Start::Login(last, _)) = stage.under_way.last() else {
            let probes = stage.under_way.iter().filter(|start| matches!(start, Start::Probe { .. })).count();
            prop_assert!(probes <= stage.queues.servers().count(), "one probe of a server at a time");
            return Ok(());
        };
        let same = logins().filter(|request| request.attempt.account == last.attempt.account).count();
        prop_assert_eq!(same, 1, "one password of an account");
        let on_server = logins().filter(|request| request.server == last.server).count();
        prop_assert!(charges_before == 0 || on_server == 1, "an account with a charge goes alone");
        let is_forced = last.attempt.leave == Leave::Forced;
        prop_assert!(is_forced || charges_before < 3, "{charges_before} charges before it");
        prop_assert!(
            is_forced || !self.rejected.contains(&last.attempt.credentials),
            "rejected stays rejected"
        );
        if is_forced {
            self.rejected.remove(&last.attempt.credentials);
        }
        Ok(())
    }
}

/// Carries a pass out. `choices` say which request ends next, and how. After `stops_after` of them no request is sent.
fn carry_out(
    stage: &mut Stage,
    choices: &[(usize, u8)],
    stops_after: usize,
    ledger_fails_after: usize,
) -> Result<Witness, TestCaseError> {
    let mut witness = Witness::default();
    for step in 0.. {
        while step < stops_after && stage.under_way.len() < 8 {
            let of = |stage: &Stage, attempt: &Attempt| {
                let username = &attempt.customer.credentials.username;
                stage.ledger.charges_of(&attempt.account, &attempt.base.server_key(), username)
            };
            let Some(_) = stage.start() else { break };
            let charges = match stage.under_way.last() {
                // Its own charge is open already.
                Some(Start::Login(request, _)) => of(stage, &request.attempt) - 1,
                _ => 0,
            };
            witness.take_facts(stage);
            witness.check_request(stage, charges)?;
        }
        witness.take_facts(stage);
        if stage.under_way.is_empty() {
            break;
        }
        let (which, how) = choices.get(step).copied().unwrap_or((0, 0));
        if step == ledger_fails_after {
            stage.queues.ledger_failed();
        }
        prop_assert!(step < 1_000, "it does not end");
        // A probe is too old after five seconds.
        stage.now += std::time::Duration::from_secs(which as u64);
        let start = stage.under_way.remove(which % stage.under_way.len());
        match start {
            Start::Probe { server, .. } => {
                let verdict =
                    [Verdict::Good, Verdict::Good, Verdict::Bad, Verdict::None][usize::from(how) % 4];
                stage.probed(server, verdict);
            }
            Start::Refresh(request) if how % 4 == 3 => stage.refresh_ended(request, false),
            Start::Refresh(request) => {
                witness.ended.push(request.attempt.customer.id.to_string());
                stage.refresh_ended(request, true);
            }
            start @ Start::Login(..) if how == 7 && step < choices.len() => {
                let what = name(&start);
                stage.under_way.push(start);
                stage.conflict(&what);
            }
            Start::Login(request, charge) => {
                let credentials = &request.attempt.customer.credentials;
                // The password of every account is 0.
                let is_right = credentials.password.expose() == "0";
                let outcome = match how {
                    0..=3 if is_right => Outcome::Accepted,
                    0..=3 => Outcome::Rejected,
                    4 => Outcome::Unanswered,
                    5 => Outcome::NotCounted,
                    _ => Outcome::NotSent,
                };
                if outcome == Outcome::Rejected {
                    witness.rejected.insert(request.attempt.credentials);
                }
                witness.ended.push(request.attempt.customer.id.to_string());
                let token = (outcome == Outcome::Accepted && how > 0).then_some("shared");
                stage.login_ended(request, charge, outcome, token);
            }
        }
    }
    Ok(witness)
}

fn ids(rows: &[Row]) -> Vec<String> {
    let mut ids: Vec<String> = (0..rows.len()).map(|n| n.to_string()).collect();
    ids.sort();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A pass that is not cut short.
    #[test]
    fn p12_every_customer_of_a_pass_ends_once(
        rows in rows(), charged in vec((0_usize..14, 1_usize..4), 0..3), doubtful in 0_usize..4,
        choices in vec((0_usize..8, 0_u8..8), 0..40), ledger_fails_after in 0_usize..60,
    ) {
        let mut stage = begin(&rows, &charged, doubtful);
        let mut witness = carry_out(&mut stage, &choices, usize::MAX, ledger_fails_after)?;
        // A customer that is carried over would begin another pass, and so on without end.
        let facts = stage.queues.drain_untried(&stage.gates, true);
        for fact in &facts {
            prop_assert!(!matches!(fact, Event::CarriedOver { .. }), "{fact:?} though nothing stopped the pass");
            // No request is under way that it could wait for.
            let waits_in_vain = matches!(
                fact,
                Event::Deferred {
                    why: Deferral::CutShort
                        | Deferral::Password(Reason::AccountBusy | Reason::ServerBusy | Reason::Probe),
                    ..
                }
            );
            prop_assert!(!waits_in_vain, "{fact:?}");
        }
        stage.facts.extend(facts);
        witness.take_facts(&mut stage);
        witness.ended.sort();
        prop_assert_eq!(witness.ended, ids(&rows));
    }

    /// A pass that was cut short.
    #[test]
    fn p12_a_pass_that_is_cut_short_loses_no_customer(
        rows in rows(), charged in vec((0_usize..14, 1_usize..4), 0..3), doubtful in 0_usize..4,
        choices in vec((0_usize..8, 0_u8..8), 0..20), stops_after in 0_usize..20, goes_on in any::<bool>(),
    ) {
        let mut stage = begin(&rows, &charged, doubtful);
        let mut witness = carry_out(&mut stage, &choices, stops_after, usize::MAX)?;
        let facts = stage.queues.drain_untried(&stage.gates, goes_on);
        stage.facts.extend(facts);
        witness.take_facts(&mut stage);
        witness.ended.sort();
        prop_assert_eq!(witness.ended, ids(&rows));
    }
}

/// Some accounts have open charges, and perhaps a server is in doubt.
fn begin(rows: &[Row], charged: &[(usize, usize)], doubtful: usize) -> Stage {
    let attempts = attempts(rows);
    let mut stage = Stage::new(attempts.clone());
    for (which, charges) in charged {
        let attempt = &attempts[which % attempts.len()];
        let (server, username) = (attempt.base.server_key(), &attempt.customer.credentials.username);
        let open = stage.ledger.charges_of(&attempt.account, &server, username);
        charge(&mut stage.ledger, attempt, (*charges).min(3 - usize::from(open.min(3))));
    }
    if let Some(attempt) = attempts.get(doubtful) {
        leave_in_doubt(&mut stage.ledger, attempt);
    }
    stage
}
