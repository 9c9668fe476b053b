//! The rules that entries must keep, each with the clause that asks for it (audit.md A35, A36).

use super::{DatasetHistory, SpendRecord};
use crate::ids::LeafIndex;
use crate::trust::LedgerRepair;

macro_rules! clauses {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $integrity:literal;)*) => {
        /// A rule that an entry broke.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Clause { $($(#[$doc])* $variant,)* }
        impl Clause {
            /// The clause and what it asks, for reports.
            pub fn text(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// Whether it is an integrity failure (checks 1 to 5) or an invariant failure (check 6); A38.
            pub fn is_integrity(self) -> bool { match self { $(Self::$variant => $integrity,)* } }
        }
    };
}

clauses! {
    /// Not JSON of the schema in its one spelling.
    Schema = "A15: entry is not of the schema in its one spelling", true;
    /// `seq` is not the leaf index.
    Sequence = "A16: seq is not the leaf index", true;
    /// Time does not rise.
    TimeOrder = "A16: ts does not rise", true;
    /// Another federation.
    Federation = "A16: federation is not that of the trust document", true;
    /// Somebody else's name or key.
    Actor = "A16: actor is not the one whom the log knows in this role", false;
    /// Led to by another entry, by none, or by one that leads to nothing of this type.
    Cause = "A16: cause is not the entry that led here", false;
    /// Written by another process than the one that started, or after that one ended.
    Origin = "A16: origin changes without a start of the server's process, or an entry follows its end", false;
    /// A decision that is not about a right, or not by the table.
    Decision = "I12: a decision states a right and the rule of its table, and is allowed to somebody whom the rule fits", false;
    /// Old or new hash of program or settings.
    Restart = "I11: old and new program or settings are those of the last two starts", false;
    /// A witness that is not its institution's, goes missing twice, or returns without having been missing.
    Witness = "A19: a witness goes missing and returns in turn, at a size that the log has, and is the named institution's", false;
    /// A statement's signature, or its key, does not hold.
    Signature = "A17: statement is not signed by a key enrolled at this index", true;
    /// Fields repeat the payload wrongly.
    FieldsDiffer = "A17: entry fields differ from the signed payload", true;
    /// A type or field unknown to this version; reported, not failed.
    UnknownEntry = "A38: type unknown to this version; integrity holds, meaning unknown", false;
    /// Needs an administrator.
    NotAdministrator = "A19: statement is not an administrator's", false;
    /// Needs a member.
    NotMember = "I9: statement is not by an enrolled institution", false;
    /// Somebody whose membership does not hold.
    Barred = "I9: statement is by an institution whose membership is suspended, revoked or left", false;
    /// A standing that does not follow from the one before.
    Standing = "I9: a standing changes from what it was: active to suspended, revoked or left, suspended to active or revoked", false;
    /// A key that is not the one so far, or is revoked already.
    KeyRevocation = "I9: the key that is revoked is the one that the log has for an enrolled institution", false;
    /// Somebody who is enrolled already, or a name that is taken.
    Enrolled = "I9: an institution is enrolled once, under a name of its own", false;
    /// A certificate for a stranger, or over another key.
    Renewed = "I9: a certificate is renewed for an enrolled institution, over the key that the log has for it", false;
    /// A key that is not the one so far, or that somebody has or had.
    KeyRotation = "I9: a key is rotated from the one that the log has to one that nobody has or had", false;
    /// A statement key that has not signed that it is the institution's.
    Possession = "A17: a new statement key signs the change that names it", true;
    /// A statement by a key that its institution gave up.
    RetiredKey = "I9: nothing is accepted from a statement key that its institution has replaced", false;
    /// A statement key that changes in the middle of a round.
    KeyInRound = "I9: an institution speaks with one statement key in a round that it is on the roster of", false;
    /// A policy approved over another one than the one in force.
    Policy = "I11: an approved policy names the one that is in force before it", false;
    /// A site policy declared over another one than the last.
    SitePolicy = "I11: a declared site policy is another one than the institution's last and names it, from a tree size on that the log had", false;
    /// A trust document approved over another one than the one in force.
    Trust = "I11: a new trust document names the one that is in force before it", false;
    /// A trust document that cannot take the place of the one in force.
    TrustDocument = "A14: a new trust document has one spelling and sound keys, keeps federation and root certificate, and takes back no key of the log", false;
    /// More documents than one administrator may propose.
    TrustWaiting = "A14: an administrator has signed at most 32 trust documents that could follow the one in force", false;
    /// A newcomer that was shown a trust document which never was in force here.
    Shown = "A14: an institution joins under a trust document of this log", false;
    /// No such task.
    UnknownTask = "I7: entry names a task that was not approved", false;
    /// A state moves where it may not.
    State = "I7: the round or task is not in a state that allows this", false;
    /// Chunks of a round that goes on, a second time, or others than those that it accepted.
    ChunksDeleted = "I7: sealed chunks are deleted of a round that is over, once, and of everything that it accepted", false;
    /// A header twice, or two updates of one institution.
    Twice = "I1: accepted twice for one round and group", false;
    /// The set is not exactly the accepted and not dropped updates.
    Set = "I2: the set is not exactly the accepted updates of eligible members", false;
    /// A set with an update of somebody whose membership does not hold.
    Standings = "I2: a set is proposed of members in good standing alone; what others sent is dropped before", false;
    /// Too few or too many members.
    Cohort = "I3: set size is outside the limits", false;
    /// Closed on fewer groups than the plan combines.
    Parts = "I3: the round closed on fewer opened groups than the plan's way of combining them needs", false;
    /// Certificate without a quorum over one set.
    Certificate = "I4: certificate is not a quorum's signatures over one set", false;
    /// A decryptor signed two sets.
    TwoSets = "I4: a decryptor signed two sets", false;
    /// Opening by a stranger, for another set, or too few.
    Opening = "I5: opening is not by a committee member for the certified set", false;
    /// A manifest without its quorum, or whose contents the log contradicts.
    Manifest = "I6: manifest is not endorsed by a quorum or contradicts the log", false;
    /// Random groups other than those that the join list and the revealed numbers give.
    Dealing = "I6: random groups are not dealt from the join list and the numbers that decryptors had committed to", false;
    /// A statement names another manifest.
    OtherManifest = "I6: statement names another manifest", false;
    /// A data manifest of an undeclared dataset, of another unit, with impossible numbers, or that leaves out the one before it.
    DataManifest = "A19: data manifest does not fit the declared dataset or the manifest before it", false;
    /// A dataset that was withdrawn, or none to withdraw.
    Withdrawn = "I9: nothing is declared about or trained on a dataset that was withdrawn, and none is withdrawn twice", false;
    /// A spend from a dataset or under a cap that was not declared.
    BudgetUndeclared = "I8: spend from a dataset that was not declared", false;
    /// A spend without an update, for a round that is open or has one.
    SpentAlone = "A21: a spend stands alone once, after the end of a round that took no update of its institution", false;
    /// A budget that is said to be exhausted out of its time, twice, or in no measure.
    Exhausted = "A19: a budget is said to be exhausted in a round that goes on, under the signed cap, and once until something could make room", false;
    /// A payment after that.
    SpentExhausted = "I8: nothing is paid for a task whose budget was said to be exhausted before something could make room", false;
    /// Figures that do not add up.
    BudgetSum = "I8: epsilon does not continue from the last spend", false;
    /// Above the signed cap.
    BudgetCap = "I8: epsilon is above the signed cap", false;
    /// A total over tasks that were charged by different accounts would be a total of nothing.
    BudgetAccount = "I8: a signed cap is of the same account as the one before it", false;
    /// A release of something that the log did not give.
    Release = "I10: a release names a model that a closed round of its plan gave, with its rounds and base, without a break", false;
    /// A release that was signed before a withdrawal.
    ReleaseAfter = "I10: a release names the last withdrawal of its model, after which it was signed", false;
    /// Gates other than the plan's, a figure other than the log's, or one that was not passed and not overridden.
    Gates = "M20: a release states the gates of its plan with the log's figures, and passes them all or says why it is made all the same", false;
    /// A withdrawal of something that is not out.
    Withdrawal = "I10: a withdrawal names a model that was released and not withdrawn before, and where", false;
    /// A recovery of another size than that of the log before it.
    Recovered = "A32: a recovery states the size of the log that stands before it", false;
    /// A copy of entries that did not stand yet.
    Exported = "A19: a copy of the log is of entries that stood before it was handed out", false;
    /// A review of entries that did not stand yet.
    Review = "A39: a review speaks about entries that stood before it", false;
    /// A site log that was cut or begun anew.
    SiteAnchor = "I14: a site log grows between its anchors", false;
    /// Ledger counters fall or repeat.
    LedgerCounter = "I8: ledger counter does not rise", false;
}

/// A broken rule at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The entry.
    pub index: LeafIndex,
    /// The rule.
    pub clause: Clause,
}

/// Violations of one entry.
pub(super) struct Report {
    index: LeafIndex,
    violations: Vec<Violation>,
}

impl Report {
    pub(super) fn at(index: LeafIndex) -> Self {
        Self { index, violations: Vec::new() }
    }
    pub(super) fn add(&mut self, clause: Clause) {
        self.violations.push(Violation { index: self.index, clause });
    }
    pub(super) fn require(&mut self, holds: bool, clause: Clause) {
        if !holds {
            self.add(clause);
        }
    }
    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }
}

/// I8 as far as it needs no accountant: counters rise, epsilon continues and stays under the signed cap.
pub(super) fn check_spend(dataset: &DatasetHistory, new: &SpendRecord, out: &mut Report) {
    let s = &new.spend;
    let (before, after) = (s.epsilon_before.to_f64(), s.epsilon_after.to_f64());
    out.require(after >= before, Clause::BudgetSum);
    match &dataset.cap {
        Some(cap) => out.require(after <= cap.most_own().to_f64() && s.epsilon_cap == cap.epsilon_cap, Clause::BudgetCap),
        None => out.add(Clause::BudgetUndeclared),
    }
    // A payment from before is told with its own counter.
    let refused = dataset.exhausted_in(new.task).is_some_and(|e| s.ledger_counter > e.said.ledger_counter);
    out.require(!refused, Clause::SpentExhausted);
    let repaired = dataset.repairs.last().is_none_or(|(_, r)| s.ledger_counter > r.ledger_counter);
    out.require(repaired, Clause::LedgerCounter);
    // Headers of one reservation (one per group) repeat its counter and figures; a later reservation continues from them.
    if let Some(last) = dataset.spends.last().map(|r| &r.spend) {
        let same = s.ledger_counter == last.ledger_counter;
        out.require(same || s.ledger_counter > last.ledger_counter, Clause::LedgerCounter);
        if same {
            out.require(s == last, Clause::BudgetSum);
        } else if dataset.spends.last().is_some_and(|r| r.task == new.task) {
            // A gap counts as spent: a later "before" may exceed the last "after", never fall below it.
            out.require(before >= last.epsilon_after.to_f64() && s.steps_total > last.steps_total, Clause::BudgetSum);
        }
    }
}

/// A repaired ledger goes on above every counter that it was repaired to (privacy.md D65).
pub(super) fn check_repair(dataset: &DatasetHistory, index: LeafIndex, repair: &LedgerRepair, out: &mut Report) {
    out.require(repair.log_size <= index.0, Clause::FieldsDiffer);
    let spends = dataset.spends.iter().filter(|r| r.index.0 < repair.log_size).map(|r| r.spend.ledger_counter);
    let repairs = dataset.repairs.iter().map(|(_, r)| r.ledger_counter);
    out.require(spends.chain(repairs).all(|c| repair.ledger_counter > c), Clause::LedgerCounter);
}
