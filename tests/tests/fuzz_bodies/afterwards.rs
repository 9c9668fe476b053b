//! What nobody in a simulated round signs: statements after a task, and of institutions that cannot pay or that change their rules. Seeds of fuzz
//! bodies; knows none.

use protocol::codec;
use protocol::decimal::Decimal;
use protocol::exhausted::{BudgetAccount, BudgetExhausted};
use protocol::ids::{LeafIndex, PlanDigest, RoundId, Sha256, SnapshotDigest, TaskId};
use protocol::plan::{Gate, GateCode, Unit};
use protocol::release::{OverrideReason, Release, Review, SiteAnchor, Withdrawal, WithdrawalReason};
use protocol::site_policy::SitePolicyDeclaration;

/// One of each.
pub(crate) fn signed() -> [Vec<u8>; 6] {
    let (task, snapshot, root) = (TaskId([1; 16]), SnapshotDigest([2; 32]), Sha256([3; 32]));
    let release = Release {
        task,
        plan: PlanDigest([4; 32]),
        snapshot,
        base: SnapshotDigest([5; 32]),
        first: RoundId(1),
        last: RoundId(3),
        key: Sha256([6; 32]),
        signature: Sha256([7; 32]),
        substantial: true,
        gates: vec![Gate { code: GateCode::Accuracy, threshold: Decimal::ONE }.judge(Decimal::ZERO)],
        evaluation: Some(Sha256([10; 32])),
        overridden: Some(OverrideReason::Research),
        after: Some(LeafIndex(6)),
    };
    let review = Review { trust: Sha256([8; 32]), first: 2, last: 40, size: 300, root, findings: Sha256([9; 32]), exit_code: 3 };
    [
        codec::encode(&release),
        codec::encode(&Withdrawal { task, snapshot, reason: WithdrawalReason::Privacy, release: LeafIndex(5) }),
        codec::encode(&review),
        codec::encode(&SiteAnchor { size: 300, root }),
        codec::encode(&exhausted(task)),
        codec::encode(&SitePolicyDeclaration::next(Some(root), Sha256([13; 32]), 300).unwrap()),
    ]
}

/// What an institution says whose ledger cannot pay; the pretend world's can.
fn exhausted(task: TaskId) -> BudgetExhausted {
    BudgetExhausted {
        task,
        round: RoundId(2),
        dataset: Sha256([11; 32]),
        unit: Unit::Record,
        delta: Decimal::ceil(1e-6, 9).unwrap(),
        epsilon_cap: Decimal::ONE,
        account: BudgetAccount::Lifetime,
        order: Some(Decimal::ceil(12.5, 1).unwrap()),
        epsilon_before: Decimal::ZERO,
        needed: Decimal::ONE,
        remaining: Decimal::ZERO,
        ledger_counter: 7,
        ledger_head: Sha256([12; 32]),
    }
}
