//! The verdict for people. Adds nothing to it and hides nothing of it.

use crate::finding::Finding;
use crate::others::Equivocation;
use crate::sidecars::Told;
use crate::verdict::{MemberSummary, TaskSummary, Verdict};
use comfy_table::{ContentArrangement, Table, presets};
use std::fmt::Write as _;

/// Findings printed; the JSON form lists all.
const SHOWN: usize = 100;

pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_header(head);
    table
}

/// The verdict as text.
pub fn render(v: &Verdict) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").unwrap_or(());
    line(v.sentence().to_owned());
    line(String::new());
    line(subject(v));
    line(checks(v));
    v.tasks.iter().for_each(|t| line(task(t)));
    if !v.releases.is_empty() {
        line(releases(v));
    }
    if !v.recomputed.is_empty() {
        line(crate::recompute::rounds(&v.recomputed));
    }
    if !v.findings.is_empty() {
        line(findings(v));
    }
    for e in &v.equivocations {
        line(conflict(e));
    }
    line(not_verified(&v.not_verified));
    out
}

/// Two notes that cannot both be true: a proof only where it stands alone.
fn conflict(e: &Equivocation) -> String {
    match &e.proof {
        Some(proof) => format!(
            "PROOF OF A FORK at size {}. Both notes are signed by the log; anybody can check this with `concordat-audit proof check`:\n{}",
            e.size,
            String::from_utf8_lossy(&proof.to_bytes())
        ),
        None => format!(
            "CONFLICT at size {}: the note from elsewhere is not of these entries. The files here give no proof of it that others could check: \
             the checkpoint of this directory is missing, smaller, or not of its own tiles. Run `concordat-audit diff` on the two \
             directories.\n{}\n{}",
            e.size, e.ours, e.theirs
        ),
    }
}

fn subject(v: &Verdict) -> String {
    let text = |o: &Option<String>| o.clone().unwrap_or_else(|| "unknown".to_owned());
    let pinned = if v.trust_pinned { "compared with the hash given" } else { "COMPARE with the one you were told" };
    let mut t = table(&["what", "value"]);
    t.add_row(["federation", &text(&v.federation)]);
    t.add_row(["trust document", &format!("{} ({pinned})", text(&v.trust_fingerprint))]);
    if let Some(now) = v.trust_changes.last() {
        let by = format!("{} of {} administrators decide", now.threshold, now.administrators);
        t.add_row(["trust document in force", &format!("{} (since entry {}; {by})", now.fingerprint, now.entry)]);
    }
    if let Some((key, entry)) = v.trust_changes.iter().rev().find_map(|t| Some((t.log_key.as_ref()?, t.entry))) {
        t.add_row(["key of the log", &format!("{key} (from {} entries on)", entry + 1)]);
    }
    t.add_row(["entries", &format!("{} read, {} under the newest checkpoint", v.entries, v.tree_size)]);
    t.add_row(["root", &text(&v.root)]);
    t.add_row(["notes retained", &v.notes.to_string()]);
    let q = &v.quorum;
    let met = if q.met { "quorum met" } else { "QUORUM NOT MET" };
    t.add_row(["witnesses", &format!("{} of {}: {} ({met})", q.cosigners.len(), q.witnesses, q.cosigners.join(", "))]);
    let remark = |m: &MemberSummary| m.remark().map(|r| format!(" ({r})")).unwrap_or_default();
    let members: Vec<String> = v.members.iter().map(|m| format!("{}{}", m.name, remark(m))).collect();
    t.add_row(["members", &members.join(", ")]);
    if !v.sidecars.is_empty() {
        t.add_row(["told by sidecars", &told(&v.sidecars)]);
    }
    t.to_string()
}

/// Values behind hashes, with the entries that hide them.
pub(crate) fn told(sidecars: &[Told]) -> String {
    sidecars.iter().map(|t| format!("entry {}: {}", t.entry, t.value)).collect::<Vec<_>>().join("\n")
}

fn checks(v: &Verdict) -> String {
    let mut t = table(&["check", "clause", "result"]);
    for c in &v.checks {
        let result = match (c.run, c.passed) {
            (false, _) => "not reached".to_owned(),
            (true, true) => "holds".to_owned(),
            (true, false) => format!("FAILS ({})", c.findings),
        };
        t.add_row([c.name, c.clause, &result]);
    }
    t.to_string()
}

fn task(task: &TaskSummary) -> String {
    let mut t = table(&["round", "state", "group", "cohort", "signatures", "openings", "key sum", "residual", "epsilon"]);
    for r in &task.rounds {
        let epsilon: Vec<String> = r.epsilon.iter().map(|e| format!("{} {}", e.institution, e.epsilon)).collect();
        if r.groups.is_empty() {
            t.add_row([&r.round.to_string(), r.state]);
        }
        for g in &r.groups {
            t.add_row([
                r.round.to_string(),
                r.state.to_owned(),
                g.group.to_string(),
                g.cohort.to_string(),
                g.signatures.to_string(),
                g.openings.to_string(),
                if g.key_sum_confirmed { "recomputed".to_owned() } else { "-".to_owned() },
                g.residual_ratio.clone().unwrap_or_else(|| "-".to_owned()),
                epsilon.join("\n"),
            ]);
        }
    }
    let promise = match (&task.delta, &task.epsilon_cap) {
        (Some(delta), Some(cap)) => format!("epsilon at most {cap} at delta {delta}"),
        _ => "its plan is not there".to_owned(),
    };
    format!("Task {}: {promise}; plan {}\n{t}", task.id, task.plan)
}

fn releases(v: &Verdict) -> String {
    let mut t = table(&["release", "model", "rounds", "approvals", "gates", "state"]);
    for r in &v.releases {
        let source = |from_log| if from_log { "from the log" } else { "stated" };
        let gates: Vec<String> = r.gates.iter().map(|g| format!("{} ({})", g.text, source(g.from_log))).collect();
        let overridden = r.overridden.map(|reason| format!("overridden: {reason}"));
        t.add_row([
            format!("entry {}", r.entry),
            r.snapshot.chars().take(12).collect(),
            format!("{} to {}", r.first_round, r.last_round),
            format!("{} of {}", r.approvals, r.needed),
            gates.into_iter().chain(overridden).collect::<Vec<_>>().join("\n"),
            r.withdrawn.map_or_else(|| "released".to_owned(), |at| format!("withdrawn by entry {at}")),
        ]);
    }
    format!("Releases: {}\n{t}", v.releases.len())
}

/// Findings, one on a line.
pub(crate) fn listed<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Table {
    let mut t = table(&["severity", "where", "rule", "expected", "got"]);
    for f in findings {
        t.add_row([f.severity.word().to_owned(), f.place.to_string(), f.clause.to_owned(), f.expected.clone(), f.got.clone()]);
    }
    t
}

/// What a verdict does not speak about.
pub(crate) fn not_verified(lines: &[&str]) -> String {
    lines.iter().fold("Not verified:".to_owned(), |text, line| format!("{text}\n  - {line}"))
}

pub(crate) fn findings(v: &Verdict) -> String {
    let t = listed(v.findings.iter().take(SHOWN));
    let total = v.findings_omitted.saturating_add(v.findings.len() as u64);
    format!("Findings: {total}, the first {} follow\n{t}", v.findings.len().min(SHOWN))
}
