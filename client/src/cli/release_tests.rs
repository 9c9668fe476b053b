//! The command on a whole directory: records, ledger, site log, stored values (privacy.md D28, D63, D65).

use super::*;
use crate::files::{Item, Lock};
use crate::identity::Identity;
use crate::testing::TestLog;
use privacy::ledger::PrivacyLedger;
use serde_json::Value;
use std::ffi::OsString;
use std::process::ExitCode;

struct Site {
    dir: tempfile::TempDir,
    home: Home,
}

const POLICY: &str =
    "max_eps_total = \"20\"\nmax_delta = \"0.00001\"\nmin_noise_multiplier = \"0.6\"\ncohort_min = 3\nallow_record_unit = false\n";
const DATA: &str = "[data]\npath = \"records.jsonl\"\nname = \"messages\"\nuser_field = \"user\"\n";

/// An institution with 40 records of 10 persons: each has two of label `a`, one of `b`, one of `c`.
fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let keys = Keys::load_or_make(&home, "fed/hospital-a").ok().unwrap();
    let identity =
        Identity { v: 1, federation: "fed".into(), institution: "hospital-a".into(), client: keys.client(), server: "localhost:1".into() };
    identity.store(&home).unwrap();
    let mut log = TestLog::new();
    log.trust(&home);
    log.grow(1, 1);
    let mut mirror = Mirror::open(&home).unwrap();
    let note = mirror.read_note(&log.note()).unwrap();
    mirror.append(&note, log.entries.clone()).unwrap();
    let line = |n: usize| {
        let label = ["a", "a", "b", "c"][n % 4];
        format!("{{\"text\":\"message number {n}\",\"label\":\"{label}\",\"user\":\"p{}\"}}\n", n / 4)
    };
    std::fs::write(dir.path().join("records.jsonl"), (0..40).map(line).collect::<String>()).unwrap();
    let site = Site { dir, home };
    site.write("client.toml", DATA);
    site.write("site_policy.toml", POLICY);
    site
}

impl Site {
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }
    fn client(&self, args: &[&str]) -> String {
        let before = ["concordat-client", "--dir", self.dir.path().to_str().unwrap(), "privacy"];
        format!("{:?}", crate::cli::run(before.iter().chain(args).map(OsString::from)))
    }
    fn release(&self, args: &[&str]) -> String {
        self.client(&[&["release"][..], args].concat())
    }
    fn stored(&self, id: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.home.release(&self.dataset(), id)).unwrap()).unwrap()
    }
    fn ledger_file(&self) -> std::path::PathBuf {
        let found = std::fs::read_dir(self.home.ledger_dir()).unwrap().map(|e| e.unwrap().path());
        found.into_iter().find(|p| p.extension().is_some_and(|e| e == "ledger")).unwrap()
    }
    /// The dataset of the one ledger.
    fn dataset(&self) -> Sha256 {
        self.ledger_file().file_stem().unwrap().to_str().unwrap().parse().unwrap()
    }
    fn spent(&self) -> u64 {
        PrivacyLedger::load(&std::fs::read(self.ledger_file()).unwrap()).unwrap().ledger.totals().spent.0
    }
}

fn code(number: u8) -> String {
    format!("{:?}", ExitCode::from(number))
}

#[test]
fn a_count_is_paid_once_and_shown_again() {
    let site = site();
    let ask = ["--what", "units", "--epsilon", "1", "--id", "monthly"];
    assert_eq!(site.release(&ask), code(0));
    let (first, spent) = (site.stored("monthly"), site.spent());
    assert!(spent > 0);
    assert_eq!((&first["sensitivity"], &first["delta"], &first["unit"]), (&json!(1), &json!("0.00001"), &json!("user")));
    let epsilon: f64 = first["epsilon"].as_str().unwrap().parse().unwrap();
    assert!(epsilon <= 1.0 && epsilon > 0.99, "{epsilon}");
    for format in ["json", "table", "text"] {
        assert_eq!(site.release(&[&ask[..], &["--format", format]].concat()), code(0), "{format}");
        assert_eq!(site.release(&["--show", "monthly", "--format", format]), code(0));
    }
    assert_eq!((site.stored("monthly"), site.spent()), (first, spent), "asked again, nothing is drawn and nothing is paid");
    assert_eq!(site.release(&["--what", "units", "--epsilon", "1"]), code(0), "without an id each is a new one");
    assert_eq!(site.spent(), 2 * spent);
    let counter = site.stored("entry-3")["ledger_counter"].as_u64();
    assert_eq!(counter, Some(3), "called by its entry");
    for verb in ["show", "verify"] {
        assert_eq!(site.client(&["ledger", verb, "--format", "json"]), code(0));
    }
}

/// What is counted is what the records hold: with almost no noise the answers are the counts, moved by a cap that is honoured.
#[test]
fn counts_are_of_the_configured_records() {
    let site = site();
    site.write("site_policy.toml", &POLICY.replace("\"20\"", "\"100000000\""));
    let ask = |id: &str, args: &[&str]| {
        assert_eq!(site.release(&[&["--id", id, "--rho", "5000"][..], args].concat()), code(0), "{args:?}");
        site.stored(id)["values"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ask("u", &["--what", "units"]), [10]);
    assert_eq!(ask("r3", &["--what", "records", "--max-records-per-unit", "3"]), [30]);
    assert_eq!(ask("r9", &["--what", "records", "--max-records-per-unit", "9"]), [40]);
    assert_eq!(
        ask("l", &["--what", "labels", "--label", "c", "--label", "a", "--label", "none", "--max-records-per-unit", "4"]),
        [10, 20, 0]
    );
    assert_eq!((&site.stored("l")["sensitivity"], &site.stored("l")["labels"]), (&json!(4), &json!(["c", "a", "none"])));
    // A name of a label leaves no trace where others look: not in the ledger, not in the site log.
    for path in [site.ledger_file(), site.home.site_log()] {
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(4).any(|w| w == b"none"));
    }
}

#[test]
fn what_cannot_be_asked_is_told_and_costs_nothing() {
    let site = site();
    let units = ["--what", "units"];
    let with = |more: &[&str]| site.release(&[&units[..], more].concat());
    for bad in [
        &[][..],
        &["--epsilon", "0"],
        &["--epsilon", "-1"],
        &["--epsilon", "nan"],
        &["--rho", "0"],
        &["--epsilon", "1", "--rho", "1"],
        &["--epsilon", "1", "--delta", "0"],
        &["--epsilon", "1", "--delta", "1"],
        &["--epsilon", "1", "--label", "a"],
        &["--epsilon", "1", "--max-records-per-unit", "2"],
        &["--epsilon", "1", "--id", "../keys"],
        &["--epsilon", "1", "--id", "entry-4"],
        &["--epsilon", "1", "--show", "a"],
    ] {
        assert_eq!(with(bad), code(2), "{bad:?}");
    }
    let rest = ["--epsilon", "1"];
    for bad in [
        &["--what", "records"][..],
        &["--what", "records", "--max-records-per-unit", "0"],
        &["--what", "labels", "--max-records-per-unit", "2"],
        &["--what", "labels", "--label", "a"],
        &["--what", "labels", "--max-records-per-unit", "2", "--label", "a", "--label", "a"],
        &["--what", "lines"],
        &[],
    ] {
        assert_eq!(site.release(&[bad, &rest[..]].concat()), code(2), "{bad:?}");
    }
    assert_eq!(site.release(&["--show", "monthly"]), code(2), "nothing has this id");
    assert_eq!(with(&["--epsilon", "1", "--delta", "0.0001"]), code(1), "above the site policy");
    assert_eq!(with(&["--epsilon", "1000"]), code(1), "above the cap");
    // Another lineage, since a ledger keeps its unit.
    site.write("client.toml", &DATA.replace("user_field = \"user\"\n", "").replace("messages", "records"));
    assert_eq!(with(&["--epsilon", "1"]), code(1), "records are units only where the site policy says so");
    site.write("client.toml", "");
    assert_eq!(with(&["--epsilon", "1"]), code(2), "no records");
    site.write("client.toml", DATA);
    assert_eq!(site.spent(), 0);
    std::fs::remove_file(site.home.site_policy()).unwrap();
    assert_eq!(with(&["--epsilon", "1"]), code(2), "no site policy");
    let held = Lock::take(&site.home.lock(), Item::Identity).unwrap();
    assert_eq!(with(&["--epsilon", "1"]), code(2), "the client runs");
    drop(held);
}

#[test]
fn an_id_stands_for_one_question() {
    let site = site();
    let ask = |more: &[&str]| site.release(&[&["--id", "monthly"][..], more].concat());
    assert_eq!(ask(&["--what", "units", "--epsilon", "1"]), code(0));
    let (stored, spent) = (site.stored("monthly"), site.spent());
    assert_eq!(ask(&["--what", "units", "--epsilon", "2"]), code(1));
    assert_eq!(ask(&["--what", "records", "--max-records-per-unit", "1", "--epsilon", "1"]), code(1));
    assert_eq!((site.stored("monthly"), site.spent()), (stored, spent));
    std::fs::remove_file(site.home.release(&site.dataset(), "monthly")).unwrap();
    assert_eq!(ask(&["--what", "units", "--epsilon", "1"]), code(1), "not drawn again");
    assert_eq!(site.release(&["--show", "monthly"]), code(1));
}

/// A backup of the ledger from before a release: the site log shows what it lacks, nothing is paid until a repair has counted it.
#[test]
fn a_ledger_from_yesterday_pays_for_no_release() {
    let site = site();
    assert_eq!(site.release(&["--what", "units", "--epsilon", "1", "--id", "first"]), code(0));
    let yesterday = std::fs::read(site.ledger_file()).unwrap();
    assert_eq!(site.release(&["--what", "units", "--epsilon", "2", "--id", "second"]), code(0));
    let spent = site.spent();
    std::fs::write(site.ledger_file(), yesterday).unwrap();
    let third = ["--what", "units", "--epsilon", "1", "--id", "third"];
    assert_eq!(site.release(&third), code(1));
    assert_eq!(site.client(&["ledger", "verify"]), code(1));
    assert_eq!(site.client(&["ledger", "repair"]), code(0));
    assert_eq!(site.spent(), spent, "everything that the site log shows is counted again");
    assert_eq!(site.client(&["ledger", "verify"]), code(0));
    assert_eq!(site.release(&["--what", "units", "--epsilon", "2", "--id", "second"]), code(1), "nor is the lost id paid again");
    assert_eq!(site.release(&third), code(0));
    // And where the file itself is gone.
    let (path, spent) = (site.ledger_file(), site.spent());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(site.client(&["ledger", "verify"]), code(1));
    assert_eq!(site.client(&["ledger", "repair"]), code(0));
    assert_eq!((site.spent(), site.client(&["ledger", "verify"])), (spent, code(0)));
}

/// Each dataset has a ledger that counts from its start, so that the name of its first release is that of the other's.
#[test]
fn releases_of_one_dataset_do_not_replace_those_of_another() {
    let site = site();
    let ask = ["--what", "units", "--epsilon", "1"];
    assert_eq!(site.release(&ask), code(0));
    let first = site.stored("entry-1");
    let messages = site.home.release(&site.dataset(), "entry-1");
    site.write("client.toml", &DATA.replace("messages", "letters"));
    assert_eq!((site.release(&ask), site.release(&["--show", "entry-1"])), (code(0), code(0)));
    site.write("client.toml", DATA);
    assert_eq!(site.release(&["--show", "entry-1"]), code(0));
    let kept: Value = serde_json::from_slice(&std::fs::read(messages).unwrap()).unwrap();
    assert_eq!(kept, first);
}

/// D58: a new name for the same people is no new budget while what was spent under the old one is not counted.
#[test]
fn nothing_is_released_while_the_ledger_of_another_dataset_is_gone() {
    let site = site();
    let ask = ["--what", "units", "--epsilon", "1"];
    assert_eq!(site.release(&ask), code(0));
    let messages = site.ledger_file();
    site.write("client.toml", &DATA.replace("messages", "letters"));
    assert_eq!(site.release(&ask), code(0), "both ledgers are here");
    std::fs::remove_file(&messages).unwrap();
    let spent = site.spent();
    assert_eq!((site.release(&ask), site.spent()), (code(1), spent));
    assert_eq!(site.client(&["ledger", "repair"]), code(0));
    assert!(messages.exists());
    assert_eq!(site.release(&ask), code(0));
}

#[test]
fn nothing_is_counted_in_records_that_were_withdrawn() {
    let site = site();
    let ask = |id: &str| site.release(&["--what", "units", "--epsilon", "1", "--id", id]);
    assert_eq!(ask("before"), code(0));
    let spent = site.spent();
    let (dataset, reason) = (site.dataset(), protocol::membership::DatasetReason::Consent);
    withdrawal::keep(&site.home, &protocol::membership::DatasetWithdrawal { dataset, reason }).unwrap();
    assert_eq!((ask("after"), site.spent()), (code(1), spent));
    assert_eq!(site.release(&["--show", "before"]), code(0), "what was released was released");
}
