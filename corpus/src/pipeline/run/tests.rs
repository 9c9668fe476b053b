//! The whole way in memory: counters, repeatability, neighbours, duplicates, leaks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use proptest::prelude::*;

use super::super::depot::MemoryDepot;
use super::super::made::Lines;
use super::super::manifest::{Manifest, Nonce};
use super::super::near;
use super::super::rules::tests::minimal;
use super::*;

struct Memory(Vec<Vec<u8>>);

impl Inputs for Memory {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn total_bytes(&self) -> u64 {
        self.0.iter().map(|b| b.len() as u64).sum()
    }
    fn open(&self, at: usize) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.0[at].clone())))
    }
}

type Row = serde_json::Map<String, serde_json::Value>;

struct Done {
    outcome: Outcome,
    train: Vec<Row>,
    validation: Vec<Row>,
    depot: MemoryDepot,
}

fn go(rules: &str, files: Vec<Vec<u8>>) -> Result<Done, PrepareError> {
    let rules = Rules::parse(rules).unwrap();
    let depot = MemoryDepot::new();
    let mut outcome = prepare(&rules, &Memory(files), &depot, &|_, _, _| {})?;
    outcome.quality.judge(&rules.thresholds, None);
    let rows = |side: &str| {
        let shards = depot.names().into_iter().filter(|n| n.starts_with(side)).map(|n| depot.bytes(&n).unwrap());
        let text = String::from_utf8(shards.flatten().collect()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Row>>()
    };
    let (train, validation) = (rows("train"), rows("validation"));
    Ok(Done { outcome, train, validation, depot })
}

fn text(row: &Row) -> &str {
    row["text"].as_str().unwrap()
}

/// Rules with a person, private or not.
fn rules(private: bool, more: &str) -> String {
    minimal(private, &format!("[[columns]]\nname = \"who\"\nrole = \"unit\"\n{more}"))
}

fn line(text: &str, label: &str, who: &str) -> String {
    serde_json::json!({ "text": text, "label": label, "who": who }).to_string() + "\n"
}

fn made(count: usize) -> Vec<u8> {
    Lines::new(3).take(count).flat_map(|l| (l + "\n").into_bytes()).collect()
}

/// Every stage that there is, on made-up records.
fn everything(private: bool) -> String {
    rules(
        private,
        "[[columns]]\nname = \"amount\"\nrole = \"feature\"\ntype = \"integer\"\nmissing = \"median\"\n\
        outliers = { method = \"mad\", limit = 20, action = \"drop\" }\n\
        [[columns]]\nname = \"sent\"\nrole = \"feature\"\ntype = \"date\"\ndate_formats = [\"%Y-%m-%d %H:%M\"]\n\
        [[checks]]\nname = \"dear\"\nrequire = \"amount < 49000 or len(text) > 20\"\n",
    )
    .replace("name = \"who\"", "name = \"subscriber\"")
    .replace("kinds = [\"mobile\"]", "kinds = [\"mobile\", \"id-number\", \"bank-card\", \"url\", \"email\", \"code\", \"name\"]")
    .replace("[training]", "[training]\nfitted_constants_are_not_accounted = true")
}

#[test]
fn counters_add_up_and_nothing_depends_on_threads() {
    let bytes = made(9000);
    // A line that is no row and one of another type, so that the first stage drops too.
    let bytes = [&b"{\"text\":\"cut\n{\"text\":\"t\",\"label\":\"a\",\"amount\":\"x\"}\n"[..], &bytes].concat();
    let lines = bytes.iter().filter(|b| **b == b'\n').count() as u64;
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| go(&everything(true), vec![bytes.clone()]).unwrap())
    };
    let (one, three) = (with(1), with(3));
    let quality = &one.outcome.quality;
    let total: u64 = quality.stages.iter().map(StageCount::total_dropped).sum();
    assert_eq!(quality.rows_in(Stage::Read), lines);
    assert_eq!(lines, total + quality.rows.train + quality.rows.validation);
    assert_eq!((quality.rows.train, quality.rows.validation), (one.train.len() as u64, one.validation.len() as u64));
    assert!(quality.stages.iter().all(|s| s.stage == Stage::Scrub || s.total_dropped() > 0), "every stage had work: {:?}", quality.stages);
    assert_eq!(quality.bad_rows[0].line, 1);
    assert_eq!((quality.bad_rows[1].line, quality.bad_rows[1].reason), (2, Dropped::WrongType));
    assert!(quality.is_good(), "{:?}", quality.verdicts);
    for name in one.depot.names() {
        assert_eq!(one.depot.bytes(&name), three.depot.bytes(&name), "{name}");
        assert!(!name.starts_with("work-"), "working files are gone: {name}");
    }
    assert_eq!(one.outcome.index, three.outcome.index);
    assert_eq!(serde_json::to_value(quality).unwrap(), serde_json::to_value(&three.outcome.quality).unwrap());
}

/// privacy.md D2: neighbours differ in one person's rows and in nothing else of the training set.
#[test]
fn under_private_training_no_person_decides_what_is_kept_of_another() {
    let others: Vec<(String, String)> =
        (0..300).map(|n| (format!("message number {} of the day", n % 40), format!("p{}", n / 3))).collect();
    let write = |rows: &[(String, String)]| rows.iter().flat_map(|(t, w)| line(t, "a", w).into_bytes()).collect::<Vec<u8>>();
    let kept = |private, rows: &[(String, String)]| go(&rules(private, ""), vec![write(rows)]).unwrap().train;
    // The newcomer says first what all others say; a name is taken that is not held out.
    let says = |name: &str| (0..40).map(|n| (format!("message number {n} of the day"), name.to_owned())).collect::<Vec<_>>();
    let mut with = (0..50).map(|n| says(&format!("newcomer{n}"))).find(|rows| !kept(true, rows).is_empty()).unwrap();
    let newcomer = kept(true, &with).first().map(|r| r["user"].clone());
    with.extend(others.clone());
    let without_newcomer = |rows: Vec<Row>| rows.into_iter().filter(|r| Some(&r["user"]) != newcomer.as_ref()).collect::<Vec<_>>();
    assert_eq!(without_newcomer(kept(true, &with)), kept(true, &others));
    // Among all rows the newcomer's come first and push everybody else's out: that is why the rules ask.
    assert_ne!(without_newcomer(kept(false, &with)), kept(false, &others));
}

#[test]
fn equal_and_near_texts_go_and_the_first_stays() {
    let long = "您的包裹已经到达菜鸟驿站请凭取件码尽快领取逾期将退回寄件人谢谢您的配合与理解祝您生活愉快";
    let rows = [
        (long.to_owned(), "a"),
        (long.to_owned(), "a"),
        (long.to_owned(), "b"),
        (format!("{long}。"), "a"),
        ("a quite different sentence about nothing at all".to_owned(), "a"),
        ("short".to_owned(), "b"),
    ];
    let bytes = rows.iter().flat_map(|(t, l)| line(t, l, "p").into_bytes()).collect();
    let open = rules(false, "").replacen("validation_permille = 200", "validation_permille = 0", 1);
    let done = go(&open, vec![bytes]).unwrap();
    assert_eq!(done.train.iter().map(text).collect::<Vec<_>>(), [long, rows[4].0.as_str(), "short"]);
    let dropped = &done.outcome.quality.stages[3].dropped;
    assert_eq!(*dropped, BTreeMap::from([(Dropped::Duplicate, 1), (Dropped::ConflictingLabel, 1), (Dropped::NearDuplicate, 1)]));
}

/// Among 600 made-up texts with many variants: each dropped one is near to one that is kept, and hardly a pair of near ones is left.
#[test]
fn near_duplicates_are_dropped_for_a_kept_one_and_few_are_missed() {
    let texts: Vec<String> = (0..600u32)
        .map(|n| {
            let (base, variant) = (n % 60, n / 60);
            let words: Vec<String> = (0..30).map(|w| format!("w{}", (base * 30 + w) * 7919 % 99_991)).collect();
            format!("{} v{}", words.join(" "), variant * 7)
        })
        .collect();
    let bytes = texts.iter().flat_map(|t| line(t, "a", "p").into_bytes()).collect();
    let open = rules(false, "").replacen("validation_permille = 200", "validation_permille = 0", 1);
    let done = go(&open, vec![bytes]).unwrap();
    let kept: BTreeSet<&str> = done.train.iter().map(text).collect();
    let sets: Vec<_> = kept.iter().map(|t| near::shingles(t, 4)).collect();
    for dropped in texts.iter().filter(|t| !kept.contains(t.as_str())) {
        let set = near::shingles(dropped, 4);
        assert!(sets.iter().any(|k| near::is_near(k, &set, 800)), "dropped without a reason");
    }
    let pairs = (0..sets.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let missed = pairs.filter(|(i, j)| near::is_near(&sets[*i], &sets[*j], 800)).count();
    assert!(kept.len() >= 60 && missed <= 3, "{} kept, {missed} near pairs missed", kept.len());
}

#[test]
fn leaks_across_the_boundary_are_found_and_cost_validation_only() {
    let said = |n: usize| format!("message number {} of the day, said by many people in the same words", n % 25);
    let bytes: Vec<u8> = (0..500).flat_map(|n| line(&said(n), "a", &format!("p{n}")).into_bytes()).collect();
    let report = rules(true, "[dedup]\nboundary = \"report\"\n[thresholds]\nmax_label_share_permille = 1000\n");
    let drop = report.replace("\"report\"", "\"drop-from-validation\"");
    let (report, drop) = (go(&report, vec![bytes.clone()]).unwrap(), go(&drop, vec![bytes]).unwrap());
    assert_eq!(report.train, drop.train, "training rows are the same");
    let leaks = report.outcome.quality.leaks;
    assert!(leaks.equal + leaks.similar == report.validation.len() as u64 && leaks.equal > 50, "{leaks:?}");
    assert!(drop.validation.is_empty());
    assert!(!report.outcome.quality.is_good() && drop.outcome.quality.is_good(), "what was dropped leaks no more");
}

#[test]
fn a_bad_row_ends_it_or_is_named() {
    let bytes = [line("good morning", "a", "p"), "{\"text\": \"CANARY".to_owned() + "\n", line("good night", "b", "q")].concat();
    let fail = rules(true, "").replacen("bad_rows = \"skip\"", "bad_rows = \"fail\"", 1);
    let error = go(&fail, vec![b"".to_vec(), bytes.clone().into_bytes()]).err().unwrap();
    assert!(matches!(error, PrepareError::BadRow { input: 2, line: 2, .. }), "{error}");
    let done = go(&rules(true, ""), vec![bytes.into_bytes()]).unwrap();
    assert_eq!(done.outcome.quality.bad_rows.len(), 1);
    let shown = serde_json::to_string(&done.outcome.quality).unwrap() + &super::super::page::render("t", &done.outcome.quality);
    assert!(!shown.contains("CANARY") && !shown.contains("good morning"));
}

#[test]
fn what_leaves_has_no_text_no_word_of_the_data_and_no_exact_count() {
    let bytes: Vec<u8> =
        (0..1237).flat_map(|n| line(&format!("CANARY {n} {}", n * n), &format!("CANARY-{}", n % 3), "CANARY-p").into_bytes()).collect();
    let text = rules(true, "[dedup]\nnear = false\n").replacen("validation_permille = 200", "validation_permille = 0", 1);
    let done = go(&text, vec![bytes]).unwrap();
    assert_eq!(done.outcome.quality.rows.train, 1237);
    let rules = Rules::parse(&text).unwrap();
    let manifest = Manifest::new(&rules, &done.outcome, &Nonce([7; 16]));
    let shown = String::from_utf8(manifest.to_bytes()).unwrap() + &manifest.to_croissant().to_string();
    assert!(!shown.contains("CANARY") && !shown.contains("1237"), "{shown}");
    assert!(shown.contains("1000-1999"));
    let again: Manifest = serde_json::from_slice(&manifest.to_bytes()).unwrap();
    assert_eq!(again, manifest);
    for sum in
        done.outcome.inputs.iter().map(|s| super::super::quality::hex(s)).chain(done.outcome.index.shards.iter().map(|s| s.sha256.clone()))
    {
        assert!(!shown.contains(&sum), "a bare hash of a guessable file");
    }
}

#[test]
fn prepared_rows_are_clean_rows() {
    let first = go(&everything(true), vec![made(3000)]).unwrap();
    let again: Vec<u8> = first
        .train
        .iter()
        .flat_map(|r| {
            let mut row = r.clone();
            let user = row.remove("user").unwrap();
            row.insert("subscriber".into(), user);
            (serde_json::Value::Object(row).to_string() + "\n").into_bytes()
        })
        .collect();
    // Everybody is kept for training and no constants are fitted anew.
    let second = everything(true).replace("validation_permille = 200", "validation_permille = 0");
    let second = second.replace("missing = \"median\"\noutliers = { method = \"mad\", limit = 20, action = \"drop\" }\n", "");
    let second = go(&second, vec![again]).unwrap();
    let shown = |rows: &[Row]| {
        rows.iter().map(|r| (text(r).to_owned(), r["label"].clone(), r["amount"].clone(), r["sent"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(shown(&second.train), shown(&first.train));
    assert!(second.outcome.quality.pii.is_empty(), "{:?}", second.outcome.quality.pii);
}

#[test]
fn limits_block_by_name_and_drift_is_measured() {
    let rows = |label: &str, n: usize| {
        (0..n).flat_map(|i| line(&format!("{label} message {i} {}", i * 7919), label, &format!("p{i}")).into_bytes()).collect::<Vec<u8>>()
    };
    let open = rules(true, "[dedup]\nnear = false\n");
    let even = go(&open, vec![rows("a", 300), rows("b", 300)]).unwrap();
    let mut skewed = go(&open, vec![rows("a", 300), rows("b", 30)]).unwrap();
    let limits = Rules::parse(&open).unwrap().thresholds;
    assert!(even.outcome.quality.is_good() && skewed.outcome.quality.is_good());
    skewed.outcome.quality.judge(&limits, Some(&even.outcome.quality));
    let failed: Vec<_> = skewed.outcome.quality.verdicts.iter().filter(|v| !v.holds).map(|v| v.threshold.as_str()).collect();
    assert_eq!(failed, ["max_drift_permille"]);
    let mut same = even.outcome.quality.clone();
    same.judge(&limits, Some(&even.outcome.quality));
    assert_eq!(same.drift.map(|d| (d.labels_permille, d.lengths_permille)), Some((0, 0)));
    let one = go(&open, vec![rows("a", 50)]).unwrap();
    assert!(one.outcome.quality.verdicts.iter().any(|v| v.threshold == "max_label_share_permille" && !v.holds));
}

#[test]
fn too_many_labels_are_told() {
    let bytes: Vec<u8> = (0..300).flat_map(|n| line(&format!("t{n}"), &format!("l{n}"), "p").into_bytes()).collect();
    assert!(matches!(go(&rules(true, ""), vec![bytes]), Err(PrepareError::TooManyLabels)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// A person's side is a function of the person: other rows, their order and the rules of cleaning never move one.
    #[test]
    fn nobody_straddles_and_nobody_moves(who in prop::collection::vec(0u32..40, 1..80), more in prop::collection::vec(0u32..80, 0..40)) {
        let write = |names: &[u32]| names.iter().enumerate().flat_map(|(n, w)| line(&format!("text {n} {}", n * 31), "a", &format!("p{w}")).into_bytes()).collect::<Vec<u8>>();
        let sides = |names: &[u32], extra: &str| {
            let done = go(&rules(true, extra), vec![write(names)]).unwrap();
            let users = |rows: &[Row]| rows.iter().map(|r| r["user"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
            (users(&done.train), users(&done.validation))
        };
        let (train, validation) = sides(&who, "[dedup]\nnear = false\nboundary = \"report\"\n");
        prop_assert!(train.is_disjoint(&validation));
        let mut all: Vec<u32> = more;
        all.extend(who.iter().rev());
        let (train_after, validation_after) = sides(&all, "[dedup]\nnear = false\nexact = false\nboundary = \"report\"\n[text]\nmax_repeat = 2\n");
        prop_assert!(train.is_subset(&train_after) && validation.is_subset(&validation_after));
        prop_assert!(train_after.is_disjoint(&validation_after));
    }
}
