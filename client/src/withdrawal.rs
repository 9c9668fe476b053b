//! Datasets that their institution withdraws (audit.md A19): an order is kept beside the ledger, counts at once, and is declared by whichever
//! process next speaks for the institution. Knows no connection and no record: those may be gone already.

use crate::files::{self, Item, StoreError};
use crate::home::Home;
use protocol::codec;
use protocol::history::History;
use protocol::ids::{ClientId, Sha256};
use protocol::membership::DatasetWithdrawal;
use protocol::statement::Payload as _;

const SUFFIX: &str = ".withdrawn";

/// Keeps the order. A second one for the same dataset changes nothing.
pub(crate) fn keep(home: &Home, order: &DatasetWithdrawal) -> Result<(), StoreError> {
    if is_kept(home, order.dataset)? {
        return Ok(());
    }
    files::replace(&home.withdrawal(&order.dataset), &codec::encode(order), Item::Withdrawal)
}

/// Whether there is an order. One that cannot be read counts as one: in doubt nothing is trained.
fn is_kept(home: &Home, dataset: Sha256) -> Result<bool, StoreError> {
    let path = home.withdrawal(&dataset);
    Ok(files::read_if_there(&path, DatasetWithdrawal::LIMIT, Item::Withdrawal)?.is_some())
}

/// Whether the dataset may be used: neither this directory nor the log says that it was withdrawn.
pub(crate) fn in_use(home: &Home, history: &History, me: ClientId, dataset: Sha256) -> Result<bool, StoreError> {
    let in_log = history.datasets().get(&(me, dataset)).is_some_and(|d| d.withdrawn.is_some());
    Ok(!in_log && !is_kept(home, dataset)?)
}

/// Orders that the log does not hold yet. What was never declared needs no word.
pub(crate) fn due(home: &Home, history: &History, me: ClientId) -> Result<Vec<DatasetWithdrawal>, StoreError> {
    let mut due = Vec::new();
    for name in files::names(&home.ledger_dir(), Item::Withdrawal)?.iter().filter(|n| n.ends_with(SUFFIX)) {
        let bytes = files::read(&home.ledger_dir().join(name), DatasetWithdrawal::LIMIT, Item::Withdrawal)?;
        let order: DatasetWithdrawal =
            codec::decode(&bytes, DatasetWithdrawal::LIMIT).map_err(|_| StoreError::Damaged(Item::Withdrawal))?;
        if history.datasets().get(&(me, order.dataset)).is_some_and(|d| d.withdrawn.is_none()) {
            due.push(order);
        }
    }
    Ok(due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::case;
    use ed25519_dalek::SigningKey;
    use protocol::entry::Facts;
    use protocol::membership::DatasetReason;
    use protocol::plan::Unit;
    use protocol::trust::DatasetDeclaration;

    #[test]
    fn an_order_counts_at_once_and_the_first_one_stands() {
        let c = case();
        let (dataset, me) = (Sha256([3; 32]), ClientId([4; 32]));
        let history = c.mirror.history();
        assert!(in_use(&c.home, history, me, dataset).unwrap());
        let order = DatasetWithdrawal { dataset, reason: DatasetReason::Consent };
        keep(&c.home, &order).unwrap();
        keep(&c.home, &DatasetWithdrawal { reason: DatasetReason::Quality, ..order }).unwrap();
        assert!(!in_use(&c.home, history, me, dataset).unwrap());
        assert!(in_use(&c.home, history, me, Sha256([5; 32])).unwrap(), "another dataset");
        let kept = files::read(&c.home.withdrawal(&dataset), 1024, Item::Withdrawal).unwrap();
        assert_eq!(codec::decode(&kept, 1024), Ok(order));
        assert_eq!(due(&c.home, history, me).unwrap(), [], "the log does not know it");
        std::fs::write(c.home.withdrawal(&dataset), b"x").unwrap();
        assert!(!in_use(&c.home, history, me, dataset).unwrap());
        assert!(matches!(due(&c.home, history, me), Err(StoreError::Damaged(Item::Withdrawal))));
    }

    /// A directory that was put back from an older copy lost the order, not the log.
    #[test]
    fn what_the_log_says_was_withdrawn_is_not_used_either() {
        let (mut c, person) = (case(), SigningKey::from_bytes(&[21; 32]));
        let (dataset, reason) = (Sha256([3; 32]), DatasetReason::Consent);
        let me = c.log.admit(&person);
        let declared = DatasetDeclaration { dataset, unit: Unit::Record, declared_units: 10 };
        c.log.hear(&person, &declared, Facts::DatasetDeclared { dataset });
        c.follow();
        assert!(in_use(&c.home, c.mirror.history(), me, dataset).unwrap());
        let order = DatasetWithdrawal { dataset, reason };
        keep(&c.home, &order).unwrap();
        assert_eq!(due(&c.home, c.mirror.history(), me).unwrap(), [order]);
        c.log.hear(&person, &order, Facts::DatasetWithdrawn { dataset, reason });
        c.follow();
        assert_eq!(due(&c.home, c.mirror.history(), me).unwrap(), []);
        std::fs::remove_file(c.home.withdrawal(&dataset)).unwrap();
        assert!(!in_use(&c.home, c.mirror.history(), me, dataset).unwrap());
    }
}
