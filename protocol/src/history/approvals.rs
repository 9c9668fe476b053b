//! What takes several administrators: an act is exactly the bytes that they sign, each of them counts once, and it has effect where the m-th of
//! them stands (audit.md A14, A19). Knows no act.

use crate::codec;
use crate::ids::{ClientId, LeafIndex, Sha256};
use crate::statement::{Payload, Statement, StatementKind};
use std::collections::BTreeMap;

/// Who approved one act, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approval {
    by: BTreeMap<ClientId, LeafIndex>,
    effective: Option<LeafIndex>,
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
    /// Where each of them signed it, in order.
    pub fn places(&self) -> Vec<LeafIndex> {
        let mut places: Vec<_> = self.by.values().copied().collect();
        places.sort_unstable();
        places
    }
    /// Where it took effect.
    pub fn effective(&self) -> Option<LeafIndex> {
        self.effective
    }
}

/// What an administrator's word did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Others must say it too.
    Waits,
    /// It has effect from here on.
    Now,
    /// It had effect already.
    Earlier,
}

/// Approvals by kind and hash of what was signed.
#[derive(Clone, Debug, Default)]
pub(super) struct Approvals(BTreeMap<(StatementKind, Sha256), Approval>);

fn act(kind: StatementKind, payload: &[u8]) -> (StatementKind, Sha256) {
    (kind, Sha256(crate::hash::sha256(&[payload])))
}

impl Approvals {
    /// Counts an administrator's word, of whom `threshold` must say the same; a second word of one administrator adds nothing.
    pub(super) fn count(&mut self, statement: &Statement, index: LeafIndex, threshold: u16) -> Effect {
        let approval = self.0.entry(act(statement.kind, &statement.payload)).or_default();
        approval.by.entry(statement.signer()).or_insert(index);
        if approval.effective.is_some() {
            return Effect::Earlier;
        }
        if approval.by.len() < usize::from(threshold) {
            return Effect::Waits;
        }
        approval.effective = Some(index);
        Effect::Now
    }

    /// Approvals of exactly these bytes.
    pub(super) fn of(&self, kind: StatementKind, payload: &[u8]) -> Option<&Approval> {
        self.0.get(&act(kind, payload))
    }

    /// Acts that wait, by the place of their newest word.
    pub(super) fn waiting(&self) -> Vec<(LeafIndex, StatementKind, &Approval)> {
        let waits = self.0.iter().filter(|(_, a)| a.effective.is_none());
        let mut out: Vec<_> = waits.filter_map(|((kind, _), a)| Some((*a.by.values().max()?, *kind, a))).collect();
        out.sort_unstable_by_key(|(at, ..)| *at);
        out
    }

    /// Forgets these acts: words that waited for more are void.
    pub(super) fn forget<P: Payload>(&mut self, acts: impl Iterator<Item = P>) {
        for said in acts {
            self.0.remove(&act(P::KIND, &codec::encode(&said)));
        }
    }

    /// Forgets every act that waits for more words.
    pub(super) fn forget_waiting(&mut self) {
        self.0.retain(|_, a| a.effective.is_some());
    }

    /// Forgets every act of this kind.
    pub(super) fn forget_all(&mut self, kind: StatementKind) {
        self.0.retain(|(k, _), _| *k != kind);
    }
}
