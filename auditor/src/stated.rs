//! What entries state about other entries: tokens, counts, sizes and roots, held against what stands in the log (audit.md A19, A36). Knows
//! no signature.

use crate::dir::Directory;
use crate::finding::{Check, Findings, Place, Rule, Severity};
use crate::fold::SumPlace;
use audit::hash::Hash;
use audit::merkle::range_root;
use audit::reader::TileHashes;
use audit::tree::TreeHead;
use protocol::codec;
use protocol::entry::{Facts, LogEntry};
use protocol::history::{GroupHistory, History, RoundState};
use protocol::ids::{ClientId, RoundId, Sha256, TaskId, TokenId};
use protocol::manifest::SetPayload;
use protocol::statement::Payload as _;
use std::collections::{BTreeMap, BTreeSet};

const TOKEN: Rule = Rule::new(
    Check::Invariants,
    Severity::Invariant,
    "A19: a request to join names a token that was made before it and that nobody else has used",
);
const LIST: Rule =
    Rule::new(Check::Invariants, Severity::Invariant, "I6: a join list has as many institutions as the manifest that follows names");
const PROPOSED: Rule = Rule::new(
    Check::Invariants,
    Severity::Invariant,
    "I2: a set is proposed for a tree in which all its headers stand and which the log has",
);
const SIGNED: Rule =
    Rule::new(Check::Invariants, Severity::Invariant, "I4: a decryptor signs the number and the tree size that the proposal states");
const ENDED: Rule =
    Rule::new(Check::Invariants, Severity::Invariant, "I7: a task's end states how many of its rounds were closed and abandoned");
const REVIEW_ROOT: Rule = Rule::new(
    Check::Invariants,
    Severity::Invariant,
    "A39: a review names the root that this log has at its size; another one means that the reviewer was shown another log",
);
const RECOVERED_ROOT: Rule =
    Rule::new(Check::Invariants, Severity::Invariant, "A32: a recovery names the root that this log has at its size");
const EXPORTED_ROOT: Rule = Rule::new(
    Check::Invariants,
    Severity::Invariant,
    "A19: a copy that the server handed out has the root that this log has at its size; with another one somebody was given another log",
);
const NO_ROOT: Rule = Rule::new(Check::Invariants, Severity::Incomplete, "A35: the root of an older tree can be made from the tiles");

/// What does not fit.
pub(crate) struct Odd {
    pub(crate) rule: Rule,
    pub(crate) expected: String,
    pub(crate) got: String,
}

impl Odd {
    fn unless(holds: bool, rule: Rule, expected: impl Into<String>, got: impl Into<String>) -> Option<Self> {
        (!holds).then(|| Self { rule, expected: expected.into(), got: got.into() })
    }
}

/// What was stated so far and is not settled yet.
#[derive(Default)]
pub(crate) struct Stated {
    /// Tokens, with the institution that used each.
    tokens: BTreeMap<TokenId, Option<ClientId>>,
    /// Institutions on the join list of a round, until its manifest.
    lists: BTreeMap<(TaskId, RoundId), u64>,
    /// Number and tree size of a proposed set, until its certificate.
    proposed: BTreeMap<SumPlace, (u32, u64)>,
    /// Recoveries, with where they stand.
    recovered: Vec<(u64, TreeHead)>,
    /// Copies that were handed out, with where that stands.
    exported: Vec<(u64, TreeHead)>,
}

impl Stated {
    /// Takes in the entry at `index`, which `history` has taken in already.
    pub(crate) fn entry(&mut self, index: u64, entry: &LogEntry, history: &History) -> Option<Odd> {
        match (&entry.facts, entry.task, entry.round, entry.group) {
            (Facts::MemberInvited { token }, ..) => {
                self.tokens.entry(*token).or_default();
                None
            }
            (Facts::MemberJoinRequested { token, .. }, ..) => self.asked(*token, entry.institution?),
            (Facts::RoundJoined { count, .. }, Some(task), Some(round), _) => {
                self.lists.insert((task, round), *count);
                None
            }
            (Facts::ManifestPublished { .. }, Some(task), Some(round), _) => {
                let stated = self.lists.remove(&(task, round))?;
                let (manifest, _) = history.task(task)?.rounds().get(&round)?.manifest.as_ref()?;
                let named = manifest.eligible().len() as u64;
                Odd::unless(stated == named, LIST, named.to_string(), stated.to_string())
            }
            (Facts::SetProposed { count, log_size, .. }, Some(task), Some(round), Some(group)) => {
                let place = SumPlace { task, round, group };
                self.proposed.entry(place).or_insert((*count, *log_size));
                self.set_proposed(index, *log_size, history.task(task)?.rounds().get(&round)?.groups.get(&group)?)
            }
            (Facts::SetSigned { .. }, Some(task), Some(round), Some(group)) => {
                let stated = *self.proposed.get(&SumPlace { task, round, group })?;
                // A statement of another kind is the history's to name.
                let bytes = entry.stmt.as_ref()?.payload_bytes().ok()?;
                let said: SetPayload = codec::decode(&bytes, SetPayload::LIMIT).ok()?;
                let text = |(count, size): (u32, u64)| format!("{count} at size {size}");
                let got = (said.count, said.log_size);
                Odd::unless(got == stated, SIGNED, text(stated), text(got))
            }
            (Facts::RoundClosed { .. } | Facts::RoundAbandoned {}, Some(task), Some(round), _) => {
                self.proposed.retain(|p, _| (p.task, p.round) != (task, round));
                self.lists.remove(&(task, round));
                None
            }
            (Facts::TaskEnded { closed, abandoned, .. }, Some(task), ..) => {
                let states = || history.task(task).into_iter().flat_map(|t| t.rounds().values()).map(|r| r.state);
                let shut = states().filter(|s| matches!(s, RoundState::Closed(_))).count() as u64;
                let left = states().filter(|s| *s == RoundState::Abandoned).count() as u64;
                let text = |c: u64, a: u64| format!("{c} closed, {a} abandoned");
                Odd::unless((shut, left) == (*closed, *abandoned), ENDED, text(shut, left), text(*closed, *abandoned))
            }
            (Facts::ProcessRecovered { size, root, .. }, ..) => {
                self.recovered.push((index, TreeHead { size: *size, root: Hash(root.0) }));
                None
            }
            (Facts::AuditExported { size, root }, ..) => {
                self.exported.push((index, TreeHead { size: *size, root: Hash(root.0) }));
                None
            }
            _other => None,
        }
    }

    fn asked(&mut self, token: TokenId, who: ClientId) -> Option<Odd> {
        match self.tokens.get_mut(&token) {
            None => Odd::unless(false, TOKEN, "a token that was made", token.to_string()),
            Some(by) => {
                let first = *by.get_or_insert(who);
                Odd::unless(first == who, TOKEN, format!("used by {first} alone"), format!("used by {who}"))
            }
        }
    }

    fn set_proposed(&self, index: u64, log_size: u64, group: &GroupHistory) -> Option<Odd> {
        let dropped: &BTreeSet<_> = &group.dropped;
        let last = group.accepted.iter().filter(|(h, _)| !dropped.contains(h)).map(|(_, (_, at, _))| at.0).max()?;
        // The proposal itself may be the last entry of that tree.
        let holds = log_size > last && log_size <= index.saturating_add(1);
        Odd::unless(holds, PROPOSED, format!("a size above {last} and at most {}", index.saturating_add(1)), log_size.to_string())
    }

    /// Holds the roots that reviews, recoveries and exports name against those of this log, whose tiles have been compared with its entries.
    pub(crate) fn roots(&self, log: &Directory, size: u64, history: &History, findings: &mut Findings) {
        let head = |size, root: Sha256| TreeHead { size, root: Hash(root.0) };
        let reviews = history.reviews().iter().map(|(at, r)| (at.0, head(r.size, r.root), REVIEW_ROOT));
        let recovered = self.recovered.iter().map(|(at, head)| (*at, *head, RECOVERED_ROOT));
        let exported = self.exported.iter().map(|(at, head)| (*at, *head, EXPORTED_ROOT));
        for (index, stated, rule) in reviews.chain(recovered).chain(exported) {
            if stated.size > size {
                continue; // entries that do not stand: named already
            }
            match range_root(&TileHashes::new(log, size), 0, stated.size) {
                Ok(root) if root == stated.root => {}
                Ok(root) => findings.add(rule, Place::Index(index), root.to_string(), stated.root.to_string()),
                Err(_) => findings.add(NO_ROOT, Place::Index(index), format!("the root at size {}", stated.size), "missing tiles"),
            }
        }
    }
}
