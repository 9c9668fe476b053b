//! What tasks may fail by, all together (privacy.md D44, D61). The figure over all tasks is computed at ninety-nine hundredths of the ledger's δ;
//! what is not as accounted, noise that is off its law by a distance and sums that a dither carries beyond their sensitivity, must fit into the
//! hundredth that is left, however many tasks there are. Knows no file.

use super::entry::Terms;
use super::filter::charged_shares;
use super::machine::terms_of;
use super::refusal::{Account, RegisterError};
use super::state::{State, TaskState};
use crate::mechanism::Executed;
use protocol::decimal::Decimal;

/// Part of the ledger's δ that the filter leaves.
const SHARE: f64 = 0.01;

/// Of so many steps, by the account that is charged: a sum of shares has a sampler for each.
fn of_steps(executed: &Executed, cap: Decimal, steps: u64, terms: &Terms) -> f64 {
    let own = terms_of(executed, cap).slack(steps);
    charged_shares(executed, terms).map_or(own, |shares| own.max(shares.slack(cap.to_f64(), steps)))
}

/// Of a task that may go on, over its whole schedule; of one that is over, over what it reserved.
fn of_task(t: &TaskState, terms: &Terms) -> f64 {
    let s = &t.schedule;
    let rounds = if t.ended { t.rounds_reserved } else { s.rounds.max(t.rounds_reserved) };
    of_steps(&s.executed, s.epsilon_cap, rounds.saturating_mul(s.steps_per_round), terms)
}

/// Checks that one more task of so many steps fits beside those that are registered.
///
/// # Privacy
/// unit: the ledger's · neighbours: add or remove one unit · charged to the δ of the figure over all tasks: probabilities of failure add up.
///
/// # Errors
/// [`RegisterError::BudgetExhausted`] with both numbers as parts of δ.
///
/// # Source
/// privacy.md D44, D61.
pub(super) fn fits(state: &State, executed: &Executed, cap: Decimal, steps: u64) -> Result<(), RegisterError> {
    let (needed, room) = (of_steps(executed, cap, steps, &state.terms), state.terms.delta.to_f64() * SHARE);
    let remaining = (room - state.tasks.values().map(|t| of_task(t, &state.terms)).sum::<f64>()).max(0.0);
    if needed <= remaining {
        return Ok(());
    }
    let shown = |delta: f64| Decimal::ceil(delta, 15).unwrap_or(Decimal::ONE);
    Err(RegisterError::BudgetExhausted { account: Account::Slack, order: None, needed: shown(needed), remaining: shown(remaining) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::machine_tests::{Kept, NOW, digest, plan};
    use crate::mechanism::Mechanism;
    use protocol::ids::TaskId;
    use protocol::plan::{Accumulate, ClipPath, Plan, Rounding};

    /// 60,000 steps whose dither fails once in 10^12 each: 6 of the 10 hundred-millionths that there are at δ = 1e-5.
    fn dithered(task: u8) -> Plan {
        let mut p = plan(task, "100");
        p.privacy.path = ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Dithered };
        p.local.steps = 20_000;
        p
    }

    fn register(k: &mut Kept, p: &Plan) -> Result<(), RegisterError> {
        let pending = k.ledger.register(p, digest(p), &Mechanism::of_plan(p, 1000).unwrap(), NOW)?;
        k.keep(pending);
        Ok(())
    }

    #[test]
    fn what_tasks_may_fail_by_adds_up_and_stays_within_a_hundredth_of_delta() {
        let mut k = Kept::new("8");
        register(&mut k, &dithered(1)).unwrap();
        let refused = register(&mut k, &dithered(2));
        let Err(RegisterError::BudgetExhausted { account: Account::Slack, order: None, needed, remaining }) = refused else {
            panic!("{refused:?}")
        };
        assert!((needed.to_f64() - 6e-8).abs() < 1e-12 && (remaining.to_f64() - 4e-8).abs() < 1e-12, "{needed} {remaining}");
        // Without a dither there is nothing to speak of.
        register(&mut k, &plan(3, "2")).unwrap();
        // What was held for a task that is over and reserved nothing is free again, here too.
        let over = k.ledger.end_task(TaskId([1; 16]), NOW).unwrap();
        k.keep(over);
        register(&mut k, &dithered(2)).unwrap();
        assert!(register(&mut k, &dithered(4)).is_err());
        // Read back it is the same.
        let mut again = Kept { ledger: k.reload().ledger, file: k.file };
        assert!(register(&mut again, &dithered(4)).is_err() && register(&mut again, &plan(5, "2")).is_ok());
    }
}
