//! The small copy of a history on which a server tries an update breaks the rule that the whole one breaks.

use super::story::tell;
use super::twist::Twist;
use protocol::codec;
use protocol::entry::{Draft, Facts, LogEntry};
use protocol::history::{History, Violation};
use protocol::plan::Plan;
use protocol::trust::TrustDocument;

/// How many updates were tried, and how many of them broke a rule.
fn tried(twist: Twist) -> (usize, usize) {
    let told = tell(twist);
    let plan: Plan = codec::decode(&told.plan, Plan::MAX_BYTES).unwrap();
    let mut history = History::new(TrustDocument::parse(&told.trust).unwrap());
    let (mut tried, mut broken) = (0, 0);
    for bytes in &told.entries {
        let accepted = LogEntry::parse(bytes).ok().filter(|e| matches!(e.facts, Facts::UpdateAccepted { .. }));
        if let Some(e) = accepted {
            let draft = Draft { institution: e.institution, task: e.task, round: e.round, group: e.group, ..Draft::server(e.facts) };
            let first = |mut history: History| -> Option<Violation> { history.apply(bytes).into_iter().next() };
            let whole = first(history.clone());
            assert_eq!(first(history.trial(&draft)), whole, "{twist:?}, entry {}", history.size());
            (tried, broken) = (tried + 1, broken + usize::from(whole.is_some()));
        }
        history.apply(bytes);
        history.learn_plan(&told.plan, &plan);
    }
    (tried, broken)
}

#[test]
fn updates_without_fault_are_accepted_by_both() {
    for twist in [Twist::None, Twist::Begun, Twist::Weighted, Twist::SuspendedAndResumed, Twist::DeclaredMoreInTheRound, Twist::Counts] {
        let (tried, broken) = tried(twist);
        assert!(tried >= 3 && broken == 0, "{twist:?}: {tried} {broken}");
    }
}

#[test]
fn updates_with_a_fault_break_the_same_rule_in_both() {
    let twists = [
        Twist::CapExceeded,
        Twist::LedgerFalls,
        Twist::EpsilonFalls,
        Twist::SpendBelowTheRepair,
        Twist::AcceptedTwice,
        Twist::UpdateAfterTheEnd,
        Twist::FewEndorsements,
        Twist::ForgedStatement,
        Twist::OthersStatement,
        Twist::StatementReplayed,
        Twist::StrangerSummed,
        Twist::RevokedInTheRound,
        Twist::WithdrawnDataTrained,
    ];
    let all: usize = twists.into_iter().map(|twist| tried(twist).1).sum();
    assert!(all >= 8, "{all} updates broke a rule");
}
