//! The command as people run it, with seeds instead of the system's entropy.

use super::super::answer::Format;
use super::*;
use clap::Parser;
use privacy::noise::SeededEntropy;
use protocol::plan::{Asks, TokenizerKind};
use std::path::Path;
use std::process::ExitCode;
use train::hf::base::Base;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: AuditArgs,
}

fn parsed(line: &str) -> AuditArgs {
    Line::try_parse_from(line.split(' ')).unwrap().args
}

fn nothing_named() -> Result<Config, Failure> {
    Config::parse("").map_err(|e| Failure::trouble("bad_settings", &e))
}

fn found(line: &str, seed: u64) -> Result<Found, Failure> {
    let dir = tempfile::tempdir().unwrap();
    find(&Home::new(dir.path()), &parsed(line), &nothing_named, &mut SeededEntropy::new(seed))
}

fn code(line: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let exit = match run_with(&Home::new(dir.path()), &parsed(line), &nothing_named, &mut SeededEntropy::new(1)) {
        Ok(answer) => answer.print(Format::Json),
        Err(failure) => failure.print(Format::Json),
    };
    format!("{exit:?}")
}

const FIELDS: [&str; 13] = [
    "level",
    "epsilon_claimed",
    "delta",
    "epsilon_lower_95",
    "epsilon_estimate",
    "method",
    "trials",
    "guesses",
    "correct",
    "seed_commitment",
    "plan_digest",
    "false_alarm",
    "verdict",
];

/// Small enough for a test, large enough to judge.
const L2: &str = "audit --level l2 --canaries 200";
const L3: &str = "audit --level l3 --units 150 --shadows 4 --planted 4";

fn prepared_plan() -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = crate::testing::plan();
    plan.model.vocab = 400;
    plan.shards = train::shard::shard_table(&plan.model, 1, train::shard::STEP_EXPONENT).unwrap();
    let bytes = protocol::codec::encode(&plan);
    let path = dir.path().join("plan.cbor");
    std::fs::write(&path, &bytes).unwrap();
    let digest = protocol::plan::Plan::digest(&bytes).to_string();
    let path = path.to_str().unwrap().to_owned();
    (dir, path, digest)
}

/// 0 for consistent, 1 for a violation, 2 where nothing was audited (D70). The seed is fixed; false alarm 2.3e-3 for the choice of it.
#[test]
fn a_verdict_is_told_by_the_exit_code() {
    let [consistent, violation, trouble] = [0, 1, 2].map(|n| format!("{:?}", ExitCode::from(n)));
    for honest in ["audit --level l0", "audit --level l1", L2, L3] {
        assert_eq!(code(honest), consistent, "{honest}");
    }
    let halved = "--noise-multiplier 0.5 --claimed-noise-multiplier 1";
    for caught in ["audit --level l0", "audit --level l1", L2] {
        assert_eq!(code(&format!("{caught} {halved}")), violation, "{caught}");
    }
    for refused in [
        "audit --level l1 --noise-multiplier 0",
        "audit --level l1 --noise-multiplier 0.01",
        "audit --level l2 --noise-multiplier 0",
        "audit --level l2 --canaries 100000",
        "audit --level l3 --shadows 5 --units 40",
        "audit --level l2 --plan no-such-file",
    ] {
        assert_eq!(code(refused), trouble, "{refused}");
    }
    for unparsed in [
        "audit",
        "audit --level l4",
        "audit --level l1 --runs 39",
        "audit --level l1 --noise-multiplier -1",
        "audit --level l1 --noise-multiplier nan",
        "audit --level l2 --canaries 39",
        "audit --level l3 --shadows 3",
        "audit --level l3 --own-data",
        "audit --level l2 --keep",
    ] {
        assert!(Line::try_parse_from(unparsed.split(' ')).is_err(), "{unparsed}");
    }
}

/// Every field of D70 by its name at every level; what a level does not have is null.
#[test]
fn the_answer_has_the_fields_that_are_specified() {
    for (line, missing) in [
        ("audit --level l1 --runs 200", ["guesses", "correct", "seed_commitment", "plan_digest"].as_slice()),
        (L2, ["plan_digest"].as_slice()),
        (L3, ["plan_digest", "epsilon_estimate"].as_slice()),
    ] {
        let data = data(&found(line, 2).unwrap());
        for field in FIELDS {
            assert!(data.as_object().unwrap().contains_key(field), "{line}: {field}");
            assert_eq!(data[field].is_null(), missing.contains(&field), "{line}: {field}");
        }
        assert_eq!(data["verdict"], "consistent");
        assert!(data["checks"].as_array().unwrap().iter().all(|c| c["consistent"] == true));
    }
}

/// What is printed opens the commitment: anybody can check that the coins were not chosen after the guesses.
#[test]
fn coins_of_canaries_are_opened() {
    let data = data(&found(L2, 3).unwrap());
    let opening = &data["seed_opening"];
    let coins = opening["coins"].as_str().unwrap();
    assert_eq!((coins.len(), data["canaries"].as_u64()), (200, Some(200)));
    let nonce: protocol::ids::Sha256 = opening["nonce"].as_str().unwrap().parse().unwrap();
    let sides: Vec<u8> = coins.bytes().map(|c| c - b'0').collect();
    let hash = protocol::hash::sha256(&[b"concordat/audit/coins/v1\0", &nonce.0, &sides]);
    assert_eq!(data["seed_commitment"], protocol::ids::Sha256(hash).to_string());
}

#[test]
fn a_membership_report_shows_rates_beside_their_ceiling_and_no_coin() {
    let data = data(&found(L3, 2).unwrap());
    let points = data["points"].as_array().unwrap();
    assert_eq!(points.iter().map(|p| p["false_positive_rate"].as_f64().unwrap()).collect::<Vec<_>>(), [0.01, 0.001]);
    for p in points {
        let rate = |name: &str, end: &str| p[name][end].as_f64().unwrap();
        for name in ["false_positives", "true_positives"] {
            assert!(rate(name, "low") <= rate(name, "value") && rate(name, "value") <= rate(name, "high"));
        }
        assert!((0.0..=1.0).contains(&p["ceiling"].as_f64().unwrap()));
    }
    assert_eq!(data["exposure"]["strings"].as_array().unwrap().len(), 4);
    assert!(data.get("seed_opening").is_none(), "who was in the model is the institution's own business");
}

/// A plan's run stands beside the configuration in which an attack has power; both count.
#[test]
fn a_plan_is_audited_with_its_own_numbers_and_beside_the_audit_configuration() {
    let (_dir, path, digest) = prepared_plan();
    let line = format!("audit --level l2 --canaries 200 --units 8 --plan {path}");
    let honest = found(&line, 4).unwrap();
    let told = data(&honest);
    let plan = crate::testing::plan();
    assert_eq!((told["plan_digest"].as_str(), told["trials"].as_u64()), (Some(digest.as_str()), Some(plan.total_steps())));
    assert_eq!(told["noise_multiplier"], plan.privacy.noise_multiplier.to_string());
    let beside = &told["audit_configuration"];
    assert_eq!((beside["trials"].as_u64(), beside["noise_multiplier"].as_str()), (Some(4), Some("2")));
    assert!((beside["epsilon_claimed"].as_f64().unwrap() - 4.377_18).abs() < 2e-5);
    assert_eq!(told["verdict"], "consistent", "{told}");
    let (dir, kept) = (tempfile::tempdir().unwrap(), parsed(&format!("{line} --keep")));
    run_with(&Home::new(dir.path()), &kept, &nothing_named, &mut SeededEntropy::new(4)).unwrap();
    let stands = super::kept(&Home::new(dir.path()), &digest.parse().unwrap()).unwrap().unwrap();
    assert_eq!(stands.verdict, Verdict::Consistent);
    let figures = parsed(&format!("audit --level l3 --plan {path} --keep"));
    assert!(
        run_with(&Home::new(dir.path()), &figures, &nothing_named, &mut SeededEntropy::new(4)).is_err(),
        "figures about records are not kept"
    );
    let half = protocol::decimal::Decimal::ceil(plan.privacy.noise_multiplier.to_f64() / 2.0, 6).unwrap();
    let caught = found(&format!("{line} --noise-multiplier {half}"), 4).unwrap();
    let told = data(&caught);
    assert_eq!((told["verdict"].as_str(), told["audit_configuration"]["verdict"].as_str()), (Some("violation"), Some("violation")));
}

/// L0 and L1 run the mechanism of the plan whose digest they stamp: its δ, its law, its path; what makes no mechanism is refused in words.
#[test]
fn the_shallow_levels_execute_the_plan_that_they_name() {
    use protocol::plan::{Accumulate, ClipPath, NoiseKind, Rounding};
    let dir = tempfile::tempdir().unwrap();
    let written = |name: &str, change: &dyn Fn(&mut Plan)| {
        let mut plan = crate::testing::plan();
        plan.privacy.noise_multiplier = Decimal::ONE;
        plan.privacy.delta = "0.000001".parse().unwrap();
        change(&mut plan);
        let path = dir.path().join(name);
        std::fs::write(&path, protocol::codec::encode(&plan)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let sums = ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Dithered };
    let plans = [
        written("exact", &|_| ()),
        written("sums", &|p| (p.privacy.path, p.privacy.grid_bits) = (sums, 12)),
        written("discrete", &|p| (p.privacy.noise, p.privacy.sampling_rate) = (NoiseKind::DiscreteGaussian, Decimal::ONE)),
    ];
    let claims = plans.map(|path| {
        for level in ["l0", "l1"] {
            let line = format!("audit --level {level} --plan {path}");
            let honest = data(&found(&line, 1).unwrap());
            assert_eq!(honest["verdict"], "consistent", "{honest}");
            assert!((honest["delta"].as_f64().unwrap() - 1e-6).abs() < 1e-15, "{honest}");
            let halved = data(&found(&format!("{line} --noise-multiplier 0.5"), 1).unwrap());
            assert_eq!(halved["verdict"], "violation", "{halved}");
        }
        found(&format!("audit --level l1 --runs 40 --plan {path}"), 1).unwrap().report.epsilon_claimed
    });
    assert!((claims[1] - claims[0]).abs() < 1e-4, "one noise multiplier, one claim: {claims:?}");
    assert!(claims[2] > claims[0] + 0.1, "discrete noise costs more: {claims:?}");
    // The audit's rate is its own: a plan of discrete noise that samples is held to the same claim.
    let path = written("sampled", &|p| p.privacy.noise = NoiseKind::DiscreteGaussian);
    let sampled = found(&format!("audit --level l1 --runs 40 --plan {path}"), 1).unwrap().report.epsilon_claimed;
    assert!((sampled - claims[2]).abs() < 1e-9, "{sampled} {claims:?}");
}

/// With the institution's own records where they are asked for.
#[test]
fn own_records_are_read_from_the_settings_and_missing_ones_are_told() {
    let (dir, path, _) = prepared_plan();
    let args = parsed(&format!("audit --level l3 --units 60 --shadows 4 --planted 2 --own-data --plan {path}"));
    let refused = find(&Home::new(dir.path()), &args, &nothing_named, &mut SeededEntropy::new(1)).err().unwrap();
    assert!(format!("{refused:?}").contains("no_data"));
    let plan = crate::testing::plan();
    let words = ["apple", "brook", "cloud", "delta", "ember", "field", "grove"];
    let line = |i: usize| {
        let text: Vec<&str> = (0..5).map(|w| words[(i * 3 + w * w + i / 7) % words.len()]).collect();
        let class = &plan.model.classes[i % plan.model.classes.len()];
        format!("{{\"text\":\"{} {i}\",\"label\":{class:?},\"user\":\"u{i}\"}}\n", text.join(" "))
    };
    let records = dir.path().join("records.jsonl");
    std::fs::write(&records, (0..80).map(line).collect::<String>()).unwrap();
    std::fs::create_dir(dir.path().join("ledger")).unwrap();
    let settings = || {
        let user = if plan.privacy.unit == protocol::plan::Unit::User { "user_field = \"user\"\n" } else { "" };
        let text = format!("[data]\npath = {records:?}\nname = \"mine\"\ntext_field = \"text\"\nlabel_field = \"label\"\n{user}");
        Config::parse(&text).map_err(|e| Failure::trouble("bad_settings", &e))
    };
    let found = find(&Home::new(dir.path()), &args, &settings, &mut SeededEntropy::new(1)).unwrap();
    assert_eq!(found.report.guessed.unwrap().canaries, 62, "sixty units and two planted strings");
}

/// A plan that trains all of a small published model, and settings that name it.
fn on_a_checkpoint(name: &str, asks: Asks) -> (tempfile::TempDir, String, String) {
    let (from, dir) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/tests/vectors/hf").join(name), tempfile::tempdir().unwrap());
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), dir.path().join(file)).unwrap();
    }
    std::fs::write(dir.path().join("tokenizer.json"), crate::testing::TOKENIZER).unwrap();
    let (base, mut plan) = (Base::open(dir.path()).unwrap(), crate::testing::plan());
    let classes = if asks == Asks::Class { plan.model.classes.clone() } else { Vec::new() };
    plan.model = base.model(asks, classes, Some(8), None).unwrap();
    plan.shards = train::shard::shard_table(&plan.model, 1, train::shard::STEP_EXPONENT).unwrap();
    plan.model = base.begin(&plan.model, &plan.shards, 1).unwrap().config().clone();
    plan.tokenizer = TokenizerKind::Checkpoint;
    let path = dir.path().join("plan.cbor");
    std::fs::write(&path, protocol::codec::encode(&plan)).unwrap();
    let (path, settings) = (path.to_str().unwrap().to_owned(), format!("base = \"{}\"", dir.path().display()));
    (dir, path, settings)
}

/// Without the checkpoint nothing is audited, and what cannot be looked for is told before anything is trained.
#[test]
fn a_plan_on_a_checkpoint_is_audited_where_the_settings_name_it() {
    let audited = |dir: &tempfile::TempDir, line: &str, settings: &str| {
        let named = || Config::parse(settings).map_err(|e| Failure::trouble("bad_settings", &e));
        find(&Home::new(dir.path()), &parsed(line), &named, &mut SeededEntropy::new(4))
    };
    let refused = |dir: &tempfile::TempDir, line: &str, settings: &str| format!("{:?}", audited(dir, line, settings).err().unwrap());
    let (dir, path, settings) = on_a_checkpoint("bert-classify", Asks::Class);
    let line = format!("audit --level l2 --canaries 200 --units 8 --plan {path}");
    let told = data(&audited(&dir, &line, &settings).unwrap());
    assert_eq!(told["trials"].as_u64(), Some(crate::testing::plan().total_steps()));
    assert!(refused(&dir, &line, "").contains("no_base"));
    // A table that is the head too is moved by every record, and membership is told by the probability of a class.
    let (dir, path, settings) = on_a_checkpoint("gpt2", Asks::NextToken);
    let line = format!("audit --level l2 --canaries 200 --units 8 --plan {path}");
    assert!(refused(&dir, &line, &settings).contains("only 0 directions"));
    let line = format!("audit --level l3 --units 40 --shadows 4 --planted 2 --plan {path}");
    assert!(refused(&dir, &line, &settings).contains("next-token"));
}
