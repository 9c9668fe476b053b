//! Four institutions, one task, two rounds of one group, told entry by entry, with one fault on request. Sums and key sums are real.

#[path = "story/afterwards.rs"]
mod afterwards;
#[path = "story/before.rs"]
mod before;
#[path = "story/bend.rs"]
mod bend;
#[path = "story/counting.rs"]
mod counting;
#[path = "story/deleted.rs"]
mod deleted;
#[path = "story/exhausted.rs"]
mod exhausted;
#[path = "story/keys.rs"]
mod keys;
#[path = "story/model.rs"]
mod model;
#[path = "story/plan.rs"]
mod plan;
#[path = "story/process.rs"]
mod process;
#[path = "story/real.rs"]
pub(crate) mod real;
#[path = "story/site_policy.rs"]
mod site_policy;
#[path = "story/standing.rs"]
mod standing;
#[path = "story/trusts.rs"]
mod trusts;

use super::fixture::{self, Signers};
use super::sealing::{self, Bodies, Stated, address};
use super::secrets::{Sealed, key_sum, opening};
use super::twist::Twist;
use ed25519_dalek::SigningKey;
use model::{Model, base_snapshot, file_name};
pub(crate) use plan::plan;
use privacy::accountant::task::TaskTerms;
use privacy::mechanism::Mechanism;
use protocol::codec;
use protocol::decimal::Decimal;
use protocol::entry::{Actor, AlarmKind, Draft, Facts, LogEntry, Origin};
use protocol::history::{History, leaf_hash};
use protocol::ids::{
    Address, CertificateDigest, ClientId, GroupId, HeaderDigest, KeySumDigest, LeafIndex, ManifestDigest, PlanDigest, Position, PublicKey,
    RoundId, SetDigest, Sha256, SnapshotDigest, TaskId, ValueDigest,
};
use protocol::manifest::{
    BudgetSpend, CommitteeMember, Endorsement, Header, HeaderCore, Manifest, SetPayload, SumResult, body_root, certificate_digest,
    committee_of, roster_root, set_digest,
};
use protocol::params::{CommitteeSize, PS_A};
use protocol::plan::{Plan, Unit};
use protocol::sidecar::Sidecar;
use protocol::statement::{Payload, Statement, StatementKind};
use protocol::time::Time;
use protocol::trust::TrustDocument;

const TASK: TaskId = TaskId([7; 16]);
const GROUP: GroupId = GroupId(0);
const CAP: &str = "4";
/// Entries of no interest that fill the first tile.
const FILL: u64 = 230;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}
fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}
fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}
fn admin() -> SigningKey {
    key(1)
}
fn second_admin() -> SigningKey {
    key(3)
}
pub(crate) fn server() -> SigningKey {
    key(2)
}

/// What each institution calls its records, with the nonce that hides it.
pub(crate) fn name_of_dataset(who: usize) -> Sidecar {
    Sidecar::new([100 + u8::try_from(who).unwrap(); 16], &format!("ward {who}, 2024")).unwrap()
}

/// Writes the entries.
struct Scribe {
    twist: Twist,
    plan: Plan,
    mechanism: Mechanism,
    entries: Vec<Vec<u8>>,
    /// What the entries say before they are bent.
    history: History,
    people: Vec<SigningKey>,
    /// Who they are: by the keys that they joined with.
    firsts: Vec<ClientId>,
    trust: Sha256,
    activation: Option<u64>,
    /// The entry that activates the second policy.
    next_activation: Option<u64>,
    previous_end: Sha256,
    snapshot: SnapshotDigest,
    chunks: fixture::Files,
    /// Snapshots by digest, and opened integers as a server keeps them.
    snapshots: fixture::Files,
    sums: fixture::Files,
    model: Model,
    /// What `clinic-1` sent in round 1.
    first_header: Option<Header>,
    /// Institutions that were admitted.
    joined: usize,
    /// Where the model was released and withdrawn last.
    released_at: LeafIndex,
    withdrawn_at: Option<LeafIndex>,
    /// Since which entry each stands as it stands.
    since: Vec<u64>,
}

/// One update as its institution and the server know it.
struct Update {
    sealed: Sealed,
    bodies: Bodies,
}

impl Scribe {
    fn push(&mut self, draft: Draft) -> u64 {
        let seq = self.entries.len() as u64;
        let late = self.twist == Twist::SequenceJumps && seq > FILL;
        let (id, ts) = (format!("018f0000-0000-7000-8000-{seq:012x}"), format!("2026-01-02T03:04:05.{seq:06}Z"));
        let origin = Origin { name: "concordat-server".into(), version: "0.1.0".into(), build: "test".into(), boot_ms: 0 };
        let mut stamp = self.history.stamp(&draft, id, ts, origin);
        stamp.seq = if late { seq + 1 } else { seq };
        let bytes = LogEntry::new(stamp, &draft).to_bytes();
        // What the scribe itself makes of it: the stamp of the next entry follows from it, whatever the entry breaks.
        self.history.apply_judged(&bytes, LogEntry::parse(&bytes).as_ref().map_err(|e| *e), &mut |_| true);
        self.entries.push(bend::bend(self.twist, draft.facts.kind(), bytes));
        seq
    }

    fn leaf(&self) -> Sha256 {
        leaf_hash(self.entries.last().unwrap())
    }
    fn says<P: Payload>(&mut self, who: usize, value: &P, facts: Facts) {
        let statement = Statement::sign(value, &self.people[who]);
        self.push(Draft::said(Actor::Institution, Some(self.firsts[who]), statement, facts));
    }
    /// As many administrators as must; one less where the story wants it. Where the last of them stands.
    fn admin_says<P: Payload>(&mut self, value: &P, facts: Facts, task: Option<TaskId>) -> u64 {
        let only_one = |kind, twist: &[Twist]| P::KIND == kind && twist.contains(&self.twist);
        let one_less = only_one(StatementKind::Membership, &[Twist::MembershipByOneOfTwo]) && self.joined == 3
            || only_one(StatementKind::Policy, &[Twist::PolicyByOneOfTwo])
            || only_one(StatementKind::Plan, &[Twist::PlanByOneOfTwo])
            || only_one(StatementKind::Withdrawal, &[Twist::WithdrawalByOneOfTwo])
            || only_one(StatementKind::Release, &[Twist::ReleaseByOneOfTwo, Twist::RealModelByOneOfTwo]);
        let mut signers = vec![self.administrator()];
        if self.twist.has_two_administrators() && !one_less {
            signers.push(if self.twist == Twist::ReleaseByOneTwice && P::KIND == StatementKind::Release {
                admin()
            } else {
                second_admin()
            });
        }
        let mut last = 0;
        for key in signers {
            let draft = Draft::said(Actor::Administrator, None, Statement::sign(value, &key), facts.clone());
            last = self.push(Draft { task, ..draft });
        }
        last
    }
    fn in_round<P: Payload>(&mut self, round: RoundId, who: usize, value: &P, facts: Facts) {
        let (id, statement) = (self.firsts[who], Statement::sign(value, &self.people[who]));
        let draft = Draft::said(Actor::Institution, Some(id), statement, facts).in_round(TASK, round).in_group(GROUP);
        self.push(draft);
    }
    fn server_says(&mut self, round: RoundId, facts: Facts) {
        self.push(Draft::server(facts).in_round(TASK, round).in_group(GROUP));
    }

    fn ids(&self) -> Vec<ClientId> {
        self.firsts.clone()
    }

    /// Opens a round and publishes its manifest; the committee by index of person.
    fn open_round(&mut self, round: RoundId, plan: PlanDigest) -> (Manifest, ManifestDigest, Vec<usize>) {
        let covered = self.entries.len() as u64;
        self.push(Draft::server(Facts::RoundOpened { previous_end: self.previous_end }).in_round(TASK, round));
        let ids = self.present(round);
        if self.twist == Twist::JoinListMiscounted {
            let (joined, count) = (protocol::dealing::join_list(&ids), ids.len() as u64 - 1);
            self.push(Draft::server(Facts::RoundJoined { joined, count }).in_round(TASK, round));
        }
        self.exhausted(round);
        self.decline(round);
        let who = |id: &ClientId| ids.iter().position(|i| i == id).unwrap();
        let size = self.plan.committee;
        let committee: Vec<usize> = committee_of(&ids, self.previous_end, size).iter().map(who).collect();
        let roster = if self.twist == Twist::WrongRoster { roster_root(&ids[1..]) } else { roster_root(&ids) };
        let manifest = Manifest {
            federation: "demo".into(),
            task: TASK,
            round,
            plan,
            snapshot: self.snapshot,
            parameter_set: PS_A,
            groups: Manifest::groups_of(&self.plan, round, std::slice::from_ref(&ids)).unwrap(),
            roster,
            committee: committee.iter().map(|&w| CommitteeMember { institution: ids[w], prekey: Self::prekey(w).into() }).collect(),
            size: CommitteeSize { decryptors: 3, corrupt: 1 },
            reporting_until: Time(1),
            certifying_until: Time(2),
            opening_until: Time(3),
            log_size: if self.twist == Twist::StaleCheckpoint { 1 } else { covered },
            previous_end: self.previous_end,
        };
        let statement = Statement::sign(&manifest, &server());
        let digest = Manifest::digest(&statement.payload);
        self.push(Draft::said(Actor::Server, None, statement, Facts::ManifestPublished { manifest: digest }).in_round(TASK, round));
        let endorsing = if self.twist == Twist::FewEndorsements { 2 } else { 3 };
        for &who in &committee[..endorsing] {
            self.in_round(round, who, &Endorsement { manifest: digest }, Facts::ManifestEndorsed { manifest: digest });
        }
        (manifest, digest, committee)
    }

    fn epsilon(&self, steps: u64) -> Decimal {
        let m = &self.mechanism;
        let terms = TaskTerms {
            noise_multiplier: m.noise_multiplier_accounted(),
            sampling_rate: m.sampling_rate_decimal(),
            delta: m.delta(),
            dimension: self.plan.dimension(),
            epsilon_cap: self.plan.privacy.epsilon_cap,
            noise: self.plan.privacy.noise,
            path: self.plan.privacy.path,
        };
        if steps == 0 { decimal("0") } else { terms.epsilon(steps).unwrap() }
    }

    fn spend(&self, who: usize, round: RoundId) -> BudgetSpend {
        let (m, each) = (&self.mechanism, u64::from(self.plan.local.steps));
        let mut spend = BudgetSpend {
            dataset: Self::dataset(who),
            unit: Unit::Record,
            noise_multiplier: m.noise_multiplier_accounted(),
            sampling_rate: m.sampling_rate_decimal(),
            steps: each,
            steps_total: each * round.0,
            delta: m.delta(),
            epsilon_before: self.epsilon(each * (round.0 - 1)),
            epsilon_after: self.epsilon(each * round.0),
            epsilon_cap: decimal(CAP),
            ledger_counter: 10 * round.0,
            ledger_head: Sha256([u8::try_from(round.0).unwrap(); 32]),
            accountant: "pld-1".into(),
        };
        if who == 1 && round.0 == 2 {
            if self.twist == Twist::CapExceeded {
                spend.epsilon_after = decimal("4.5");
            }
            if self.twist == Twist::EpsilonUnderstated {
                spend.epsilon_after = spend.epsilon_before;
            }
            if self.twist == Twist::StepsRepeated {
                spend.steps_total = 4;
            }
            if self.twist == Twist::OtherNoise {
                spend.noise_multiplier = decimal("3");
            }
            if self.twist == Twist::LedgerFalls {
                spend.ledger_counter = 9;
            }
            if self.twist == Twist::LedgerCloned {
                spend.ledger_counter = 10;
            }
            if self.twist == Twist::PaymentSkipped {
                (spend.steps_total, spend.epsilon_before, spend.epsilon_after) = (9, self.epsilon(6), self.epsilon(9));
            }
            if self.twist == Twist::EpsilonRestarts {
                (spend.epsilon_before, spend.epsilon_after) = (decimal("0"), self.epsilon(3));
            }
            if self.twist == Twist::EpsilonFalls {
                (spend.epsilon_before, spend.epsilon_after) = (spend.epsilon_after, spend.epsilon_before);
            }
            if self.twist == Twist::SpendBelowTheRepair {
                spend.ledger_counter = 12;
            }
        }
        spend
    }

    /// An update that is sealed but not yet sent: its header is still unknown.
    fn seal(&self, round: RoundId, who: usize, manifest: (&Manifest, ManifestDigest)) -> Update {
        let seed = 10 * round.0 + who as u64;
        let (spec, sealed) = (&manifest.0.groups[0], Sealed::new(HeaderDigest([0; 32]), seed));
        let of_seed = i64::try_from(seed).unwrap();
        let mut values = if self.twist.counts() { vec![counting::values(self.twist, of_seed)] } else { sealing::values(spec, of_seed) };
        values.extend(spec.tally.map(|t| t.split(self.tallied(who)).unwrap().into_iter().map(i64::from).collect()));
        let bodies = sealing::seal(spec, manifest.1, &sealed.secret, values, seed);
        Update { sealed, bodies }
    }

    /// The weight that an institution seals: what it declared, unless it is the one that does not.
    fn tallied(&self, who: usize) -> u64 {
        if who == 1 && [Twist::OtherWeight, Twist::WeightedByTally].contains(&self.twist) { 500 } else { 12_000 }
    }

    fn update(&mut self, round: RoundId, who: usize, manifest: (&Manifest, ManifestDigest)) -> Update {
        let mut update = self.seal(round, who, manifest);
        let bodies = &update.bodies.chunks;
        let addresses: Vec<Address> = bodies.iter().map(|b| address(b)).collect();
        let core = HeaderCore {
            manifest: manifest.1,
            institution: self.ids()[who],
            group: GROUP,
            polynomials: manifest.0.groups[0].polynomials().unwrap(),
            chunks: addresses.len() as u64,
            body_bytes: bodies.iter().map(|b| b.len() as u64).sum(),
            body_root: body_root(&addresses),
            build: Sha256([8; 32]),
            spend: self.spend(who, round),
        };
        let (body_root, body_bytes) = (core.body_root, core.body_bytes);
        let header = Header { core, blobs: vec![addresses[0]; 3] };
        let digest = Header::digest(&codec::encode(&header));
        update.sealed.header = digest;
        let list: String = addresses.iter().map(|a| format!("{a}\n")).collect();
        self.chunks.insert(format!("{digest}.list"), list.into_bytes());
        self.chunks.extend(addresses.iter().zip(bodies).map(|(a, b)| (a.to_hex(), b.clone())));
        let facts = Facts::UpdateAccepted { header: digest, body_root, body_bytes };
        let second = round.0 == 2 && who == 1;
        let times = if self.twist == Twist::BegunTwice && second { 2 } else { usize::from(self.twist.tells(&[Twist::Begun])) };
        for _ in 0..times {
            let begun = Draft { institution: Some(self.ids()[who]), ..Draft::server(Facts::UpdateBegun { header: digest }) };
            self.push(begun.in_round(TASK, round).in_group(GROUP));
        }
        if self.twist == Twist::OthersStatement && second {
            // Signed by the one, entered for the other.
            let statement = Statement::sign(&header, &self.people[who]);
            let draft = Draft::said(Actor::Institution, Some(self.ids()[2]), statement, facts).in_round(TASK, round).in_group(GROUP);
            self.push(draft);
            return update;
        }
        if self.twist == Twist::StatementReplayed && second {
            let old = self.first_header.clone().unwrap();
            let (body_root, body_bytes) = (old.core.body_root, old.core.body_bytes);
            let facts = Facts::UpdateAccepted { header: Header::digest(&codec::encode(&old)), body_root, body_bytes };
            self.in_round(round, who, &old, facts);
            return update;
        }
        if who == 1 {
            self.first_header.get_or_insert_with(|| header.clone());
        }
        if self.twist == Twist::ForgedStatement && who == 1 {
            let statement = Statement { signature: [1; 64], ..Statement::sign(&header, &self.people[who]) };
            let draft = Draft::said(Actor::Institution, Some(self.ids()[who]), statement, facts).in_round(TASK, round).in_group(GROUP);
            self.push(draft);
        } else {
            self.in_round(round, who, &header, facts);
        }
        update
    }

    fn round(&mut self, round: RoundId, plan: PlanDigest) {
        let (manifest, digest, committee) = self.open_round(round, plan);
        if round.0 == 2 {
            self.declare_more(Twist::DeclaredMoreInTheRound);
            self.in_the_second_round();
        }
        let manifest = (&manifest, digest);
        let members = if self.twist == Twist::OneMember {
            1
        } else if self.twist == Twist::HybridBelowMinimum {
            2
        } else {
            3
        };
        let mut updates: Vec<Update> = (0..members).map(|who| self.update(round, who, manifest)).collect();
        if self.twist == Twist::AcceptedTwice {
            self.update(round, 0, manifest);
        }
        if self.twist == Twist::ForeignHeader {
            updates[0].sealed.header = HeaderDigest([77; 32]);
        }
        updates.sort_unstable_by_key(|u| u.sealed.header);
        let (updates, mut bodies): (Vec<Sealed>, Vec<Bodies>) = updates.into_iter().map(|u| (u.sealed, u.bodies)).unzip();
        if self.twist == Twist::StrangerSummed {
            bodies.push(self.seal(round, 3, manifest).bodies);
        }
        let certificate = self.certify(round, digest, &updates, &committee);
        self.open(round, certificate, &updates, &committee);
        if self.twist == Twist::SumFails && round.0 == 2 {
            self.server_says(round, Facts::SumFailed {});
            self.server_says(round, Facts::AuditAlarm { alarm: AlarmKind::FalseSum, evidence: Sha256([66; 32]) });
            self.push(Draft::server(Facts::RoundAbandoned {}).in_round(TASK, round));
            return self.previous_end = self.leaf();
        }
        let stated = sealing::stated(&manifest.0.groups[0], digest, &bodies.iter().collect::<Vec<_>>());
        self.opened(round, digest, certificate, &updates, &stated);
        self.advance(round, &bodies);
        if round.0 == 2 && self.twist.is_of_a_real_model() {
            self.snapshot = real::Model::new().snapshot();
        }
        self.push(Draft::server(Facts::RoundClosed { snapshot: self.snapshot }).in_round(TASK, round));
        self.previous_end = self.leaf();
        if self.twist == Twist::UpdateAfterTheEnd {
            self.update(round, 3, manifest);
        }
    }

    fn certify(&mut self, round: RoundId, manifest: ManifestDigest, updates: &[Sealed], committee: &[usize]) -> CertificateDigest {
        let headers: Vec<HeaderDigest> = updates.iter().map(|u| u.header).collect();
        let set = set_digest(manifest, GROUP, &headers);
        let (count, here) = (u32::try_from(headers.len()).unwrap(), self.entries.len() as u64);
        // The last header stands at `here - 1`.
        let log_size = if self.twist == Twist::SetOfAnEarlierTree {
            here - 1
        } else if self.twist == Twist::SetOfALaterTree {
            here + 2
        } else {
            here + 1
        };
        self.server_says(round, Facts::SetProposed { set, count, log_size });
        let log_size = if self.twist == Twist::SetSignedElsewhere { here } else { log_size };
        let payload = SetPayload { manifest, group: GROUP, set, count, log_size };
        let signing = if self.twist == Twist::FewSignatures { 2 } else { 3 };
        for &who in &committee[..signing] {
            self.in_round(round, who, &payload, Facts::SetSigned { set });
        }
        if self.twist == Twist::TwoSets {
            let other = SetPayload { set: SetDigest([88; 32]), ..payload };
            self.in_round(round, committee[0], &other, Facts::SetSigned { set: other.set });
            self.in_round(round, committee[0], &payload, Facts::SetSigned { set });
        }
        let certificate = certificate_digest(&codec::encode(&payload));
        self.server_says(round, Facts::SetCertified { set, certificate });
        certificate
    }

    fn open(&mut self, round: RoundId, certificate: CertificateDigest, updates: &[Sealed], committee: &[usize]) {
        for (place, &who) in committee.iter().enumerate() {
            let position = Position(u8::try_from(place + 1).unwrap());
            let stranger = (0..self.people.len()).find(|p| !committee.contains(p)).unwrap();
            let who = if self.twist == Twist::StrangerOpens && place == 2 { stranger } else { who };
            let lie = u64::from(self.twist == Twist::AllOpeningsLie || self.twist == Twist::OpeningLies && place == 2);
            let bend = u64::from(self.twist == Twist::OpeningBends && place == 2);
            let payload = opening(certificate, position, updates, lie, bend);
            self.in_round(round, who, &payload, Facts::OpeningPosted { certificate, position });
        }
    }

    fn opened(&mut self, round: RoundId, manifest: ManifestDigest, certificate: CertificateDigest, updates: &[Sealed], sum: &Stated) {
        let headers: Vec<HeaderDigest> = updates.iter().map(|u| u.header).collect();
        let stated = if self.twist == Twist::WrongKeySum { KeySumDigest([1; 32]) } else { key_sum(updates) };
        let values = if self.twist == Twist::OtherValues { ValueDigest([3; 32]) } else { sum.values };
        let result = SumResult {
            manifest,
            group: GROUP,
            set: set_digest(manifest, GROUP, &headers),
            sum_root: sum.sum_root,
            key_sum: stated,
            values,
            residual_ratio: if self.twist == Twist::OtherRatio { decimal("1.2") } else { Decimal::ceil(sum.ratio, 6).unwrap() },
        };
        let SumResult { sum_root, key_sum, values, residual_ratio, .. } = result;
        let certificate = if self.twist == Twist::OtherCertificateNamed { CertificateDigest([6; 32]) } else { certificate };
        let facts = Facts::SumOpened { certificate, sum_root, key_sum, values, residual_ratio };
        let draft =
            Draft::said(Actor::Server, None, Statement::sign(&result, &self.server_key()), facts).in_round(TASK, round).in_group(GROUP);
        self.push(draft);
    }
}

/// The trust document of this story.
fn trust(twist: Twist) -> TrustDocument {
    let two = twist.has_two_administrators();
    TrustDocument {
        v: 1,
        federation: "demo".into(),
        log_vkey: Signers::new().log.verifier().to_string(),
        root_ca: Sha256([4; 32]),
        administrators: if two { vec![public(&admin()), public(&second_admin())] } else { vec![public(&admin())] },
        threshold: if two { 2 } else { 1 },
        server: public(&server()),
        previous: None,
    }
}

/// The log of this story.
pub(crate) fn tell(twist: Twist) -> fixture::Draft {
    let trust = trust(twist);
    let history = History::new(trust.clone());
    let (trust, plan) = (trust.to_bytes(), plan(twist));
    let bytes = codec::encode(&plan);
    let mechanism = Mechanism::of_plan(&plan, 12_000).unwrap();
    let people: Vec<SigningKey> = (11..15).map(key).collect();
    let firsts = people.iter().map(|k| ClientId::of(&public(k))).collect();
    let (snapshot, previous_end, shown) = (plan.base, Sha256([0; 32]), TrustDocument::hash(&trust));
    let base = if twist.counts() { counting::base(&plan, twist) } else { base_snapshot() };
    let (rounds, snapshots) = (plan.rounds, [(file_name(&plan, snapshot), base)].into());
    let mut scribe = Scribe {
        twist,
        plan,
        mechanism,
        chunks: fixture::Files::new(),
        snapshots,
        sums: fixture::Files::new(),
        model: Model::new(),
        entries: Vec::new(),
        history,
        people,
        firsts,
        trust: shown,
        activation: None,
        next_activation: None,
        previous_end,
        snapshot,
        first_header: None,
        joined: 0,
        released_at: LeafIndex(0),
        withdrawn_at: None,
        since: Vec::new(),
    };
    scribe.found(&trust);
    scribe.prepare(&bytes);
    let mut published = vec![1];
    for round in 1..=rounds {
        scribe.site_policy(round);
        if round == 2 && [Twist::LedgerRepaired, Twist::RepairBelowTheLog, Twist::SpendBelowTheRepair].contains(&twist) {
            scribe.repair();
        }
        if round == 2 {
            scribe.declare_more(Twist::DeclaredMoreBetween);
            scribe.between_the_rounds();
            scribe.new_statement_key();
        }
        if round == 2 && twist.tells(&[Twist::CountsPaid, Twist::CountsOnAPaidCounter, Twist::CountsAboveTheCap]) {
            scribe.counts();
        }
        if round == 2 {
            scribe.spent_alone();
        }
        published.push(scribe.entries.len() as u64);
        scribe.round(RoundId(round), Plan::digest(&bytes));
    }
    let closed = if twist == Twist::SumFails { 1 } else { rounds };
    let abandoned = if twist == Twist::EndMiscounted { 1 } else { rounds - closed };
    scribe.push(Draft::server(Facts::TaskEnded { snapshot: scribe.snapshot, closed, abandoned }).in_task(TASK));
    scribe.declare_more(Twist::DeclaredMoreLater);
    scribe.restarted();
    scribe.witnesses();
    scribe.afterwards(Plan::digest(&bytes));
    published.push(scribe.entries.len() as u64);
    let Scribe { entries, chunks, snapshots, sums, activation, next_activation, .. } = scribe;
    let next_policy = next_activation.map(|at| (at, keys::signers(twist)));
    fixture::Draft { trust, plan: bytes, entries, chunks, snapshots, sums, activation, next_policy, published }
}
