//! Scalar releases of one dataset, told three times: by the ledger that paid them, by the site log before the draw, and to the federation's log,
//! which learns their cost alone (privacy.md D28, D65). What one of them lacks or says otherwise is named. Knows no file.

use crate::finding::{Check, Findings, Place, Rule, Severity};
use privacy::ledger::{PrivacyLedger, ReleaseStage, SeenRelease};
use protocol::history::DatasetHistory;
use protocol::ids::Sha256;
use protocol::site::SiteEntry;
use protocol::trust::ReleaseSpend;
use std::collections::BTreeMap;

pub(super) const SITE: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: ledger and site log show the same scalar releases");
const STATED: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: a scalar release is stated once, as the ledger paid it");
const ALL: Rule = Rule::new(Check::Budgets, Severity::Invariant, "I8: every scalar release that the ledger paid is stated in the log");
const NEWEST: Rule = Rule::new(
    Check::Budgets,
    Severity::Incomplete,
    "I8: scalar releases since the last statement of the ledger are stated; connect the client, then export again",
);

/// Scalar releases of a dataset that a site log shows. Lines that are no entries are named where the log is judged.
pub(super) fn of_site_log(log: &[u8], of: Sha256) -> Vec<SeenRelease> {
    let lines = log.split(|b| *b == b'\n').filter_map(|line| SiteEntry::parse(line).ok());
    let releases = lines.filter_map(|e| SeenRelease::of(e.seq, &e.facts));
    releases.filter(|(dataset, _)| *dataset == of).map(|(_, seen)| seen).collect()
}

/// What ledger and site log disagree about. The line is written after the payment and before the draw, so values that were released have one.
pub(super) fn same(ledger: &PrivacyLedger, lines: &[SeenRelease]) -> Result<(), String> {
    ledger.compare_releases(lines).map_err(|e| e.to_string())?;
    let unsaid = |(counter, r): &(u64, &privacy::ledger::ReleaseState)| {
        matches!(r.stage, ReleaseStage::Released(_)) && lines.iter().all(|l| l.counter != *counter)
    };
    match ledger.releases().find(unsaid) {
        Some((counter, _)) => Err(format!("release {counter}, which no line of the site log shows")),
        None => Ok(()),
    }
}

/// Whether the log states the releases that the ledger paid, each once and at its cost, and no other. An institution states them when it is next
/// connected, before anything that it pays later: only the newest ones may be missing, and they make a pack incomplete.
pub(super) fn stated(ledger: &PrivacyLedger, shown: &DatasetHistory, findings: &mut Findings) -> bool {
    let mut unsaid: BTreeMap<u64, ReleaseSpend> = ledger.release_spends().map(|r| (r.ledger_counter, r)).collect();
    let mut agrees = true;
    // What the chain lost and a repair took in counts at the cost that the site log shows.
    for (index, said) in shown.releases.iter().filter(|(_, r)| !ledger.has_repaired(r.ledger_head)) {
        let paid = unsaid.remove(&said.ledger_counter);
        if paid != Some(*said) {
            let expected = paid.map_or_else(|| "a release of the ledger that is not stated yet".to_owned(), |r| in_words(&r));
            findings.add(STATED, Place::Index(index.0), expected, in_words(said));
            agrees = false;
        }
    }
    let spends = shown.spends.iter().map(|r| r.spend.ledger_counter);
    let last = spends.chain(shown.releases.iter().map(|(_, r)| r.ledger_counter)).max();
    for (counter, paid) in &unsaid {
        let left_out = last.is_some_and(|last| last > *counter);
        let place = Place::Path(format!("ledger/{}.ledger", paid.dataset));
        findings.add(if left_out { ALL } else { NEWEST }, place, in_words(paid), "no budget.released of it");
        agrees &= !left_out;
    }
    agrees
}

fn in_words(r: &ReleaseSpend) -> String {
    format!("release {} of rho {}, entry {}", r.ledger_counter, r.rho, r.ledger_head)
}
