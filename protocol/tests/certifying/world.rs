//! Two manifests of one round, two sets under each, and every view of the log that a server can show: real statements, real history.

use ed25519_dalek::SigningKey;
use protocol::codec;
use protocol::decimal::Decimal;
use protocol::entry::{Actor, Draft, Facts, LogEntry, Origin};
use protocol::history::History;
use protocol::ids::{
    Address, BodyRoot, ClientId, GroupId, HeaderDigest, ManifestDigest, PublicKey, RoundId, Sha256, ShardId, SnapshotDigest, TaskId,
    TokenId,
};
use protocol::manifest::{
    BudgetSpend, Certificate, CommitteeMember, Endorsement, Header, HeaderCore, Manifest, OpeningPayload, PREKEY_BYTES, Prekeys,
    SetPayload, committee_of, roster_root, set_digest,
};
use protocol::params::{CommitteeSize, PS_A, Packing};
use protocol::plan::{
    ClipFunction, ClipPath, Deadlines, EncoderConfig, GroupPlan, Joint, LocalTraining, Mode, NoiseKind, Plan, PlanApproval, PrivacyPlan,
    ShardSpec, Strategy, TensorSpec, TokenizerKind, Unit, UnitObjective, Weighting,
};
use protocol::statement::Statement;
use protocol::time::Time;
use protocol::trust::{BudgetDeclaration, DatasetDeclaration, JoinRequest, Membership, TrustDocument};

pub(crate) const TASK: TaskId = TaskId([7; 16]);
pub(crate) const ROUND: RoundId = RoundId::FIRST;
pub(crate) const GROUP: GroupId = GroupId(0);
const BASE: SnapshotDigest = SnapshotDigest([1; 32]);
const FEDERATION: &str = "model";

/// One exact set under one manifest.
pub(crate) struct SetWorld {
    pub(crate) headers: Vec<HeaderDigest>,
    pub(crate) payload: SetPayload,
    /// Signed by every decryptor, by position.
    pub(crate) signatures: Vec<Statement>,
    pub(crate) certificate: Certificate,
    /// Two computations of the last decryptor's opening. They differ, so that the second can never pass for the first.
    pub(crate) openings: [Statement; 2],
    /// The log in which the set is proposed.
    pub(crate) proposed: History,
    /// The log in which it is certified.
    pub(crate) certified: History,
}

/// One manifest with the sets {a, b, c} and {a, b}: their difference would be the update of c.
pub(crate) struct ManifestWorld {
    pub(crate) statement: Statement,
    pub(crate) manifest: Manifest,
    pub(crate) digest: ManifestDigest,
    pub(crate) sets: [SetWorld; 2],
    /// The log when all updates are in, who sends a second one, and who has sent none.
    reported: Log,
    first: SigningKey,
    last: SigningKey,
}

/// An update that comes besides those of the first three institutions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    None,
    /// The first institution's second one.
    Again,
    /// That of an institution more.
    Another,
}

/// A proposal that a server may only make by breaking a rule, and the log that shows it.
pub(crate) struct BadProposal {
    pub(crate) log: History,
    pub(crate) payload: SetPayload,
    pub(crate) headers: Vec<HeaderDigest>,
    book: Log,
}

impl BadProposal {
    /// The set signed by the whole committee against its duty, and the log in which it is certified.
    pub(crate) fn certify(&self, committee: &[SigningKey]) -> (History, Vec<Statement>) {
        let (mut log, set) = (self.book.clone(), self.payload.set);
        let signatures: Vec<_> = committee.iter().map(|k| Statement::sign(&self.payload, k)).collect();
        for (key, said) in committee.iter().zip(&signatures) {
            log.force(Draft::said(Actor::Decryptor, Some(id(key)), said.clone(), Facts::SetSigned { set }).in_group(GROUP));
        }
        let certificate = protocol::manifest::certificate_digest(&codec::encode(&self.payload));
        log.force(Draft::server(Facts::SetCertified { set, certificate }).in_group(GROUP));
        (log.history, signatures)
    }
}

impl ManifestWorld {
    /// The first `keep` updates, proposed, with one more besides.
    pub(crate) fn propose(&self, keep: usize, more: More) -> BadProposal {
        let mut log = self.reported.clone();
        let mut facts = Vec::new();
        let from = match more {
            More::None => None,
            More::Again => Some((&self.first, Sha256([10; 32]))),
            More::Another => Some((&self.last, Sha256([9; 32]))),
        };
        if let Some((site, build)) = from {
            let more = update(&self.manifest, self.digest, site, build);
            let header: Header = more.verify().unwrap();
            let (digest, core) = (Header::digest(&more.payload), header.core);
            let accepted = Facts::UpdateAccepted { header: digest, body_root: core.body_root, body_bytes: core.body_bytes };
            facts.push(Draft::said(Actor::Institution, Some(core.institution), more, accepted));
        }
        let mut firsts: Vec<_> =
            log.history.task(TASK).unwrap().rounds()[&ROUND].groups[&GROUP].accepted.iter().map(|(h, a)| (a.1, *h)).collect();
        firsts.sort_unstable();
        facts.extend(firsts[keep..].iter().map(|(_, header)| Draft::server(Facts::UpdateDropped { header: *header })));
        facts.into_iter().for_each(|draft| log.force(draft.in_group(GROUP)));
        let headers = log.history.task(TASK).unwrap().rounds()[&ROUND].groups[&GROUP].members();
        let (set, count, log_size) = (set_digest(self.digest, GROUP, &headers), u32::try_from(headers.len()).unwrap(), log.seq);
        log.force(Draft::server(Facts::SetProposed { set, count, log_size }).in_group(GROUP));
        let payload = SetPayload { manifest: self.digest, group: GROUP, set, count, log_size };
        BadProposal { log: log.history.clone(), payload, headers, book: log }
    }
}

/// Everything that can be said in one round by a committee of this size.
pub(crate) struct World {
    pub(crate) size: CommitteeSize,
    /// Keys of the decryptors, by position.
    pub(crate) committee: Vec<SigningKey>,
    /// The log in which the round is open and has no manifest.
    pub(crate) open: History,
    /// The log in which the round is over.
    pub(crate) over: History,
    pub(crate) manifests: [ManifestWorld; 2],
}

/// A log that takes only what breaks no rule.
#[derive(Clone)]
struct Log {
    history: History,
    seq: u64,
    last: Sha256,
}

impl Log {
    /// Writes what breaks a rule too.
    fn force(&mut self, draft: Draft) {
        self.put(&draft.in_round(TASK, ROUND));
    }

    fn write(&mut self, draft: Draft) {
        assert_eq!(self.put(&draft), vec![], "{:?}", draft.facts.kind());
    }

    fn put(&mut self, draft: &Draft) -> Vec<protocol::history::Violation> {
        let id = format!("018f0000-0000-7000-8000-{:012x}", self.seq);
        let ts = format!("2026-01-01T00:00:{:02}.{:06}Z", self.seq / 1_000_000, self.seq % 1_000_000);
        let origin = Origin { name: "model".into(), version: "0.1.0".into(), build: "test".into(), boot_ms: 0 };
        let stamp = self.history.stamp(draft, id, ts, origin);
        self.seq += 1;
        let bytes = LogEntry::new(stamp, draft).to_bytes();
        self.last = protocol::history::leaf_hash(&bytes);
        self.history.apply(&bytes)
    }

    fn write_in_round(&mut self, draft: Draft) {
        self.write(draft.in_round(TASK, ROUND));
    }
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

fn id(key: &SigningKey) -> ClientId {
    ClientId::of(&public(key))
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn dataset(of: ClientId) -> Sha256 {
    Sha256(of.0)
}

impl World {
    /// One institution more than decryptors, so that one institution has no say; at least three have updates.
    pub(crate) fn new(decryptors: u8, corrupt: u8) -> Self {
        let size = CommitteeSize { decryptors, corrupt };
        Self::of(size, plan(size), size.quorum())
    }

    /// The same under a plan whose sums carry three updates.
    pub(crate) fn of_at_most_three(decryptors: u8, corrupt: u8) -> Self {
        let size = CommitteeSize { decryptors, corrupt };
        Self::of(size, Plan { n_max: 3, ..plan(size) }, size.quorum())
    }

    /// The same in a log that shows fewer endorsements than a quorum, and goes on all the same.
    pub(crate) fn not_endorsed(decryptors: u8, corrupt: u8) -> Self {
        let size = CommitteeSize { decryptors, corrupt };
        Self::of(size, plan(size), size.quorum() - 1)
    }

    /// The same under a plan of mode hybrid whose noise is calibrated for three institutions: there is no second set.
    pub(crate) fn calibrated_for_three(decryptors: u8, corrupt: u8) -> Self {
        let size = CommitteeSize { decryptors, corrupt };
        let mut plan = plan(size);
        plan.cohort_min = 3;
        plan.privacy.mode = Mode::Hybrid(Joint { colluding: 0, coalition_epsilon: decimal("3") });
        plan.local.learning_rate = decimal("0");
        plan.shards[0].step_exponent = -12;
        plan.check().unwrap();
        Self::of(size, plan, size.quorum())
    }

    fn of(size: CommitteeSize, plan: Plan, endorsements: usize) -> Self {
        let decryptors = size.decryptors;
        let (server, admin) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let sites: Vec<_> = (0..=decryptors).map(|i| SigningKey::from_bytes(&[i + 10; 32])).collect();
        let (log, previous_end) = open_round(&plan, &server, &admin, &sites);
        let members = log.history.member_ids();
        let ids = committee_of(&members, previous_end, size);
        let committee: Vec<_> = ids.iter().map(|i| sites.iter().find(|s| id(s) == *i).unwrap().clone()).collect();
        let manifests = [0, 1].map(|delay| {
            let member = |i: &ClientId| CommitteeMember { institution: *i, prekey: prekey(*i).into() };
            let manifest = Manifest {
                federation: FEDERATION.into(),
                task: TASK,
                round: ROUND,
                plan: Plan::digest(&codec::encode(&plan)),
                snapshot: BASE,
                parameter_set: PS_A,
                groups: Manifest::groups_of(&plan, ROUND, std::slice::from_ref(&members)).unwrap(),
                roster: roster_root(&members),
                committee: ids.iter().map(member).collect(),
                size,
                // The log leaves the server this choice, so both manifests agree with it.
                reporting_until: Time(10_000 + delay),
                certifying_until: Time(20_000),
                opening_until: Time(30_000),
                log_size: log.seq,
                previous_end,
            };
            manifest_world(manifest, &log, &server, &committee[..endorsements], (&committee, &sites))
        });
        let mut over = log.clone();
        over.write_in_round(Draft::server(Facts::RoundAbandoned {}));
        Self { size, committee, open: log.history, over: over.history, manifests }
    }

    /// The institution at this place of the committee, counted from zero.
    pub(crate) fn decryptor(&self, place: usize) -> ClientId {
        id(&self.committee[place])
    }

    pub(crate) fn set(&self, (m, s): (usize, usize)) -> &SetWorld {
        &self.manifests[m].sets[s]
    }
}

fn manifest_world(
    manifest: Manifest,
    log: &Log,
    server: &SigningKey,
    endorsing: &[SigningKey],
    (committee, sites): (&[SigningKey], &[SigningKey]),
) -> ManifestWorld {
    let statement = Statement::sign(&manifest, server);
    let digest = Manifest::digest(&statement.payload);
    let mut log = log.clone();
    log.write_in_round(Draft::said(Actor::Server, None, statement.clone(), Facts::ManifestPublished { manifest: digest }));
    for key in endorsing {
        let said = Statement::sign(&Endorsement { manifest: digest }, key);
        log.write_in_round(Draft::said(Actor::Decryptor, Some(id(key)), said, Facts::ManifestEndorsed { manifest: digest }));
    }
    let updates: Vec<_> = sites[..3].iter().map(|s| update(&manifest, digest, s, Sha256([9; 32]))).collect();
    for u in &updates {
        let header: Header = u.verify().unwrap();
        let (header, core) = (Header::digest(&u.payload), header.core);
        let facts = Facts::UpdateAccepted { header, body_root: core.body_root, body_bytes: core.body_bytes };
        let draft = Draft::said(Actor::Institution, Some(core.institution), u.clone(), facts).in_group(GROUP);
        // No honest log takes an update under a manifest that no quorum endorsed.
        if endorsing.len() < manifest.size.quorum() { log.force(draft) } else { log.write_in_round(draft) }
    }
    let dropped = Some(Header::digest(&updates[2].payload)).filter(|_| manifest.groups[0].cohort_min < 3);
    let sets = [None, dropped].map(|dropped| set_world(&manifest, digest, dropped, log.clone(), committee));
    ManifestWorld { statement, manifest, digest, sets, reported: log, first: sites[0].clone(), last: sites[sites.len() - 1].clone() }
}

fn set_world(m: &Manifest, digest: ManifestDigest, dropped: Option<HeaderDigest>, mut log: Log, committee: &[SigningKey]) -> SetWorld {
    if let Some(header) = dropped {
        log.write_in_round(Draft::server(Facts::UpdateDropped { header }).in_group(GROUP));
    }
    let headers = log.history.task(TASK).unwrap().rounds()[&ROUND].groups[&GROUP].members();
    let (set, count, log_size) = (set_digest(digest, GROUP, &headers), u32::try_from(headers.len()).unwrap(), log.seq);
    log.write_in_round(Draft::server(Facts::SetProposed { set, count, log_size }).in_group(GROUP));
    let proposed = log.history.clone();
    let payload = SetPayload { manifest: digest, group: GROUP, set, count, log_size };
    let signatures: Vec<_> = committee.iter().map(|k| Statement::sign(&payload, k)).collect();
    for (key, said) in committee.iter().zip(&signatures).take(m.size.quorum()) {
        log.write_in_round(Draft::said(Actor::Decryptor, Some(id(key)), said.clone(), Facts::SetSigned { set }).in_group(GROUP));
    }
    let certificate = Certificate::new(m, digest, &headers, &signatures).unwrap();
    let position = m.position(id(committee.last().unwrap())).unwrap();
    let openings = [0, 1].map(|v| {
        let said = OpeningPayload { certificate: certificate.digest(), position, shares: vec![v; 4], checks: vec![] };
        Statement::sign(&said, committee.last().unwrap())
    });
    let facts = Facts::SetCertified { set, certificate: certificate.digest() };
    log.write_in_round(Draft::server(facts).in_group(GROUP));
    SetWorld { headers, payload, signatures, certificate, openings, proposed, certified: log.history }
}

fn update(manifest: &Manifest, digest: ManifestDigest, site: &SigningKey, build: Sha256) -> Statement {
    let (who, spec) = (id(site), manifest.group(GROUP).unwrap());
    let polynomials = spec.polynomials().unwrap();
    let core = HeaderCore {
        manifest: digest,
        institution: who,
        group: GROUP,
        polynomials,
        chunks: Packing::chunks(polynomials),
        body_bytes: polynomials * spec.packing.polynomial_bytes(),
        body_root: BodyRoot(who.0),
        build,
        spend: BudgetSpend {
            dataset: dataset(who),
            unit: Unit::Record,
            noise_multiplier: decimal("1"),
            sampling_rate: decimal("0.01"),
            steps: 1,
            steps_total: 1,
            delta: decimal("0.00001"),
            epsilon_before: decimal("0"),
            epsilon_after: decimal("1"),
            epsilon_cap: decimal("100"),
            ledger_counter: 1,
            ledger_head: Sha256([0; 32]),
            accountant: "model".into(),
        },
    };
    Statement::sign(&Header { core, blobs: vec![Address([3; 32]); manifest.committee.len()] }, site)
}

/// A federation whose first round is open, and the leaf hash that the round follows.
fn open_round(plan: &Plan, server: &SigningKey, admin: &SigningKey, sites: &[SigningKey]) -> (Log, Sha256) {
    let trust = TrustDocument {
        v: 1,
        federation: FEDERATION.into(),
        log_vkey: "model+00000000+AA==".into(),
        root_ca: Sha256([3; 32]),
        administrators: vec![public(admin)],
        threshold: 1,
        server: public(server),
        previous: None,
    };
    let mut log = Log { history: History::new(trust.clone()), seq: 0, last: Sha256([0; 32]) };
    let trust = TrustDocument::hash(&trust.to_bytes());
    log.write(Draft::server(Facts::FederationCreated { trust }));
    sites.iter().for_each(|s| enrol(s, trust, admin, &mut log));
    let bytes = codec::encode(plan);
    let digest = Plan::digest(&bytes);
    let approval = Statement::sign(&PlanApproval { task: TASK, plan: digest }, admin);
    log.write(Draft::said(Actor::Administrator, None, approval, Facts::TaskApproved { plan: digest }).in_task(TASK));
    log.write(Draft::server(Facts::TaskOpened { plan: digest, snapshot: BASE }).in_task(TASK));
    let previous_end = log.last;
    for s in sites {
        let said = Statement::sign(&Prekeys { task: TASK, first: ROUND, keys: vec![prekey(id(s)).into()], nonces: None, until: None }, s);
        log.write(Draft::said(Actor::Decryptor, Some(id(s)), said, Facts::PrekeysPublished { first: ROUND, count: 1 }).in_task(TASK));
    }
    log.history.learn_plan(&bytes, plan);
    log.write_in_round(Draft::server(Facts::RoundOpened { previous_end }));
    (log, previous_end)
}

fn prekey(of: ClientId) -> Vec<u8> {
    of.0.repeat(PREKEY_BYTES / 32)
}

fn enrol(site: &SigningKey, trust: Sha256, admin: &SigningKey, log: &mut Log) {
    let who = id(site);
    let ask = JoinRequest {
        token: TokenId([0; 16]),
        trust,
        nonce: Sha256([4; 32]),
        name: format!("site-{}", who.short()),
        institution_key: public(site),
        witness_vkey: "model+00000001+AA==".into(),
        tls_key: Sha256([5; 32]),
    };
    let membership = Membership::of(&ask);
    let (request, cap, dataset) = (membership.request, decimal("100"), dataset(who));
    let declared = DatasetDeclaration { dataset, unit: Unit::Record, declared_units: 1000 };
    let budget = BudgetDeclaration { dataset, epsilon_cap: cap, delta: decimal("0.00001"), own_epsilon_cap: None };
    let by = |actor, statement, facts| Draft::said(actor, Some(who), statement, facts);
    log.write(by(Actor::Institution, Statement::sign(&ask, site), Facts::MemberJoinRequested { token: ask.token, request }));
    log.write(by(Actor::Administrator, Statement::sign(&membership, admin), Facts::MemberJoined { request }));
    log.write(by(Actor::Institution, Statement::sign(&declared, site), Facts::DatasetDeclared { dataset }));
    log.write(by(Actor::Institution, Statement::sign(&budget, site), Facts::BudgetDeclared { dataset, epsilon_cap: cap }));
}

fn plan(committee: CommitteeSize) -> Plan {
    Plan {
        robustness: None,
        tiers: None,
        count: None,
        gates: None,
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
        rounds: 1,
        shards: vec![ShardSpec { id: ShardId(0), tensors: vec![TensorSpec { name: "tensor".into(), shape: vec![8] }], step_exponent: -10 }],
        groups: vec![GroupPlan { id: GROUP, shards: vec![ShardId(0)], bits: 16 }],
        cohort_min: 2,
        n_max: 16,
        committee,
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
    }
}
