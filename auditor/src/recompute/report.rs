//! What came of making sums again, for people and programs. Judges nothing.

use crate::table;
use crate::verdict::Verdict;
use serde::Serialize;

/// What became of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything that the server stated came out again.
    Agrees,
    /// Something else came out.
    Differs,
    /// Chunks are missing or are not what was signed.
    #[default]
    NotRecomputed,
    /// The log says that this sum failed: nothing was opened, nothing can be.
    Failed,
    /// The log holds no opened sum of this group.
    NotOpened,
    /// Nothing was summed, but the integers that the server kept are those that it signed.
    Kept,
    /// The log says that the chunks were deleted, and they are not here.
    Deleted,
}

/// What became of the snapshot after a round: weights, or what a task that counts knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotOutcome {
    /// The plan's step gives the snapshot that the round closed with.
    Agrees,
    /// It gives another one, or there is no such step.
    Differs,
    /// Something that it is made from could not be had.
    NotMade,
}

/// The snapshot after a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotReport {
    /// What became of them.
    pub outcome: SnapshotOutcome,
    /// Digest that the round closed with.
    pub stated: String,
    /// Digest that came out here, if one did.
    pub recomputed: Option<String>,
    /// Why none came out, or where a document parts from the stated one, in words.
    pub reason: Option<String>,
}

/// One round of a log whose sums were all made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoundReport {
    /// The task.
    pub task: String,
    /// The round.
    pub round: u64,
    /// Its groups.
    pub groups: Vec<GroupReport>,
    /// The snapshot that it closed with, where snapshots were given.
    pub snapshot: Option<SnapshotReport>,
}

/// One figure of the log beside the one that came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// As the server signed it.
    pub stated: String,
    /// As it came out here, if it did.
    pub recomputed: Option<String>,
    /// Whether they agree.
    pub agrees: bool,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupReport {
    /// Its number.
    pub group: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// Why nothing came out, in words.
    pub reason: Option<String>,
    /// Members of the certified set.
    pub members: usize,
    /// Polynomials of an update.
    pub polynomials: u64,
    /// Chunks read, of all members.
    pub chunks: u64,
    /// Over the summed bodies.
    pub sum_root: Option<Figure>,
    /// Over the key sum that the openings give.
    pub key_sum: Option<Figure>,
    /// Over the opened integers.
    pub values: Option<Figure>,
    /// Over the integers that the server kept, where they were given.
    pub kept: Option<Figure>,
    /// Largest residual over its prediction; 1 is expected, 1.25 the most.
    pub residual_ratio: Option<Figure>,
    /// Polynomials with a suspiciously small residual.
    pub quiet_polynomials: u64,
    /// Sum of the members' weights, where they travel with the updates.
    pub weight: Option<u64>,
    /// That sum beside what the members had declared.
    pub weights: Option<Figure>,
    /// The L2 norm of the group's mean beside the most that the plan allows, where it bounds it.
    pub norm: Option<Figure>,
}

/// One round made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recomputation {
    /// The exit code: that of the verdict, which the findings of the recomputation are part of.
    pub exit_code: u8,
    /// The task.
    pub task: Option<String>,
    /// The round.
    pub round: u64,
    /// Digest of the manifest, which every mask comes from.
    pub manifest: Option<String>,
    /// The groups asked for.
    pub groups: Vec<GroupReport>,
    /// The snapshot that the round closed with, where snapshots were given.
    pub snapshot: Option<SnapshotReport>,
    /// The verdict over the log as a whole.
    pub verdict: Verdict,
}

impl Recomputation {
    /// One sentence for people.
    pub fn sentence(&self) -> &'static str {
        let agrees = |g: &GroupReport| matches!(g.outcome, Outcome::Agrees | Outcome::Failed);
        let made = self.snapshot.as_ref().map(|s| s.outcome);
        match self.exit_code {
            0 if self.groups.iter().any(|g| g.outcome == Outcome::Deleted) => {
                "Nothing contradicts anything: sealed chunks of this round were deleted on record, and their sums cannot be made again here."
            }
            0 if made == Some(SnapshotOutcome::Agrees) => {
                "Every sum of this round, and the snapshot after it, came out again as the server stated it."
            }
            0 => "Every sum of this round came out again as the server stated it.",
            1 if self.groups.iter().any(|g| g.outcome == Outcome::Differs) => "INTEGRITY FAILURE: a sum is not what the server stated.",
            1 if made == Some(SnapshotOutcome::Differs) => "INTEGRITY FAILURE: the snapshot is not what the sums give.",
            4 if self.groups.iter().all(|g| !agrees(g)) => "INCOMPLETE: not recomputed.",
            _ => self.verdict.sentence(),
        }
    }
}

/// The report as text.
pub fn render(r: &Recomputation) -> String {
    let mut lines = vec![r.sentence().to_owned(), String::new()];
    lines.push(format!("Task {}, round {}", r.task.as_deref().unwrap_or("unknown"), r.round));
    r.groups.iter().for_each(|g| lines.push(group(g)));
    lines.extend(r.snapshot.as_ref().map(|s| format!("Snapshot after the round: {}", snapshot(s))));
    if !r.verdict.findings.is_empty() {
        lines.push(table::findings(&r.verdict));
    }
    let holds = if r.verdict.checks.iter().all(|c| c.passed) { "holds in every check" } else { "see its findings, and `verify`" };
    lines.push(format!("The log: {} entries, {holds}.", r.verdict.entries));
    lines.push(table::not_verified(&r.verdict.not_verified));
    lines.join("\n")
}

/// What was checked of every round, and what was not, one round on a line.
pub(crate) fn rounds(all: &[RoundReport]) -> String {
    let mut t = table::table(&["task", "round", "sums", "snapshot after it"]);
    for r in all {
        let one = |g: &GroupReport| format!("group {}: {}", g.group, outcome(g));
        let sums: Vec<String> = r.groups.iter().map(one).collect();
        let after = r.snapshot.as_ref().map_or_else(|| "not checked".to_owned(), snapshot);
        t.add_row([r.task.get(..8).unwrap_or(&r.task).to_owned(), r.round.to_string(), sums.join("\n"), after]);
    }
    format!("Made again:\n{t}")
}

fn snapshot(s: &SnapshotReport) -> String {
    let reason = s.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
    match (s.outcome, &s.recomputed) {
        (SnapshotOutcome::Agrees, _) => format!("agrees: {}", s.stated),
        (SnapshotOutcome::Differs, Some(ours)) => format!("DIFFERS: stated {}, came out {ours}{reason}", s.stated),
        (SnapshotOutcome::Differs, None) => format!("DIFFERS: stated {}{reason}", s.stated),
        (SnapshotOutcome::NotMade, _) => format!("NOT MADE AGAIN{reason}"),
    }
}

fn outcome(g: &GroupReport) -> String {
    let word = match g.outcome {
        Outcome::Agrees => "recomputed, agrees",
        Outcome::Differs => "RECOMPUTED, DIFFERS",
        Outcome::NotRecomputed => "NOT RECOMPUTED",
        Outcome::Failed => "failed in the log: nothing was opened",
        Outcome::NotOpened => "no opened sum in the log",
        Outcome::Kept => "not summed; the kept integers are the signed ones",
        Outcome::Deleted => "deleted on record",
    };
    g.reason.as_ref().map_or_else(|| word.to_owned(), |why| format!("{word}: {why}"))
}

fn group(g: &GroupReport) -> String {
    let mut t = table::table(&["what", "value"]);
    t.add_row([format!("group {}", g.group), outcome(g)]);
    t.add_row(["members".to_owned(), g.members.to_string()]);
    t.add_row(["polynomials".to_owned(), format!("{} in each of {} members, {} chunks read", g.polynomials, g.members, g.chunks)]);
    for (what, figure) in [
        ("sum root", &g.sum_root),
        ("key sum", &g.key_sum),
        ("values", &g.values),
        ("kept integers", &g.kept),
        ("residual, worst", &g.residual_ratio),
    ] {
        let Some(f) = figure else { continue };
        let came_out = f.recomputed.as_deref().unwrap_or("nothing");
        let text = if f.agrees { format!("agrees: {came_out}") } else { format!("DIFFERS: stated {}, came out {came_out}", f.stated) };
        t.add_row([what.to_owned(), text]);
    }
    if let Some(f) = &g.norm {
        let (came_out, word) = (f.recomputed.as_deref().unwrap_or("nothing"), if f.agrees { "" } else { "TOO LONG: " });
        t.add_row(["norm of the mean".to_owned(), format!("{word}{came_out}, at most {}", f.stated)]);
    }
    t.add_row(["residual, quiet".to_owned(), format!("{} polynomials below 0.75", g.quiet_polynomials)]);
    if let Some(weight) = g.weight {
        let declared = g.weights.as_ref().filter(|f| !f.agrees).map(|f| format!("; DECLARED: {}", f.stated));
        t.add_row(["sum of weights".to_owned(), format!("{weight}{}", declared.unwrap_or_default())]);
    }
    t.to_string()
}
