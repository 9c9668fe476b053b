//! A small plan and a small log for the tests of this crate.

use crate::files::{self, Item};
use crate::home::Home;
use crate::mirror::Mirror;
use audit::checkpoint::Checkpoint;
use audit::key::{KeyType, SignerKey};
use audit::reader::{DirEntry, LogReader};
use audit::writer::LogWriter;
use ed25519_dalek::SigningKey;
use protocol::entry::{Actor, Draft, Facts, LogEntry, Origin};
use protocol::history::History;
use protocol::ids::{ClientId, GroupId, PublicKey, Sha256, ShardId, SnapshotDigest, TaskId, TokenId};
use protocol::params::CommitteeSize;
use protocol::plan::{
    ClipFunction, ClipPath, Deadlines, EncoderConfig, GroupPlan, LocalTraining, Mode, NoiseKind, Plan, PlanApproval, PrivacyPlan,
    ShardSpec, Strategy, TensorSpec, TokenizerKind, Unit, UnitObjective, Weighting,
};
use protocol::statement::{Payload, Statement};
use protocol::trust::{JoinRequest, Membership, TrustChange, TrustDocument};
use std::collections::BTreeMap;

fn decimal(text: &str) -> protocol::decimal::Decimal {
    text.parse().unwrap()
}

/// A plan that can be registered in a ledger: 1,000 coordinates, two classes, records as units.
pub(crate) fn plan() -> Plan {
    Plan {
        federation: "fed".into(),
        task: TaskId([1; 16]),
        model: EncoderConfig {
            vocab: 64,
            max_tokens: 8,
            width: 8,
            heads: 2,
            layers: 1,
            hidden: 8,
            classes: vec!["ham".into(), "spam".into()],
            adapter: None,
            base: None,
            ..EncoderConfig::none()
        },
        tokenizer: TokenizerKind::HashedCharacters,
        base: SnapshotDigest([2; 32]),
        rounds: 2,
        shards: vec![ShardSpec { id: ShardId(0), tensors: vec![TensorSpec { name: "w".into(), shape: vec![1000] }], step_exponent: -16 }],
        groups: vec![GroupPlan { id: GroupId(0), shards: vec![ShardId(0)], bits: 16 }],
        cohort_min: 3,
        n_max: 8,
        committee: CommitteeSize { decryptors: 4, corrupt: 1 },
        privacy: PrivacyPlan {
            unit: Unit::Record,
            mode: Mode::Local,
            path: ClipPath::Exact,
            clip_function: ClipFunction::AutoS,
            clip: decimal("1"),
            grid_bits: 16,
            noise_multiplier: decimal("1"),
            sampling_rate: decimal("0.1"),
            delta: decimal("0.00001"),
            epsilon_cap: decimal("8"),
            max_records_per_unit: 1,
            noise: NoiseKind::RoundedGaussian,
            unit_objective: UnitObjective::Mean,
        },
        local: LocalTraining {
            steps: 2,
            micro_batch: 4,
            learning_rate: decimal("0.001"),
            warmup_steps: 0,
            weight_decay: decimal("0"),
            ..LocalTraining::none()
        },
        weighting: Weighting::Uniform,
        strategy: Strategy::FedAvg { rate: decimal("1") },
        deadlines: Deadlines { selecting_ms: 1000, reporting_ms: 1000, certifying_ms: 1000, opening_ms: 1000 },
        robustness: None,
        tiers: None,
        count: None,
        gates: None,
    }
}

/// A published tokenizer of whole words, numbered 0 to 4.
pub(crate) const TOKENIZER: &str = r###"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": {"[UNK]": 0, "you": 1, "have": 2, "won": 3, "rare": 4}}
}"###;

/// A log that a test writes and signs.
pub(crate) struct TestLog {
    pub(crate) key: SignerKey,
    /// The key before it, with the size of the tree at which it handed over.
    before: Option<(u64, SignerKey)>,
    pub(crate) writer: LogWriter,
    pub(crate) entries: Vec<Vec<u8>>,
    /// Tiles by path.
    files: BTreeMap<String, Vec<u8>>,
    history: History,
}

/// The trust document of a log with this key.
fn document(key: &SignerKey) -> TrustDocument {
    let public = |seed| PublicKey(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes());
    TrustDocument {
        v: 1,
        federation: "fed".into(),
        log_vkey: key.verifier().to_string(),
        root_ca: Sha256([1; 32]),
        administrators: vec![public(8)],
        threshold: 1,
        server: public(9),
        previous: None,
    }
}

/// A log, and a mirror of it in a directory of its own; both are empty.
pub(crate) struct Case {
    _dir: tempfile::TempDir,
    pub(crate) home: Home,
    pub(crate) log: TestLog,
    pub(crate) mirror: Mirror,
}

pub(crate) fn case() -> Case {
    let dir = tempfile::tempdir().unwrap();
    let (home, log) = (Home::new(dir.path()), TestLog::new());
    log.trust(&home);
    let mirror = Mirror::open(&home).unwrap();
    Case { _dir: dir, home, log, mirror }
}

impl Case {
    /// Brings the mirror to the end of the log.
    pub(crate) fn follow(&mut self) {
        let from = usize::try_from(self.mirror.size()).unwrap();
        let note = self.mirror.read_note(&self.log.note()).unwrap();
        self.mirror.append(&note, self.log.entries[from..].to_vec()).unwrap();
        assert_eq!(self.mirror.fold().unwrap(), None);
    }
}

/// The tiles of a log at hand.
pub(crate) struct Tiles<'a>(&'a BTreeMap<String, Vec<u8>>);

impl LogReader for Tiles<'_> {
    type Error = std::convert::Infallible;

    fn read(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(self.0.get(path).map(|bytes| bytes[..bytes.len().min(limit)].to_vec()))
    }

    fn list(&self, _dir: &str) -> Result<Vec<DirEntry>, Self::Error> {
        Ok(Vec::new())
    }
}

impl TestLog {
    pub(crate) fn new() -> Self {
        let key = SignerKey::new("fed/log", KeyType::Note, &[7; 32]).ok().unwrap();
        let history = History::new(document(&key));
        Self { key, before: None, writer: LogWriter::new(), entries: Vec::new(), files: BTreeMap::new(), history }
    }

    /// Appends entries that say little; `salt` makes them another log's.
    pub(crate) fn grow(&mut self, count: u64, salt: u8) {
        for _ in 0..count {
            let facts = if self.entries.is_empty() {
                Facts::FederationCreated { trust: Sha256([0; 32]) }
            } else {
                Facts::MemberInvited { token: TokenId([salt; 16]) }
            };
            self.write(&Draft::server(facts));
        }
    }

    /// Appends one entry.
    pub(crate) fn write(&mut self, draft: &Draft) {
        let seq = self.entries.len() as u64;
        let origin = Origin { name: "concordat-server".into(), version: "0.1.0".into(), build: "test".into(), boot_ms: 0 };
        let (id, ts) = ("018f0000-0000-7000-8000-000000000000".into(), format!("2026-01-02T03:04:05.{seq:06}Z"));
        let bytes = LogEntry::new(self.history.stamp(draft, id, ts, origin), draft).to_bytes();
        self.history.apply(&bytes);
        self.files.extend(self.writer.append(&[&bytes]).unwrap().into_iter().map(|f| (f.path.to_string(), f.bytes)));
        self.entries.push(bytes);
    }

    /// Appends the approval of a plan by the one administrator.
    pub(crate) fn approve(&mut self, plan: &Plan) {
        let digest = Plan::digest(&protocol::codec::encode(plan));
        let said = PlanApproval { task: plan.task, plan: digest };
        let statement = Statement::sign(&said, &SigningKey::from_bytes(&[8; 32]));
        let draft = Draft::said(Actor::Administrator, None, statement, Facts::TaskApproved { plan: digest });
        self.write(&Draft { task: Some(plan.task), ..draft });
    }

    /// Appends what an institution says.
    pub(crate) fn hear<P: Payload>(&mut self, person: &SigningKey, said: &P, facts: Facts) {
        let who = ClientId::of(&PublicKey(person.verifying_key().to_bytes()));
        self.write(&Draft::said(Actor::Institution, Some(who), Statement::sign(said, person), facts));
    }

    /// Appends the admission of an institution with this key by the one administrator.
    pub(crate) fn admit(&mut self, person: &SigningKey) -> ClientId {
        let request = JoinRequest {
            token: TokenId([1; 16]),
            trust: self.history.trust_hash(),
            nonce: Sha256([3; 32]),
            name: "clinic".into(),
            institution_key: PublicKey(person.verifying_key().to_bytes()),
            witness_vkey: "w".into(),
            tls_key: Sha256([4; 32]),
        };
        let said = Membership::of(&request);
        if self.entries.is_empty() {
            self.grow(1, 0);
        }
        self.hear(person, &request, Facts::MemberJoinRequested { token: request.token, request: said.request });
        let (statement, facts) = (Statement::sign(&said, &SigningKey::from_bytes(&[8; 32])), Facts::MemberJoined { request: said.request });
        self.write(&Draft::said(Actor::Administrator, Some(said.institution), statement, facts));
        said.institution
    }

    /// Appends the one administrator's word for another key of the log, grown from this seed; it signs from there on.
    pub(crate) fn hand_over(&mut self, seed: u8) {
        let key = SignerKey::new("fed/log", KeyType::Note, &[seed; 32]).ok().unwrap();
        let old = self.history.trust_hash();
        let next = TrustDocument { log_vkey: key.verifier().to_string(), previous: Some(old), ..self.history.trust().clone() };
        let said = TrustChange { document: next.to_bytes() };
        let (statement, new) = (Statement::sign(&said, &SigningKey::from_bytes(&[8; 32])), said.hash());
        self.write(&Draft::said(Actor::Administrator, None, statement, Facts::TrustChanged { old, new }));
        self.before = Some((self.entries.len() as u64, std::mem::replace(&mut self.key, key)));
    }

    /// The note of the whole log by the key that has handed over, which it should not sign.
    pub(crate) fn note_by_the_key_before(&self) -> Vec<u8> {
        let (_, key) = self.before.as_ref().unwrap();
        Checkpoint { origin: "fed/log".into(), head: self.writer.head() }.sign(key).unwrap().encode()
    }

    /// Its tiles.
    pub(crate) fn tiles(&self) -> Tiles<'_> {
        Tiles(&self.files)
    }

    /// The signed note of the whole log.
    pub(crate) fn note(&self) -> Vec<u8> {
        let checkpoint = Checkpoint { origin: "fed/log".into(), head: self.writer.head() };
        let mut note = checkpoint.sign(&self.key).unwrap();
        if let Some((_, before)) = self.before.as_ref().filter(|(size, _)| *size == self.entries.len() as u64) {
            note.add(checkpoint.sign(before).unwrap().lines()).unwrap();
        }
        note.encode()
    }

    /// Writes the trust document that names this log into a client's directory.
    pub(crate) fn trust(&self, home: &Home) {
        files::replace(
            &home.mirror().join("trust.json"),
            &document(self.before.as_ref().map_or(&self.key, |(_, first)| first)).to_bytes(),
            Item::TrustDocument,
        )
        .unwrap();
    }
}
