//! A federation that is ready for round 1: keys, plan, members, caps, prekeys, all in the log. Built once per size.

use crate::log::PretendLog;
use ed25519_dalek::SigningKey;
use protocol::codec;
use protocol::dealing::{Nonce, commitment};
use protocol::decimal::Decimal;
use protocol::entry::{Actor, Draft, Facts};
use protocol::history::History;
use protocol::ids::{ClientId, GroupId, PlanDigest, PublicKey, RoundId, Sha256, ShardId, SnapshotDigest, TaskId, TokenId};
use protocol::manifest::{PREKEY_BYTES, Prekeys};
use protocol::params::CommitteeSize;
use protocol::plan::{
    Assigned, ClipFunction, ClipPath, Combine, Deadlines, EncoderConfig, GroupPlan, LocalTraining, Mode, NoiseKind, Plan, PlanApproval,
    PrivacyPlan, Robustness, ShardSpec, Strategy, TensorSpec, Tier, TokenizerKind, Turn, Unit, UnitObjective, Weighting,
};
use protocol::statement::Statement;
use protocol::time::Time;
use protocol::trust::{BudgetDeclaration, DatasetDeclaration, JoinRequest, Membership, TrustDocument};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the pretend federation.
const FEDERATION: &str = "pretend";
/// Rounds of the pretend task.
pub const ROUNDS: u64 = 3;
/// The pretend task.
pub const TASK: TaskId = TaskId([7; 16]);
/// Weights that round 1 starts from.
pub const BASE: SnapshotDigest = SnapshotDigest([1; 32]);

/// How large a federation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Institutions.
    pub sites: usize,
    /// Sums per round.
    pub groups: u32,
    /// Random groups that each sum is dealt into; 1 for none. Three are averaged, of four or more the median counts.
    pub parts: u16,
    /// The last so many institutions train only the second group's shard and, in even rounds and alone, that of a third; 0 for a plan without
    /// tiers.
    pub small: usize,
    /// Until when the prekeys may be used.
    pub prekeys_until: Option<Time>,
}

impl Shape {
    /// Everybody trains everything, and no sum is dealt into random groups.
    pub fn plain(sites: usize, groups: u32) -> Self {
        Self { sites, groups, parts: 1, small: 0, prekeys_until: None }
    }
}

/// One institution's keys.
pub struct SiteKeys {
    /// Its id.
    pub id: ClientId,
    /// Its statement key.
    pub key: SigningKey,
    /// Its one dataset.
    pub dataset: Sha256,
}

/// A federation ready for round 1.
pub struct Fixture {
    /// The server's statement key.
    pub server: SigningKey,
    /// Institutions.
    pub sites: Vec<SiteKeys>,
    /// The plan.
    pub plan: Plan,
    /// Its digest.
    pub plan_digest: PlanDigest,
    /// Everything so far.
    pub log: PretendLog,
}

/// A decimal.
///
/// # Panics
/// If the text is none.
pub fn decimal(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

/// The federation of this shape; made once.
pub fn federation(shape: Shape) -> Arc<Fixture> {
    static MADE: Mutex<BTreeMap<Shape, Arc<Fixture>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(shape).or_insert_with(|| Arc::new(build(shape))).clone()
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

fn site(i: usize) -> SiteKeys {
    let seed = u8::try_from(i + 10).expect("few sites");
    let key = SigningKey::from_bytes(&[seed; 32]);
    SiteKeys { id: ClientId::of(&public(&key)), key, dataset: Sha256([seed; 32]) }
}

/// The key of the one administrator.
pub fn admin() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

fn build(shape: Shape) -> Fixture {
    let (server, admin) = (SigningKey::from_bytes(&[1; 32]), admin());
    let trust = TrustDocument {
        v: 1,
        federation: FEDERATION.into(),
        log_vkey: "pretend+00000000+AA==".into(),
        root_ca: Sha256([3; 32]),
        administrators: vec![public(&admin)],
        threshold: 1,
        server: public(&server),
        previous: None,
    };
    let sites: Vec<_> = (0..shape.sites).map(site).collect();
    let mut plan = plan(shape);
    let ids: Vec<_> = sites.iter().map(|s| s.id).collect();
    plan.tiers = (shape.small > 0).then(|| tiers(shape, &ids[shape.sites - shape.small..]));
    plan.check().expect("the pretend plan can run");
    let bytes = codec::encode(&plan);
    let plan_digest = Plan::digest(&bytes);
    let mut log = PretendLog::new(History::new(trust.clone()));
    let trust = TrustDocument::hash(&trust.to_bytes());
    let write = |drafts: Vec<Draft>, log: &mut PretendLog| {
        for draft in drafts {
            assert_eq!(log.append(Time(0), &draft).violations, vec![], "{:?}", draft.facts.kind());
        }
    };
    write(vec![Draft::server(Facts::FederationCreated { trust })], &mut log);
    sites.iter().for_each(|s| write(enrolment(s, trust, &admin), &mut log));
    let approval = Statement::sign(&PlanApproval { task: TASK, plan: plan_digest }, &admin);
    write(vec![Draft::said(Actor::Administrator, None, approval, Facts::TaskApproved { plan: plan_digest }).in_task(TASK)], &mut log);
    write(vec![Draft::server(Facts::TaskOpened { plan: plan_digest, snapshot: BASE }).in_task(TASK)], &mut log);
    write(sites.iter().map(|s| prekeys(s, shape.prekeys_until)).collect(), &mut log);
    log.history_mut().learn_plan(&bytes, &plan);
    Fixture { server, sites, plan, plan_digest, log }
}

fn enrolment(s: &SiteKeys, trust: Sha256, admin: &SigningKey) -> Vec<Draft> {
    let ask = JoinRequest {
        token: TokenId([0; 16]),
        trust,
        nonce: Sha256([4; 32]),
        name: format!("site-{}", s.id.short()),
        institution_key: public(&s.key),
        witness_vkey: "pretend+00000001+AA==".into(),
        tls_key: Sha256([5; 32]),
    };
    let membership = Membership::of(&ask);
    let request = membership.request;
    let by = |actor, statement, facts| Draft::said(actor, Some(s.id), statement, facts);
    let cap = decimal("100");
    let declared = DatasetDeclaration { dataset: s.dataset, unit: Unit::Record, declared_units: 1000 };
    let budget = BudgetDeclaration { dataset: s.dataset, epsilon_cap: cap, delta: decimal("0.00001"), own_epsilon_cap: None };
    vec![
        by(Actor::Institution, Statement::sign(&ask, &s.key), Facts::MemberJoinRequested { token: ask.token, request }),
        by(Actor::Administrator, Statement::sign(&membership, admin), Facts::MemberJoined { request }),
        by(Actor::Institution, Statement::sign(&declared, &s.key), Facts::DatasetDeclared { dataset: s.dataset }),
        by(Actor::Institution, Statement::sign(&budget, &s.key), Facts::BudgetDeclared { dataset: s.dataset, epsilon_cap: cap }),
    ]
}

/// Everybody else trains the first two shards; the small ones the second, and the third by turns.
fn tiers(shape: Shape, small: &[ClientId]) -> Vec<Tier> {
    let assigned = |shard: u32, turn| Assigned { shard: ShardId(shard), turn };
    let own = (2..shape.groups).map(|shard| assigned(shard, Turn { every: 2, at: 1 }));
    let mut institutions = small.to_vec();
    institutions.sort_unstable();
    vec![
        Tier { name: "full".into(), shards: (0..2).map(|s| assigned(s, Turn::ALWAYS)).collect(), institutions: Vec::new() },
        Tier { name: "small".into(), shards: std::iter::once(assigned(1, Turn::ALWAYS)).chain(own).collect(), institutions },
    ]
}

/// The number that an institution commits to for a round.
pub fn nonce(who: ClientId, round: RoundId) -> Nonce {
    protocol::hash::sha256(&[&who.0, &round.0.to_le_bytes()])
}

fn prekeys(s: &SiteKeys, until: Option<Time>) -> Draft {
    let keys = (0..ROUNDS).map(|_| s.id.0.repeat(PREKEY_BYTES / 32).into()).collect();
    let nonces = (0..ROUNDS).map(|i| commitment(&nonce(s.id, RoundId(RoundId::FIRST.0 + i)))).collect();
    let said = Statement::sign(&Prekeys { task: TASK, first: RoundId::FIRST, keys, nonces: Some(nonces), until }, &s.key);
    Draft::said(Actor::Decryptor, Some(s.id), said, Facts::PrekeysPublished { first: RoundId::FIRST, count: ROUNDS }).in_task(TASK)
}

/// Two to five institutions: as many decryptors as there are, at most four, one of them hostile.
fn committee(sites: usize) -> CommitteeSize {
    CommitteeSize { decryptors: u8::try_from(sites.min(4)).expect("few sites"), corrupt: 1 }
}

fn plan(shape: Shape) -> Plan {
    let shard = |i: u32| ShardSpec {
        id: ShardId(i),
        tensors: vec![TensorSpec { name: format!("tensor.{i}"), shape: vec![8] }],
        step_exponent: -10,
    };
    Plan {
        federation: FEDERATION.into(),
        task: TASK,
        model: EncoderConfig {
            vocab: 64,
            max_tokens: 8,
            width: 8,
            heads: 1,
            layers: 1,
            hidden: 8,
            classes: vec!["no".into(), "yes".into()],
            adapter: None,
            base: None,
            ..EncoderConfig::none()
        },
        tokenizer: TokenizerKind::HashedCharacters,
        base: BASE,
        rounds: ROUNDS,
        shards: (0..shape.groups).map(shard).collect(),
        groups: (0..shape.groups).map(|i| GroupPlan { id: GroupId(i), shards: vec![ShardId(i)], bits: 16 }).collect(),
        cohort_min: 2,
        n_max: 8,
        committee: committee(shape.sites),
        privacy: PrivacyPlan {
            unit: Unit::Record,
            mode: Mode::Local,
            path: ClipPath::Exact,
            clip_function: ClipFunction::Flat,
            clip: decimal("1"),
            grid_bits: 12,
            noise_multiplier: decimal("1"),
            sampling_rate: decimal("0.01"),
            delta: decimal("0.00001"),
            epsilon_cap: decimal("100"),
            max_records_per_unit: 1,
            noise: NoiseKind::RoundedGaussian,
            unit_objective: UnitObjective::Mean,
        },
        local: LocalTraining {
            steps: 1,
            micro_batch: 1,
            learning_rate: decimal("0.01"),
            warmup_steps: 0,
            weight_decay: decimal("0"),
            ..LocalTraining::none()
        },
        weighting: Weighting::Uniform,
        strategy: Strategy::FedAvg { rate: decimal("1") },
        deadlines: Deadlines { selecting_ms: 2_000, reporting_ms: 10_000, certifying_ms: 4_000, opening_ms: 4_000 },
        count: None,
        gates: None,
        robustness: (shape.parts > 1).then_some(Robustness {
            random_groups: shape.parts,
            combine: if shape.parts > 3 { Combine::Median } else { Combine::Mean },
            max_group_norm: None,
        }),
        tiers: None,
    }
}
