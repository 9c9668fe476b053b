//! Random lives of a ledger: payments, ends, torn writes, copies from yesterday, repairs. Recorded spend is never below what was handed out,
//! and no round is ever paid twice (privacy.md D60, D65 to D67; bug class B19).

use super::machine::tests::{Kept, NOW, ROUNDS, dec, digest, plan, sign};
use super::{KnownPlan, Paid, PrivacyLedger};
use proptest::prelude::*;
use protocol::history::SpendRecord;
use protocol::ids::{LeafIndex, RoundId, Sha256, TaskId};
use protocol::plan::Plan;
use std::collections::BTreeSet;
use std::sync::OnceLock;

#[derive(Clone, Copy, Debug)]
enum Op {
    Reserve {
        task: bool,
        round: u64,
    },
    Seal(u64),
    Send(u64),
    Void(u64),
    End(bool),
    Cap(u8),
    /// The process ends while a reservation is written: so many 256ths of the record arrive.
    Torn {
        task: bool,
        round: u64,
        part: u8,
    },
    Reload,
    /// The file of an earlier moment comes back; the log does not.
    RollBack(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let round = 1..=ROUNDS + 1;
    prop_oneof![
        6 => (any::<bool>(), round.clone()).prop_map(|(task, round)| Op::Reserve { task, round }),
        2 => (0..20u64).prop_map(Op::Seal),
        2 => (0..20u64).prop_map(Op::Send),
        2 => (0..20u64).prop_map(Op::Void),
        1 => any::<bool>().prop_map(Op::End),
        1 => (2..30u8).prop_map(Op::Cap),
        2 => (any::<bool>(), round, any::<u8>()).prop_map(|(task, round, part)| Op::Torn { task, round, part }),
        2 => Just(Op::Reload),
        1 => (0..8usize).prop_map(Op::RollBack),
    ]
}

fn plans() -> &'static [Plan; 2] {
    static PLANS: OnceLock<[Plan; 2]> = OnceLock::new();
    PLANS.get_or_init(|| [plan(1, "2"), plan(2, "3")])
}
fn known(task: TaskId) -> Option<KnownPlan<'static>> {
    plans().iter().find(|p| p.task == task).map(|plan| KnownPlan { plan, digest: digest(plan) })
}

/// The ledger, the log that saw every payment, and what was really handed out.
struct World {
    kept: Kept,
    files: Vec<Vec<u8>>,
    log: Vec<SpendRecord>,
    drawn: BTreeSet<(TaskId, RoundId)>,
    real: u64,
}

impl World {
    fn new() -> Self {
        let mut kept = Kept::new("30");
        for plan in plans() {
            kept.register(plan).unwrap();
        }
        let files = vec![kept.file.clone()];
        Self { kept, files, log: Vec::new(), drawn: BTreeSet::new(), real: 0 }
    }

    fn reload(&mut self) {
        let loaded = PrivacyLedger::load(&self.kept.file).unwrap();
        self.kept.file.truncate(loaded.valid_len);
        self.kept.ledger = loaded.ledger;
        self.repair();
    }

    /// What a person does when the comparison raises its alarm.
    fn repair(&mut self) {
        let size = self.log.len() as u64;
        if self.kept.ledger.compare(&self.log).is_err() {
            let pending = self.kept.ledger.repair(&self.log, &[], size, known, NOW).unwrap();
            self.kept.keep(pending);
        }
    }

    fn propose(&mut self, task: bool, round: u64) -> Option<super::Pending<Paid>> {
        let plan = &plans()[usize::from(task)];
        let mechanism = super::machine::tests::mechanism(plan);
        let request = super::ReserveRequest {
            task: plan.task,
            plan: digest(plan),
            round: RoundId(round),
            manifest: protocol::ids::ManifestDigest([1; 32]),
            mechanism: &mechanism,
            steps: 4,
            compared: self.kept.ledger.compare(&self.log).unwrap(),
        };
        self.kept.ledger.reserve(&request, NOW).ok()
    }

    fn pay(&mut self, task: bool, round: u64) -> Result<(), TestCaseError> {
        let Some(pending) = self.propose(task, round) else { return Ok(()) };
        let paid = self.kept.keep(pending);
        let id = plans()[usize::from(task)].task;
        prop_assert!(self.drawn.insert((id, RoundId(round))), "round {} of {:?} was paid twice", round, id);
        self.real += self.kept.ledger.task(id).unwrap().schedule.cost_per_round.0;
        let index = LeafIndex(self.log.len() as u64);
        self.log.push(SpendRecord { index, task: id, round: RoundId(round), spend: paid.spend() });
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        let ledger = &mut self.kept.ledger;
        let closing = match op {
            Op::Reserve { task, round } => return self.pay(task, round),
            Op::Seal(c) => ledger.sealed(c, Sha256([9; 32]), NOW).ok(),
            Op::Send(c) => ledger.sent(c, NOW).ok(),
            Op::Void(c) => ledger.void(c, NOW).ok(),
            Op::End(task) => ledger.end_task(plans()[usize::from(task)].task, NOW).ok(),
            Op::Cap(cap) => ledger.declare_cap(dec(&cap.to_string()), NOW).ok(),
            Op::Torn { task, round, part } => {
                if let Some(pending) = self.propose(task, round) {
                    let record = pending.record(sign);
                    self.kept.file.extend(&record[..record.len() * usize::from(part) / 256]);
                    self.reload();
                }
                None
            }
            Op::Reload => {
                self.reload();
                None
            }
            Op::RollBack(to) => {
                self.kept.file = self.files[to % self.files.len()].clone();
                self.reload();
                None
            }
        };
        if let Some(pending) = closing {
            self.kept.keep(pending);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_life_of_a_ledger_counts_less_than_was_drawn(ops in prop::collection::vec(op(), 1..24)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op)?;
            let recorded = world.kept.ledger.totals().spent.0;
            prop_assert!(recorded >= world.real, "{} recorded, {} drawn after {:?}", recorded, world.real, op);
            let again = PrivacyLedger::load(&world.kept.file).unwrap().ledger;
            prop_assert_eq!((again.totals(), again.head()), (world.kept.ledger.totals(), world.kept.ledger.head()));
            world.files.push(world.kept.file.clone());
        }
    }
}
