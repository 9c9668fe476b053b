//! The verdict over a log directory: what holds, what does not, and what was not looked at (A38). Knows no file.

use crate::finding::{Check, Finding, Findings, Severity};
use crate::others::Equivocation;
use crate::recompute::{Given, Outcome, RoundReport, SnapshotOutcome};
use crate::sidecars::Told;
use serde::Serialize;

/// Version of the JSON form (operations.md O3); fields are only added within a version.
pub const SCHEMA_VERSION: u32 = 1;

/// What one check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// What was checked.
    pub name: &'static str,
    /// The clause that asks for it.
    pub clause: &'static str,
    /// Whether it was reached; without a trust document nothing after it is.
    pub run: bool,
    /// Whether it was reached and nothing failed.
    pub passed: bool,
    /// How much failed.
    pub findings: u64,
}

/// Who cosigned the newest checkpoint, and what its policy asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuorumSummary {
    /// Names of the witnesses that cosigned.
    pub cosigners: Vec<String>,
    /// Witnesses of the policy.
    pub witnesses: usize,
    /// Tree size from which the policy holds.
    pub policy_from: u64,
    /// Whether the policy's quorum, and the auditor's own, are met.
    pub met: bool,
}

/// An institution that was ever admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberSummary {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The entry that admitted it.
    pub joined: u64,
    /// Its witness.
    pub witness: String,
    /// How it stands: active, suspended, revoked or left.
    pub standing: &'static str,
    /// Why, unless it is active.
    pub reason: Option<&'static str>,
    /// The entry since which it stands so.
    pub since: u64,
}

impl MemberSummary {
    /// How it stands, and why, in a few words; nothing for whoever is active.
    pub fn remark(&self) -> Option<String> {
        self.reason.map(|reason| format!("{}: {reason}", self.standing))
    }
}

/// One sum of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupSummary {
    /// Number of the group.
    pub group: u32,
    /// Members of the set: accepted and not dropped.
    pub cohort: usize,
    /// Accepted updates that were dropped.
    pub dropped: usize,
    /// The certified set.
    pub set: Option<String>,
    /// Signatures over it.
    pub signatures: usize,
    /// Openings posted.
    pub openings: usize,
    /// Residual over its prediction, as the server states it.
    pub residual_ratio: Option<String>,
    /// Whether the openings give the stated key sum, recomputed here.
    pub key_sum_confirmed: bool,
}

/// What one institution stated to have spent up to a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpsilonSummary {
    /// Name of the institution.
    pub institution: String,
    /// The dataset's opaque id.
    pub dataset: String,
    /// Upper bound on ε after the round.
    pub epsilon: String,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoundSummary {
    /// Its number.
    pub round: u64,
    /// Its state in the glossary's words.
    pub state: &'static str,
    /// Weights that it closed with.
    pub snapshot: Option<String>,
    /// Its sums.
    pub groups: Vec<GroupSummary>,
    /// ε by institution.
    pub epsilon: Vec<EpsilonSummary>,
    /// The entry since which its sealed chunks are deleted.
    pub chunks_deleted: Option<u64>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskSummary {
    /// Its id.
    pub id: String,
    /// Digest of its plan.
    pub plan: String,
    /// Whether rounds may still begin.
    pub open: bool,
    /// δ of the plan's promise, if the plan is there.
    pub delta: Option<String>,
    /// The plan's cap on ε, if the plan is there.
    pub epsilon_cap: Option<String>,
    /// Its rounds.
    pub rounds: Vec<RoundSummary>,
}

/// A trust document that took the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrustSummary {
    /// The entry from which on it is in force.
    pub entry: u64,
    /// Its SHA-256.
    pub hash: String,
    /// The same for a telephone.
    pub fingerprint: String,
    /// Administrators that it names.
    pub administrators: usize,
    /// How many of them must say the same.
    pub threshold: u16,
    /// Whether the server signs with another key than before.
    pub server_key_changed: bool,
    /// The key that signs the log from here on, if it is another one than before: trees that end before this entry are the older key's.
    pub log_key: Option<String>,
    /// Administrators of the document before it who put it in force.
    pub approvals: usize,
    /// Administrators that the document before it asks for.
    pub needed: u16,
}

/// What one gate of a release came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GateSummary {
    /// What was looked at.
    pub code: &'static str,
    /// The plan's threshold.
    pub threshold: String,
    /// The model's figure.
    pub figure: String,
    /// Whether it passed.
    pub passed: bool,
    /// Whether the log has the figure, which was compared; otherwise administrators state it.
    pub from_log: bool,
    /// The same in one line.
    #[serde(skip)]
    pub text: String,
}

/// One release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleaseSummary {
    /// Its entry.
    pub entry: u64,
    /// The task.
    pub task: String,
    /// Digest of the weights.
    pub snapshot: String,
    /// SHA-256 of the model's signature.
    pub signature: String,
    /// First closed round that the weights come from.
    pub first_round: u64,
    /// The round that closed with them.
    pub last_round: u64,
    /// Whether it is called a substantial modification of a model released before.
    pub substantial: bool,
    /// Administrators behind it.
    pub approvals: usize,
    /// Administrators that the trust document asks for.
    pub needed: usize,
    /// What the gates of the plan came to.
    pub gates: Vec<GateSummary>,
    /// SHA-256 of the file that says how the stated figures were measured.
    pub evaluation: Option<String>,
    /// Why it was made although a gate was not passed.
    pub overridden: Option<&'static str>,
    /// The entry that withdraws it.
    pub withdrawn: Option<u64>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether everything that was checked holds.
    pub verified: bool,
    /// The exit code of A38.
    pub exit_code: u8,
    /// Name of the federation.
    pub federation: Option<String>,
    /// SHA-256 of the trust document that the log begins with.
    pub trust_hash: Option<String>,
    /// The same for a telephone: to be compared where no hash was pinned.
    pub trust_fingerprint: Option<String>,
    /// Whether it, or one that took its place, was compared with a hash given by the auditor.
    pub trust_pinned: bool,
    /// Trust documents that took the place of the first one, in order; the last one is in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_changes: Vec<TrustSummary>,
    /// Entries read.
    pub entries: u64,
    /// Size of the newest checkpoint.
    pub tree_size: u64,
    /// Root recomputed from the entries.
    pub root: Option<String>,
    /// Retained notes signed by the log.
    pub notes: u64,
    /// Witnesses of the newest checkpoint.
    pub quorum: QuorumSummary,
    /// Enrolled institutions.
    pub members: Vec<MemberSummary>,
    /// Tasks.
    pub tasks: Vec<TaskSummary>,
    /// Released models.
    pub releases: Vec<ReleaseSummary>,
    /// Each check.
    pub checks: Vec<CheckResult>,
    /// Everything found, notices too.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub findings_omitted: u64,
    /// Pairs of notes that prove a fork.
    pub equivocations: Vec<Equivocation>,
    /// Values behind hashes in the log, where a sidecar tells them and its hash is right.
    pub sidecars: Vec<Told>,
    /// What this verdict does not speak about.
    pub not_verified: Vec<&'static str>,
    /// Every round whose sums were made again, where chunks or sums were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recomputed: Vec<RoundReport>,
}

/// What nobody looks at without chunks.
const SUMS: &str = "summed bodies and opened values against the key sums: no sums and no chunks were given";

/// How good a model is, no log shows.
const STATED: &str =
    "figures of gates that no log shows (loss, accuracy, macro-F1): administrators state them, and name a file by its hash";
/// What nobody looks at without snapshots.
const SNAPSHOTS: &str = "snapshots against the opened sums: no snapshots were given";
/// What kept integers do not show.
const KEPT_ONLY: &str = "summed bodies against the key sums: of some sums only kept integers were compared, with what the server signed";
/// Sums that are not among those made again.
const OTHER_SUMS: &str = "sums of rounds and groups that were not asked for";
/// Sums that could not be made again.
const LOST_SUMS: &str = "sums that could not be made again: their rounds say why";
/// Sums whose chunks nobody is said to have any more.
const DELETED_SUMS: &str = "sums whose sealed chunks were deleted on record: without a copy nobody adds them up again";
/// Snapshots that were not made again.
const OTHER_SNAPSHOTS: &str = "snapshots of rounds that were not asked for or could not be made again: their rounds say why";

/// What a verification of the log alone does not look at.
const NEVER: [&str; 5] = [
    "that inputs were honest: a log shows what was said, not that it was true",
    SUMS,
    SNAPSHOTS,
    "ledger entries behind the stated heads: they stay with the institutions",
    "truncation signed again by the log, unless notes kept elsewhere are given with --with",
];

/// What was made again, and what was not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Again {
    /// Sums that came out of chunks, the stated ones or others.
    sums: u64,
    /// Sums of which only kept integers were compared.
    kept: u64,
    /// Opened sums of which neither could be had.
    lost: u64,
    /// Opened sums whose chunks were deleted on record.
    deleted: u64,
    asked_snapshots: bool,
    /// Snapshots that came out, the stated ones or others.
    snapshots: u64,
    lost_snapshots: u64,
    /// Whether every round of the log was asked for.
    whole: bool,
}

impl Again {
    /// Counts what became of rounds.
    pub(crate) fn of(rounds: &[RoundReport], given: Given<'_>, whole: bool) -> Self {
        let mut again = Self { asked_snapshots: given.snapshots.is_some(), whole, ..Self::default() };
        for round in rounds {
            for group in &round.groups {
                match group.outcome {
                    Outcome::Agrees => again.sums += 1,
                    // Kept integers that are other ones, or too long, were not summed.
                    Outcome::Differs if group.sum_root.is_some() => again.sums += 1,
                    Outcome::Differs | Outcome::Kept => again.kept += 1,
                    Outcome::NotRecomputed => again.lost += 1,
                    Outcome::Deleted => again.deleted += 1,
                    Outcome::Failed | Outcome::NotOpened => {}
                }
            }
            match round.snapshot.as_ref().map(|s| s.outcome) {
                Some(SnapshotOutcome::Agrees | SnapshotOutcome::Differs) => again.snapshots += 1,
                Some(SnapshotOutcome::NotMade) => again.lost_snapshots += 1,
                None => {}
            }
        }
        again
    }

    fn any_sum(&self) -> bool {
        self.sums + self.kept > 0
    }
}

impl Verdict {
    /// A verdict that rests on findings alone; the rest is filled in by whoever got further.
    pub(crate) fn of(findings: &Findings, strict: bool, complete: bool) -> Self {
        let worst = findings.worst().map(|w| if strict { w.max(Severity::Incomplete) } else { w });
        let exit_code = worst.map_or(0, Severity::exit_code);
        let check = |c: Check| {
            let (run, failed) = (complete || c == Check::Trust, findings.count(c));
            CheckResult { name: c.name(), clause: c.clause(), run, passed: run && failed == 0, findings: failed }
        };
        Self {
            verified: exit_code == 0,
            exit_code,
            federation: None,
            trust_hash: None,
            trust_fingerprint: None,
            trust_pinned: false,
            trust_changes: Vec::new(),
            entries: 0,
            tree_size: 0,
            root: None,
            notes: 0,
            quorum: QuorumSummary::default(),
            members: Vec::new(),
            tasks: Vec::new(),
            releases: Vec::new(),
            checks: Check::ALL.iter().filter(|c| !matches!(c, Check::Sums | Check::Snapshots)).map(|c| check(*c)).collect(),
            findings: findings.list().to_vec(),
            findings_omitted: findings.omitted(),
            equivocations: Vec::new(),
            sidecars: Vec::new(),
            not_verified: NEVER.to_vec(),
            recomputed: Vec::new(),
        }
    }

    /// Takes in the releases, and says what of them only administrators know.
    pub(crate) fn add_releases(&mut self, releases: Vec<ReleaseSummary>) {
        if releases.iter().flat_map(|r| &r.gates).any(|g| !g.from_log) {
            self.not_verified.push(STATED);
        }
        self.releases = releases;
    }

    /// Says what came of making sums and snapshots again, which a verification of the log alone does not try.
    pub(crate) fn add_again(&mut self, again: &Again) {
        for (check, asked, run) in [(Check::Sums, true, again.any_sum()), (Check::Snapshots, again.asked_snapshots, again.snapshots > 0)] {
            let findings = self.findings.iter().filter(|f| f.check == check && f.severity > Severity::Notice).count() as u64;
            if asked {
                self.checks.push(CheckResult { name: check.name(), clause: check.clause(), run, passed: run && findings == 0, findings });
            }
        }
        let covered = [(SUMS, again.any_sum()), (SNAPSHOTS, again.asked_snapshots)];
        self.not_verified.retain(|line| covered.iter().all(|(covered, is)| line != covered || !is));
        let beyond = [
            (KEPT_ONLY, again.kept > 0),
            (OTHER_SUMS, again.any_sum() && !again.whole),
            (LOST_SUMS, again.any_sum() && again.lost > 0),
            (DELETED_SUMS, again.deleted > 0),
            (OTHER_SNAPSHOTS, again.asked_snapshots && (!again.whole || again.lost_snapshots > 0)),
        ];
        self.not_verified.extend(beyond.into_iter().filter(|(_, is)| *is).map(|(line, _)| line));
    }

    /// One sentence for people.
    pub fn sentence(&self) -> &'static str {
        match self.exit_code {
            0 => "Everything that was checked holds.",
            1 => "INTEGRITY FAILURE: the directory contradicts what was signed. Do not believe it.",
            3 => "INVARIANT FAILURE: the log is intact, and it records something that the rules forbid.",
            _ => "INCOMPLETE: nothing contradicts anything, but something is missing or below its quorum.",
        }
    }
}
