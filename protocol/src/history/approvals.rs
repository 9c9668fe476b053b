//! What takes administrators: an act is exactly the bytes that they sign, and each of them counts once (audit.md A14, A19). Knows no act.

use crate::ids::{ClientId, LeafIndex, Sha256};
use crate::statement::{Statement, StatementKind};
use std::collections::BTreeMap;

/// Who approved one act, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approval {
    by: BTreeMap<ClientId, LeafIndex>,
}

impl Approval {
    /// Administrators who signed it.
    pub fn have(&self) -> usize {
        self.by.len()
    }
    /// Where this signer's first word for it stands.
    pub fn by(&self, signer: ClientId) -> Option<LeafIndex> {
        self.by.get(&signer).copied()
    }
}

/// Approvals by kind and hash of what was signed.
#[derive(Clone, Debug, Default)]
pub(super) struct Approvals(BTreeMap<(StatementKind, Sha256), Approval>);

fn act(kind: StatementKind, payload: &[u8]) -> (StatementKind, Sha256) {
    (kind, Sha256(crate::hash::sha256(&[payload])))
}

impl Approvals {
    /// Counts an administrator's word; a second one of the same administrator adds nothing.
    pub(super) fn count(&mut self, statement: &Statement, index: LeafIndex) {
        let approval = self.0.entry(act(statement.kind, &statement.payload)).or_default();
        approval.by.entry(statement.signer()).or_insert(index);
    }

    /// Approvals of exactly these bytes.
    pub(super) fn of(&self, kind: StatementKind, payload: &[u8]) -> Option<&Approval> {
        self.0.get(&act(kind, payload))
    }
}
