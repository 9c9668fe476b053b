//! A pack's verdict for people. Adds nothing to it and hides nothing of it.

use super::EvidenceVerdict;
use crate::table::{listed, not_verified, table, told};

/// The verdict as text.
pub fn render(v: &EvidenceVerdict) -> String {
    let sentence = match v.exit_code {
        0 => "Everything that was checked holds.",
        1 => "INTEGRITY FAILURE: the evidence contradicts what was signed. Do not believe it.",
        3 => "INVARIANT FAILURE: the evidence is intact, and it records something that the rules forbid.",
        _ => "INCOMPLETE: nothing contradicts anything, but something is missing or below its quorum.",
    };
    let pinned = if v.trust_pinned { "compared with the hash given" } else { "COMPARE with the one you were told" };
    let mut about = table(&["what", "value"]);
    about.add_row(["federation", &v.federation]);
    about.add_row(["trust document", &format!("{} ({pinned})", v.trust_fingerprint)]);
    about.add_row(["institution", &format!("{} ({})", v.name, v.institution)]);
    about.add_row(["receipts", &format!("{} entries under a checkpoint of size {}", v.receipts, v.tree_size)]);
    about.add_row(["witnesses", &v.cosigners.join(", ")]);
    about.add_row(["signed statements", &v.statements.to_string()]);
    let site = v.site_entries.map_or_else(|| "not in the pack".to_owned(), |n| format!("{n} entries"));
    about.add_row(["site log", &format!("{site}; {} anchors", v.anchors)]);
    if !v.sidecars.is_empty() {
        about.add_row(["told by sidecars", &told(&v.sidecars)]);
    }
    let mut spent = table(&["data set", "declared units", "epsilon", "cap", "delta", "updates", "ledger", "releases", "epsilon over all"]);
    for d in &v.datasets {
        let text = |o: &Option<String>| o.clone().unwrap_or_else(|| "-".to_owned());
        let ledger = match d.ledger_agrees {
            Some(true) => "agrees",
            Some(false) => "DISAGREES",
            None => "not in the pack",
        };
        let short: String = d.dataset.chars().take(12).collect();
        spent.add_row([
            short,
            d.declared_units.to_string(),
            text(&d.epsilon),
            d.own_epsilon_cap.as_ref().map_or_else(|| text(&d.epsilon_cap), |own| format!("{}, own {own}", text(&d.epsilon_cap))),
            text(&d.delta),
            d.spends.to_string(),
            ledger.to_owned(),
            d.releases.map_or_else(|| format!("{} stated", d.stated_releases), |n| format!("{n}, {} stated", d.stated_releases)),
            text(&d.ledger_epsilon),
        ]);
    }
    let mut out = format!("{sentence}\n\n{about}\n{spent}\n");
    if !v.findings.is_empty() {
        out.push_str(&format!("Findings: {}\n{}\n", v.findings.len(), listed(v.findings.iter().take(100))));
    }
    out.push_str(&not_verified(&v.not_verified));
    out.push('\n');
    out
}
