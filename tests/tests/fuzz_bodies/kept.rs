//! What people write for the programs, and what institution and server find on their own disks, as seeds of fuzz bodies. Certificates, request
//! and key in `testdata` were made once, by `openssl req` and `openssl genpkey`; the key is of this test and signs nothing else.

use crate::{COUNTING, Seeds, homes, stores, told};
use client::doors as institution;
use client::identity::Identity;
use client::status::Status;
use ed25519_dalek::SigningKey;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use privacy::ledger::{Entry, PrivacyLedger, Terms, default_order};
use privacy::mechanism::Mechanism;
use protocol::codec;
use protocol::ids::{ClientId, ManifestDigest, PublicKey, Sha256};
use protocol::manifest::{Endorsement, PREKEY_BYTES};
use protocol::messages::frame;
use protocol::params::RING_DIMENSION;
use protocol::plan::Plan;
use protocol::statement::Statement;
use protocol::time::Time;
use serde_json::{Value, json};
use server::admin::{AdminReply, AdminRequest};
use std::sync::Arc;
use tests::fixture::decimal;
use train::optim::OptimiserState;
use train::strategy::StrategyState;

const VECTORS: &str = include_str!("../../../auditor/tests/testdata/vectors/model-signing.json");

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn statement() -> Statement {
    Statement::sign(&Endorsement { manifest: ManifestDigest([3; 32]) }, &key())
}

fn texts<const N: usize>(texts: [&str; N]) -> Seeds {
    texts.map(|t| t.as_bytes().to_vec()).into()
}

/// Plans of federations.
const PLANS: [&str; 7] = [
    include_str!("../../../configs/plan-example.toml"),
    include_str!("../../../configs/plan-decoder.toml"),
    include_str!("../../../configs/plan-encoder-decoder.toml"),
    include_str!("../../../configs/plan-tags.toml"),
    include_str!("../../../configs/plan-masked-tokens.toml"),
    include_str!("../../../configs/plan-statistics.toml"),
    include_str!("../../../configs/plan-words.toml"),
];

/// Plans of training in one place.
const CENTRAL_PLANS: [&str; 5] = [
    include_str!("../../../configs/train-sms.toml"),
    include_str!("../../../configs/train-sms-masked.toml"),
    include_str!("../../../configs/train-tags.toml"),
    include_str!("../../../configs/train-masked-tokens.toml"),
    include_str!("../../../configs/train-characters.toml"),
];

pub(crate) fn plan_files() -> Seeds {
    [texts(PLANS), texts(CENTRAL_PLANS)].concat()
}

pub(crate) fn settings() -> Seeds {
    let client = "threads = 2\ntier = \"small\"\nreconnect_max_s = 7\n[data]\npath = \"r.jsonl\"\nname = \"sms\"\nuser_field = \"u\"\nbad_lines = \"skip\"\n";
    texts([include_str!("../../../configs/client.toml"), include_str!("../../../configs/server.toml"), client])
}

pub(crate) fn policies() -> Seeds {
    let sample = include_str!("../../../configs/site-policy.toml");
    let more =
        format!("own_epsilon_cap = \"0.5\"\ncharge = \"own\"\nupload_at = \"scheduled\"\nplans = [\"{}\"]\n{sample}", "07".repeat(32));
    let coalition = format!("own_epsilon_cap = \"30\"\ncharge = \"coalition\"\n{sample}");
    texts([sample, &more, &coalition])
}

/// The institution's files; the names of their doors stand beside them in the test below.
pub(crate) fn institutions() -> Seeds {
    let status = Status { federation: "fuzz".into(), task: Some("07".repeat(16)), alarms: vec!["an alarm".into()], ..Status::default() };
    let (client, server) = (ClientId([5; 32]), "server.example:7443".to_owned());
    let identity = Identity { v: 1, federation: "fuzz".into(), institution: "site-one".into(), client, server };
    let hash = "02".repeat(32);
    let release = json!({
        "v": 1, "id": "monthly", "dataset": hash, "what": "labels", "unit": "record", "max_records_per_unit": 1, "labels": ["a", "b"],
        "values": [-3, 40], "sensitivity": 1, "scale_1024": 30720, "rho": "0.001", "epsilon": "0.1", "delta": "0.00001", "ledger_counter": 9,
        "ledger_head": hash, "at_ms": 1,
    });
    let prepared = json!({
        "unit": "record", "treatment": {"rules_sha256": hash}, "retention_days": 365, "schema": [{"name": "text"}], "quality_holds": true,
        "counts": {"train": "100-199", "train_units": "50-99"},
    });
    let audit = json!({
        "verdict": "consistent", "plan_digest": stores::AUDITED.to_string(), "epsilon_lower_95": 0.5,
        "audit_configuration": {"epsilon_lower_95": 0.000_123},
    });
    let [spool, records] = institution::stored(&statement()).unwrap();
    let log = told::site_entries().into_iter().flat_map(|line| [line, vec![b'\n']].concat()).collect();
    let prekey = [vec![1; PREKEY_BYTES], 50u64.to_le_bytes().to_vec()].concat();
    let texts = [release, prepared, audit].map(|json| json.to_string().into_bytes());
    let [release, prepared, audit] = texts;
    let (status, identity) = (serde_json::to_vec_pretty(&status).unwrap(), serde_json::to_vec_pretty(&identity).unwrap());
    let name = format!("{}-{:020}", "07".repeat(16), 12).into_bytes();
    vec![status, identity, release, spool, prekey, records, log, prepared, audit, vec![9; 96], name]
}

fn bundles() -> (String, Seeds) {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cases = vectors["cases"].as_array().unwrap().iter().filter(|case| ["holds", "name"].contains(&case["expected"].as_str().unwrap()));
    (text(&vectors["public_key"]), cases.map(|case| text(&case["bundle"]).into_bytes()).collect())
}

/// Bundles behind the key that signed them, and what they say.
pub(crate) fn signatures() -> Seeds {
    let (key, bundles) = bundles();
    let said = bundles.iter().map(|b| server::doors::bundle(b).unwrap().1);
    let whole = bundles.iter().map(|b| [key.as_bytes(), &[0], b].concat());
    whole.chain(said).collect()
}

pub(crate) fn servers() -> Seeds {
    let asks = [AdminRequest::Invite { institution: "site-one".into(), ttl_s: 3600 }, AdminRequest::Approve { statement: statement() }];
    let asks = asks.iter().map(|ask| frame(ask)[4..].to_vec());
    let told = frame(&AdminReply::Token { line: "a token".into() })[4..].to_vec();
    let pem = include_bytes!("testdata/test-key.pem").to_vec();
    server::doors::stored().into_iter().chain(asks).chain([told, bundles().1.swap_remove(0), pem]).collect()
}

pub(crate) fn certificates() -> Seeds {
    let files = [&include_bytes!("testdata/leaf.der")[..], include_bytes!("testdata/root.der"), include_bytes!("testdata/request.der")];
    files.map(<[u8]>::to_vec).into()
}

/// A ledger at its start, one that went on, and an entry.
pub(crate) fn ledgers() -> Seeds {
    let (key, plan) = (key(), &COUNTING[0].plan);
    let sign = |entry: &Entry| Statement::sign(entry, &key);
    let (cap, delta) = (decimal("20"), decimal("0.00001"));
    let institution = ClientId::of(&PublicKey(key.verifying_key().to_bytes()));
    let order = default_order(cap, delta).unwrap();
    let terms =
        Terms { institution, dataset: Sha256([2; 32]), unit: plan.privacy.unit, epsilon_cap: cap, delta, order, own_epsilon_cap: None };
    let first = PrivacyLedger::create(terms, Time(1)).unwrap();
    let begun = first.record(sign);
    let (mut ledger, mut file) = (first.begun(), begun.clone());
    let lower = ledger.declare_cap(decimal("19"), Time(2)).unwrap();
    file.extend(lower.record(sign));
    ledger.recorded(lower).unwrap();
    let mechanism = Mechanism::of_plan(plan, 1).unwrap();
    let registered = ledger.register(plan, Plan::digest(&codec::encode(plan)), &mechanism, Time(3)).unwrap();
    file.extend(registered.record(sign));
    let entry = codec::encode(&PrivacyLedger::load(&begun).unwrap().entries[0]);
    vec![begun, file, entry]
}

/// A file of safetensors with its notes in order: the damage is the same in every run.
fn ordered(bytes: &[u8]) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let header = serde_json::from_slice::<Value>(header).unwrap().to_string();
    [&u64::try_from(header.len()).unwrap().to_le_bytes()[..], header.as_bytes(), data].concat()
}

pub(crate) fn memories() -> Seeds {
    let fit = homes::run();
    let moments = |square| StrategyState { momentum: vec![0.5; fit.weights().len()], square };
    let optimisers = [OptimiserState::adam_w(5), OptimiserState::sgd(5, 0.5)].map(|state| serde_json::to_vec(&state).unwrap());
    let strategies = [moments(Vec::new()), moments(vec![0.25; fit.weights().len()])].map(|state| serde_json::to_vec(&state).unwrap());
    let run = ordered(&fit.to_bytes(homes::RUN, Some(0.5)).unwrap());
    optimisers.into_iter().chain(strategies).chain([run]).collect()
}

/// Blocks of one polynomial.
pub(crate) fn sums() -> Seeds {
    vec![vec![0; 8 * RING_DIMENSION], (0..8 * RING_DIMENSION).map(|i| i.to_le_bytes()[0]).collect()]
}

/// Files of some rows as the format's own writer makes them.
pub(crate) fn parquets() -> Seeds {
    let file = |texts: &[&str]| {
        let schema = Arc::new(parse_message_type("message m { required binary text (utf8); required binary label (utf8); }").unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::builder().build())).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for values in [texts, &vec!["ham"; texts.len()]] {
            let values: Vec<ByteArray> = values.iter().map(|v| ByteArray::from(*v)).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.into_inner().unwrap()
    };
    vec![file(&["good morning"]), file(&["call 13812345678 now", "验证码 1234", ""])]
}

pub(crate) fn lines() -> Seeds {
    let plain =
        "{\"text\":\"good morning\",\"label\":\"ham\",\"user\":7}\n\n{\"text\":\"你好\",\"label\":1,\"user\":\"b\",\"language\":\"zh\"}\n";
    let framed = format!("\u{feff}{}{}\r\n", plain.replace('\n', "\r\n"), "x".repeat(300));
    texts([plain, &framed])
}

pub(crate) fn label_rules() -> Seeds {
    let one = "labels = [\"ham\", \"spam\"]\n[[rule]]\nname = \"prize\"\npattern = '(?i)\\bprizes?\\b'\nlabel = \"spam\"\nunless = \"no prize\"\n";
    let two = format!("{one}[[rule]]\nname = \"code\"\npattern = '验证码[:：]?\\d+'\nlabel = \"ham\"\n");
    texts([one, &two])
}

/// Each seed is taken by its decoder, so that the damage begins behind the first check.
#[test]
fn the_seeds_of_files_are_whole() {
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
    assert!(PLANS.iter().all(|p| server::plan_file::AnyPlanFile::parse(p).is_ok()));
    assert!(CENTRAL_PLANS.iter().all(|p| client::central::CentralPlan::parse(p).is_ok()));
    let settings = settings();
    assert!(client::config::Config::parse(&text(&settings[0])).is_ok() && client::config::Config::parse(&text(&settings[2])).is_ok());
    assert!(server::config::Config::parse(&text(&settings[1]), "server.toml".as_ref()).is_ok());
    assert!(policies().iter().all(|p| client::site_policy::SitePolicy::parse(&text(p)).is_ok()));
    let doors: [fn(&[u8]) -> bool; 11] = [
        |b| institution::status(b).is_some(),
        |b| institution::identity(b).is_some(),
        |b| institution::release(b).is_some(),
        |b| institution::spool(b).is_some(),
        |b| institution::prekey(b).is_some(),
        |b| institution::records(b).is_some_and(|(whole, _)| whole == b.len()),
        |b| institution::site_log(b).is_some_and(|(whole, lines)| whole == b.len() && lines == 3),
        |b| institution::prepared(b).is_some(),
        |b| institution::audit(b, &stores::AUDITED) == Some(decimal("0.5")),
        institution::prefix,
        |b| institution::round_name(std::str::from_utf8(b).unwrap()).is_some(),
    ];
    let found: Vec<bool> = institutions().iter().zip(doors).map(|(seed, door)| door(seed)).collect();
    assert_eq!(found, [true; 11]);
    let release = text(&institutions()[2]);
    assert!(institution::release(release.replacen("\"v\":1", "\"v\":2", 1).as_bytes()).is_none(), "a file of another version");
}

/// The same of what strangers show and of what is large.
#[test]
fn the_seeds_of_stores_are_whole() {
    let servers = servers();
    assert!(server::doors::pending(&servers[0]).is_some() && server::doors::invitation(&servers[1]).is_some());
    assert!(servers[2..4].iter().all(|s| protocol::messages::unframe::<AdminRequest>(s).is_ok()));
    assert!(protocol::messages::unframe::<AdminReply>(&servers[4]).is_ok());
    assert!(server::doors::bundle(&servers[5]).is_some() && server::doors::release_key(&servers[6]).is_some());
    let shown = certificates();
    let [leaf, root] = [&shown[0], &shown[1]].map(|der| server::doors::certificate(der).unwrap());
    assert_eq!(leaf.1, Some(["fuzz", "site-one", "client"].map(str::to_owned)));
    assert_eq!((root.1, server::doors::signing_request(&shown[2])), (None, Some(leaf.0)));
    assert_eq!(ledgers()[..2].iter().map(|l| PrivacyLedger::load(l).unwrap().entries.len()).collect::<Vec<_>>(), [1, 3]);
    let (key, bundles) = bundles();
    assert!(auditor::model_sig::open(&bundles[0], key.as_bytes()).is_ok());
    assert!(signatures().iter().any(|s| auditor::doors::model_statement(s).is_some()));
    let memories = memories();
    assert!(memories[..2].iter().all(|m| serde_json::from_slice::<OptimiserState>(m).is_ok()));
    assert!(memories[2..4].iter().all(|m| serde_json::from_slice::<StrategyState>(m).is_ok()));
    assert_eq!(homes::run().resume(&memories[4], homes::RUN).unwrap(), Some(0.5));
    let rules = String::from_utf8(label_rules().swap_remove(1)).unwrap();
    assert_eq!(corpus::label::RuleSet::parse(&rules).unwrap().names().len(), 2);
    let options = corpus::ReadOptions { user_field: Some("user".into()), bad_lines: corpus::BadLines::Skip, ..Default::default() };
    assert!(lines().iter().all(|l| corpus::read_jsonl(l.as_slice(), &options).unwrap().records.len() == 2));
}
