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
    /// Largest residual over its prediction; 1 is expected, 1.25 the most.
    pub residual_ratio: Option<Figure>,
    /// Polynomials with a suspiciously small residual.
    pub quiet_polynomials: u64,
    /// Sum of the members' weights, where they travel with the updates.
    pub weight: Option<u64>,
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
    /// The verdict over the log as a whole.
    pub verdict: Verdict,
}

impl Recomputation {
    /// One sentence for people.
    pub fn sentence(&self) -> &'static str {
        let agrees = |g: &GroupReport| matches!(g.outcome, Outcome::Agrees | Outcome::Failed);
        match self.exit_code {
            0 => "Every sum of this round came out again as the server stated it.",
            1 if self.groups.iter().any(|g| g.outcome == Outcome::Differs) => "INTEGRITY FAILURE: a sum is not what the server stated.",
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
    if !r.verdict.findings.is_empty() {
        lines.push(table::findings(&r.verdict));
    }
    let holds = if r.verdict.checks.iter().all(|c| c.passed) { "holds in every check" } else { "see its findings, and `verify`" };
    lines.push(format!("The log: {} entries, {holds}.", r.verdict.entries));
    lines.push("Not verified:".to_owned());
    lines.extend(r.verdict.not_verified.iter().map(|n| format!("  - {n}")));
    lines.join("\n")
}

fn group(g: &GroupReport) -> String {
    let mut t = table::table(&["what", "value"]);
    let outcome = match g.outcome {
        Outcome::Agrees => "recomputed, agrees".to_owned(),
        Outcome::Differs => "RECOMPUTED, DIFFERS".to_owned(),
        Outcome::NotRecomputed => "NOT RECOMPUTED".to_owned(),
        Outcome::Failed => "failed in the log: nothing was opened".to_owned(),
        Outcome::NotOpened => "no opened sum in the log".to_owned(),
    };
    let reason = g.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
    t.add_row([format!("group {}", g.group), outcome + &reason]);
    t.add_row(["members".to_owned(), g.members.to_string()]);
    t.add_row(["polynomials".to_owned(), format!("{} in each of {} members, {} chunks read", g.polynomials, g.members, g.chunks)]);
    for (what, figure) in
        [("sum root", &g.sum_root), ("key sum", &g.key_sum), ("values", &g.values), ("residual, worst", &g.residual_ratio)]
    {
        let Some(f) = figure else { continue };
        let came_out = f.recomputed.as_deref().unwrap_or("nothing");
        let text = if f.agrees { format!("agrees: {came_out}") } else { format!("DIFFERS: stated {}, came out {came_out}", f.stated) };
        t.add_row([what.to_owned(), text]);
    }
    t.add_row(["residual, quiet".to_owned(), format!("{} polynomials below 0.75", g.quiet_polynomials)]);
    if let Some(weight) = g.weight {
        t.add_row(["sum of weights".to_owned(), weight.to_string()]);
    }
    t.to_string()
}
