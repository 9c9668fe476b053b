//! The command on a whole directory: keys, ledger, copy of the log (privacy.md D65, D68).

use super::*;
use crate::keys::Keys;
use crate::ledger::LedgerStore;
use crate::mirror::Wanted;
use crate::site_log::SiteLog;
use crate::testing::{TestLog, plan};
use privacy::ledger::{ReserveRequest, Terms, default_order};
use privacy::mechanism::Mechanism;
use protocol::ids::{ManifestDigest, RoundId};
use protocol::plan::{Plan, Unit};
use protocol::site::SiteFacts;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

struct Site {
    dir: tempfile::TempDir,
    home: Home,
    mirror: Mirror,
    ledger: std::path::PathBuf,
}

/// An institution whose log has the task and whose ledger paid for one round of it.
fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path());
    let keys = Arc::new(Keys::load_or_make(&home, "fed/hospital-a").ok().unwrap());
    let identity =
        Identity { v: 1, federation: "fed".into(), institution: "hospital-a".into(), client: keys.client(), server: "localhost:1".into() };
    identity.store(&home).unwrap();
    let (plan, bytes) = (plan(), protocol::codec::encode(&plan()));
    let mut log = TestLog::new();
    log.trust(&home);
    log.grow(1, 1);
    log.approve(&plan);
    let mut mirror = Mirror::open(&home).unwrap();
    let note = mirror.read_note(&log.note()).unwrap();
    mirror.append(&note, log.entries.clone()).unwrap();
    while let Some(wanted) = mirror.fold().unwrap() {
        assert_eq!(wanted, Wanted::Plan(Plan::digest(&bytes)));
        mirror.supply(wanted, Some(&bytes)).unwrap();
    }
    assert!(mirror.violations().is_empty(), "{:?}", mirror.violations());
    let (cap, delta) = ("20".parse().unwrap(), "0.00001".parse().unwrap());
    let dataset = Sha256([2; 32]);
    let order = default_order(cap, delta).unwrap();
    let terms =
        Terms { institution: keys.client(), dataset, unit: plan.privacy.unit, epsilon_cap: cap, delta, order, own_epsilon_cap: None };
    let mut store = LedgerStore::open(&home, terms, keys).unwrap();
    let mechanism = Mechanism::new(&plan.privacy, plan.dimension(), 1000).unwrap();
    store.register(&plan, Plan::digest(&bytes), &mechanism).unwrap();
    let request = ReserveRequest {
        task: plan.task,
        plan: Plan::digest(&bytes),
        round: RoundId(1),
        manifest: ManifestDigest([4; 32]),
        mechanism: &mechanism,
        steps: u64::from(plan.local.steps),
        compared: store.ledger().compare(&[]).unwrap(),
    };
    store.reserve(&request, crate::clock::now()).unwrap();
    Site { ledger: home.ledger(&dataset), dir, home, mirror }
}

fn client(site: &Site, args: &[&str]) -> String {
    let before = ["concordat-client", "--dir", site.dir.path().to_str().unwrap()];
    format!("{:?}", crate::cli::run(before.iter().chain(args).map(OsString::from)))
}
fn code(number: u8) -> String {
    format!("{:?}", ExitCode::from(number))
}

fn statement(site: &Site) -> Statement {
    let args = StatementArgs { task: plan().task, dataset: None, language: Tongue::En };
    make(&site.home, &site.mirror, &ledger(&site.home, &args).unwrap(), plan().task, "hospital-a".to_owned()).unwrap()
}

#[test]
fn every_field_is_in_the_data_and_on_the_page_in_both_languages() {
    let site = site();
    let (s, page) = (statement(&site), page::render(&statement(&site)));
    let data = data(&s);
    let keys: BTreeSet<_> = data.as_object().unwrap().keys().cloned().collect();
    for language in [Language::English, Language::Chinese] {
        for r in s.rows(language) {
            assert!(keys.contains(r.key), "{}", r.key);
            assert!(page.contains(r.label) || page.contains(&r.label.replace('&', "&amp;")), "{}", r.label);
            assert!(r.value.iter().all(|v| page.contains(&page::escape(v))), "{:?}", r.value);
        }
        let words = text(&s, language);
        assert!(s.rows(language).iter().all(|r| words.contains(r.label) && r.value.iter().all(|v| words.contains(v))));
        for x in s.sentences(language) {
            assert!(words.contains(&x.text));
            assert!(page.contains(&page::escape(&x.text)));
        }
    }
    // Nothing is fetched, nothing runs.
    for foreign in ["<script", "http", "src=", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

/// D69: the table of the paper names fields; each is in the data, in the text and on the page, in both languages.
#[test]
fn every_field_of_the_guideline_is_in_text_json_and_page() {
    const PAPER: &str = include_str!("../../../docs/privacy-statement.md");
    let table = PAPER.split("## Fields of NIST SP 800-226").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let cells = table.lines().filter(|l| l.starts_with("| ")).skip(1).map(|l| l.split('|').nth(2).unwrap().to_owned());
    let named: Vec<String> = cells.flat_map(|c| c.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(named.len() >= 25, "{named:?}");
    let site = site();
    let s = statement(&site);
    let (data, page) = (data(&s), page::render(&s));
    for language in [Language::English, Language::Chinese] {
        let (rows, words) = (s.rows(language), text(&s, language));
        for key in &named {
            assert!(!data[key.as_str()].is_null() || key == "empirical", "{key} has no value in JSON");
            assert!(data.as_object().unwrap().contains_key(key.as_str()), "{key} is not in JSON");
            if key == "sentences" {
                assert!(s.sentences(language).iter().all(|x| words.contains(&x.text) && page.contains(&page::escape(&x.text))));
                continue;
            }
            let row = rows.iter().find(|r| r.key == key).unwrap_or_else(|| panic!("{key} is no row"));
            assert!(row.value.iter().all(|v| words.contains(v.as_str()) && page.contains(&page::escape(v))), "{key}");
            assert!(words.contains(row.label) && page.contains(&page::escape(row.label)), "{key}");
        }
    }
    // And the other way round: no field of the statement is left out of the table.
    for r in s.rows(Language::English) {
        assert!(named.iter().any(|n| n == r.key), "{} is not in the table", r.key);
    }
}

#[test]
fn the_numbers_are_the_ledgers() {
    let site = site();
    let (s, data) = (statement(&site), data(&statement(&site)));
    let loaded = PrivacyLedger::load(&std::fs::read(&site.ledger).unwrap()).unwrap();
    let task = loaded.ledger.task(plan().task).unwrap();
    assert_eq!(data["epsilon_spent"], task.epsilon.to_string());
    assert_eq!(data["lifetime"]["epsilon"], loaded.ledger.totals().epsilon.unwrap().to_string());
    assert_eq!(data["ledger"]["head"], loaded.ledger.head().to_string());
    assert_eq!(data["plan"], task.schedule.plan.to_string());
    assert_eq!((&data["rounds"]["registered"], &data["rounds"]["reserved"]), (&json!(2), &json!(1)));
    assert_eq!(data["epsilon"], s.promise.epsilon.to_string());
    assert!(data["sentences"].as_array().unwrap().iter().all(|x| x["en"].as_str().unwrap().contains(x["epsilon"].as_str().unwrap())));
    assert_eq!(data["checkpoint"]["size"], 2);
}

/// D12: that rounds do not show their duration is claimed only where one policy said so all the time.
#[test]
fn a_schedule_is_claimed_only_if_the_task_was_never_taken_on_under_another_policy() {
    let site = site();
    let task = plan().task;
    let said = |policy: &str| {
        std::fs::write(site.home.site_policy(), policy).unwrap();
        let data = data(&statement(&site));
        let words = data["does_not_cover"].to_string();
        assert_eq!(words.contains("how long a round took"), data["upload_at"] == "ready", "{words}");
        data["upload_at"].clone()
    };
    let ready = crate::site_policy::STRICT.to_owned();
    let scheduled = format!("{ready}upload_at = \"scheduled\"\n");
    let take_on = |policy: &str, code: u16| {
        let policy = Sha256(protocol::hash::sha256(&[policy.as_bytes()]));
        let facts = SiteFacts::PolicyDecided { task, plan: statement(&site).plan, policy, code };
        SiteLog::open(&site.home).unwrap().append(facts).unwrap();
    };
    assert_eq!(said(&scheduled), "ready", "nothing says under which policy the task was taken on");
    take_on(&ready, 15);
    take_on(&scheduled, 0);
    assert_eq!(said(&scheduled), "scheduled");
    assert_eq!(said(&ready), "ready");
    take_on(&ready, 0);
    assert_eq!(said(&scheduled), "ready", "some rounds may have shown how long they took");
}

#[test]
fn a_tampered_ledger_gives_no_statement() {
    let site = site();
    let task = plan().task.to_hex();
    let ask = ["privacy", "statement", "--task", task.as_str()];
    for format in ["text", "json", "html"] {
        assert_eq!(client(&site, &[&ask[..], &["--format", format]].concat()), code(0), "{format}");
    }
    assert_eq!(client(&site, &[&ask[..], &["--language", "zh"]].concat()), code(0));
    let whole = std::fs::read(&site.ledger).unwrap();
    for at in (0..whole.len()).step_by(97) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        std::fs::write(&site.ledger, &bad).unwrap();
        assert_eq!(client(&site, &ask), code(1), "byte {at}");
        assert_eq!(client(&site, &["privacy", "ledger", "verify"]), code(1), "byte {at}");
    }
}

/// A ledger from before a release understates what was spent; no header in the log tells, the site log does.
#[test]
fn a_ledger_that_lacks_a_release_gives_no_statement() {
    let site = site();
    let task = plan().task.to_hex();
    let ask = ["privacy", "statement", "--task", task.as_str()];
    let say = |dataset: Sha256| {
        let facts = SiteFacts::ReleasePaid {
            dataset,
            unit: Unit::Record,
            release: Sha256([5; 32]),
            question: Sha256([6; 32]),
            values: 1,
            sensitivity: 1,
            scale_1024: 50 * 1024,
            ledger_counter: 3,
            ledger_head: Sha256([7; 32]),
        };
        SiteLog::open(&site.home).unwrap().append(facts).unwrap();
    };
    say(Sha256([3; 32]));
    assert_eq!(client(&site, &ask), code(0), "another dataset's release");
    say(Sha256([2; 32]));
    assert_eq!(client(&site, &ask), code(1));
}

#[test]
fn what_is_not_here_is_said() {
    let site = site();
    let task = plan().task.to_hex();
    let other = "ff".repeat(16);
    assert_eq!(client(&site, &["privacy", "statement", "--task", &other]), code(2));
    assert_eq!(client(&site, &["privacy", "statement", "--task", &task, "--dataset", &"ee".repeat(32)]), code(2));
    assert_eq!(client(&site, &["privacy", "statement"]), code(2), "a task must be named");
    assert_eq!(client(&site, &["privacy", "ledger", "show", "--format", "html"]), code(2), "only a statement is a page");
    for verb in ["show", "verify", "repair"] {
        assert_eq!(client(&site, &["privacy", "ledger", verb, "--format", "json"]), code(0), "{verb}");
    }
}

/// A kept audit of the plan is named by its hash and its bound; of another plan it is not, and a damaged one gives no statement.
#[test]
fn a_kept_audit_of_the_plan_is_named() {
    let site = site();
    assert_eq!(data(&statement(&site))["empirical"], Value::Null);
    let digest = Plan::digest(&protocol::codec::encode(&plan()));
    let report = |plan: String| {
        let beside = json!({ "epsilon_lower_95": 0.7654321999 });
        json!({ "plan_digest": plan, "verdict": "consistent", "epsilon_lower_95": 0.25, "audit_configuration": beside }).to_string()
    };
    let path = site.home.audit(&digest);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, report(digest.to_string())).unwrap();
    let empirical = data(&statement(&site))["empirical"].clone();
    let id = Sha256(protocol::hash::sha256(&[report(digest.to_string()).as_bytes()]));
    assert_eq!(empirical, json!({ "audit": id, "epsilon_lower_95": "0.765432", "verdict": "consistent" }));
    for wrong in [report("another".to_owned()), "{".to_owned(), report(digest.to_string()).replace("consistent", "verified")] {
        std::fs::write(&path, wrong).unwrap();
        assert_eq!(client(&site, &["privacy", "statement", "--task", &plan().task.to_hex()]), code(2));
    }
}
