//! Four institutions that sum vectors of integers: each bounds its units, pays in a ledger of its own, noises, seals; a certified set is
//! opened. Real ledgers, noise and sealing; keys, manifests and entropy are of the pretend world.

use crypto::doors::{Federation, Sealed, Spool};
use crypto::open::open_group;
use crypto::sampler::HedgeSecret;
use crypto::seal::{SealContext, seal};
use crypto::share::decode_key_sum;
use ed25519_dalek::SigningKey;
use privacy::bound::{UnitOutcome, UnitSum};
use privacy::delta::{Limbs, PrivateDelta, Quantiser};
use privacy::ledger::{Entry, Event, Pending, PrivacyLedger, RegisterError, ReserveError, ReserveRequest, Terms, default_order};
use privacy::mechanism::Mechanism;
use privacy::noise::{Noise, SeededEntropy, Stream};
use protocol::codec::encode;
use protocol::decimal::Decimal;
use protocol::ids::{ClientId, GroupId, PlanDigest, PublicKey, RoundId, Sha256, ShardId, TaskId};
use protocol::manifest::{Header, Manifest};
use protocol::params::CommitteeSize;
use protocol::plan::{ClipFunction, GroupPlan, Plan, ShardSpec, TensorSpec, Unit};
use protocol::statement::Statement;
use protocol::time::Time;
use tests::fixture::{Shape, federation};

/// Institutions.
pub(crate) const SITES: u8 = 4;
const NOW: Time = Time(1_700_000_000_000);
const COMMITTEE: CommitteeSize = CommitteeSize { decryptors: 4, corrupt: 1 };

/// What is summed, and how private it is.
pub(crate) struct Wanted {
    /// Values of the vector.
    pub(crate) values: u32,
    /// Bits of a slot.
    pub(crate) bits: u8,
    /// Limbs of a value.
    pub(crate) limbs: u8,
    /// Rounds.
    pub(crate) rounds: u64,
    /// Bound on a unit's L2 norm, in its integers.
    pub(crate) bound: u64,
    /// g.
    pub(crate) grid_bits: u8,
    /// Noise deviation ÷ bound, at each institution.
    pub(crate) noise_multiplier: &'static str,
    /// The task's cap.
    pub(crate) epsilon_cap: &'static str,
    /// N̂ of each institution.
    pub(crate) declared_units: u64,
    /// Fixes all entropy of the pretend world.
    pub(crate) seed: u64,
}

pub(crate) fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

struct Site {
    key: SigningKey,
    ledger: PrivacyLedger,
    file: Vec<u8>,
}

impl Site {
    fn new(i: u8, epsilon_cap: &str) -> Self {
        let key = SigningKey::from_bytes(&[i + 1; 32]);
        let (cap, delta) = (dec(epsilon_cap), dec("0.00001"));
        let terms = Terms {
            institution: ClientId::of(&PublicKey(key.verifying_key().to_bytes())),
            dataset: Sha256([i; 32]),
            unit: Unit::User,
            epsilon_cap: cap,
            delta,
            order: default_order(cap, delta).unwrap(),
            own_epsilon_cap: None,
        };
        let first = PrivacyLedger::create(terms, NOW).unwrap();
        let file = first.record(|entry: &Entry| Statement::sign(entry, &key));
        Self { ledger: first.begun(), file, key }
    }

    /// Durable first, then counted.
    fn keep<T>(&mut self, pending: Pending<T>) -> T {
        self.file.extend(pending.record(|entry: &Entry| Statement::sign(entry, &self.key)));
        self.ledger.recorded(pending).unwrap()
    }
}

/// The task at all institutions.
pub(crate) struct Task {
    plan: Plan,
    digest: PlanDigest,
    mechanism: Mechanism,
    limbs: Limbs,
    values: usize,
    seed: u64,
    sites: Vec<Site>,
}

/// One unit's integers: coordinates ascending.
pub(crate) type Contribution = Vec<(u32, i64)>;

impl Task {
    /// Registers the whole schedule in every ledger.
    pub(crate) fn begin(w: &Wanted) -> Result<Self, RegisterError> {
        let mut plan = federation(Shape::plain(4, 1)).plan.clone();
        let dimension = w.values * u32::from(w.limbs);
        plan.task = TaskId([9; 16]);
        plan.rounds = w.rounds;
        plan.shards = vec![ShardSpec {
            id: ShardId(0),
            tensors: vec![TensorSpec { name: "counts".into(), shape: vec![dimension] }],
            step_exponent: 0,
        }];
        plan.groups = vec![GroupPlan { id: GroupId(0), shards: vec![ShardId(0)], bits: w.bits }];
        plan.local.steps = 1;
        plan.privacy.unit = Unit::User;
        plan.privacy.clip_function = ClipFunction::Flat;
        plan.privacy.clip = dec(&w.bound.to_string());
        plan.privacy.grid_bits = w.grid_bits;
        plan.privacy.noise_multiplier = dec(w.noise_multiplier);
        plan.privacy.sampling_rate = dec("1");
        plan.privacy.epsilon_cap = dec(w.epsilon_cap);
        plan.check().unwrap();
        let (digest, limbs) = (Plan::digest(&encode(&plan)), Limbs::new(w.bits, w.limbs).unwrap());
        let mechanism = Mechanism::new(&plan.privacy, plan.dimension(), w.declared_units).unwrap();
        let mut sites: Vec<Site> = (0..SITES).map(|i| Site::new(i, w.epsilon_cap)).collect();
        for s in &mut sites {
            let pending = s.ledger.register(&plan, digest, &mechanism, NOW)?;
            s.keep(pending);
        }
        Ok(Self { plan, digest, mechanism, limbs, values: w.values as usize, seed: w.seed, sites })
    }

    /// Deviation of one institution's noise, in the units' integers.
    pub(crate) fn deviation(&self) -> f64 {
        self.mechanism.sigma_grid() * self.mechanism.grid_step()
    }

    /// One round: `units[site]` are that institution's units. The opened sum, in the units' integers.
    pub(crate) fn round(&mut self, round: RoundId, units: &[Vec<Contribution>]) -> Result<Vec<f64>, ReserveError> {
        let slots = self.plan.dimension();
        let mut f = Federation::new(SITES, 4, COMMITTEE, self.plan.groups[0].bits, &[slots]);
        f.manifest.round = round;
        f.manifest.plan = self.digest;
        f.digest = Manifest::digest(&encode(&f.manifest));
        let mut sealed = Vec::new();
        for (i, mine) in units.iter().enumerate() {
            sealed.push(self.site_round(&f, i, round, mine)?);
        }
        let certificate = f.certify(&sealed);
        let openings = f.openings(&certificate, &sealed, &[1, 2, 3, 4]);
        let key = decode_key_sum(COMMITTEE, &certificate, &openings).unwrap();
        let opened = open_group(f.digest, f.group(), &certificate, &key.candidates, &f.sum(&sealed)).unwrap();
        let sums = self.limbs.join(&opened.values[0].1[..self.values * self.limbs.count()]).unwrap();
        Ok(sums.into_iter().map(|v| v as f64 * self.mechanism.grid_step()).collect())
    }

    /// Pay, bound, sum, noise, seal.
    fn site_round(&mut self, f: &Federation, i: usize, round: RoundId, units: &[Contribution]) -> Result<Sealed, ReserveError> {
        let m = &self.mechanism;
        let site = &mut self.sites[i];
        let compared = site.ledger.compare(&[]).unwrap();
        let request =
            ReserveRequest { task: self.plan.task, plan: self.digest, round, manifest: f.digest, mechanism: m, steps: 1, compared };
        let pending = site.ledger.reserve(&request, NOW)?;
        let mut paid = site.keep(pending);
        let (spend, step) = (paid.spend(), paid.next_step().unwrap());
        let mut entropy = SeededEntropy::new(self.seed * 1000 + round.0 * 10 + i as u64);
        let mut sum = UnitSum::new(m);
        units.iter().for_each(|u| assert_eq!(sum.add_counts(u), UnitOutcome::Added));
        let mut stream = Stream::<Noise>::open(&mut entropy, &step.context()).unwrap();
        let noised = sum.noised(step, m, &mut stream).unwrap();
        let proof = paid.finish().unwrap();
        let private = PrivateDelta::of_counts(&noised, &Quantiser::of_plan(&self.plan).unwrap(), self.limbs, &proof).unwrap();
        let context = SealContext { spend: &spend, ..f.context(i) };
        let mut spool = Spool::default();
        let update = seal(&context, &private, &HedgeSecret::new(&mut [u8::try_from(i).unwrap(); 32]), &mut entropy, &mut spool).unwrap();
        let digest = Header::digest(&encode(&update.header));
        Ok(Sealed { update, chunks: spool.0, digest })
    }

    /// ε that each institution's ledger says was spent on the task, read back from its bytes: signed, chained, whole.
    pub(crate) fn spent(&self) -> Vec<Decimal> {
        let spent = |s: &Site| {
            let loaded = PrivacyLedger::load(&s.file).unwrap();
            assert!(!loaded.torn && loaded.entries.iter().filter(|e| matches!(e.event, Event::Registered(_))).count() == 1);
            loaded.ledger.task(self.plan.task).unwrap().epsilon
        };
        self.sites.iter().map(spent).collect()
    }
}
