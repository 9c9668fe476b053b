//! What members say of their own accord about their ledgers (audit.md A19, A21). Whether the log takes it is the history's to say.

use protocol::entry::{Actor, Draft, Facts};
use protocol::exhausted::BudgetExhausted;
use protocol::ids::ClientId;
use protocol::statement::{Payload as _, Statement};
use protocol::trust::{LedgerRepair, ReleaseSpend, RoundSpend};

/// The entry that a member's word about its ledger asks for; nothing for any other.
pub(super) fn told(who: ClientId, statement: Statement) -> Option<Draft> {
    let kind = statement.kind;
    let (facts, round) = if kind == LedgerRepair::KIND {
        let said = statement.verify::<LedgerRepair>().ok()?;
        (Facts::BudgetRepaired { dataset: said.dataset, ledger_counter: said.ledger_counter }, None)
    } else if kind == ReleaseSpend::KIND {
        let said = statement.verify::<ReleaseSpend>().ok()?;
        (Facts::BudgetReleased { dataset: said.dataset, ledger_counter: said.ledger_counter }, None)
    } else if kind == RoundSpend::KIND {
        let said = statement.verify::<RoundSpend>().ok()?;
        let facts = Facts::BudgetSpent { dataset: said.spend.dataset, ledger_counter: said.spend.ledger_counter };
        (facts, Some((said.task, said.round)))
    } else {
        let said = statement.verify::<BudgetExhausted>().ok().filter(BudgetExhausted::is_sound)?;
        (said.facts(), Some((said.task, said.round)))
    };
    let draft = Draft::said(Actor::Institution, Some(who), statement, facts);
    Some(match round {
        Some((task, round)) => draft.in_round(task, round),
        None => draft,
    })
}
