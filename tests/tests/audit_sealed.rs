//! L1 all the way (privacy.md D70): sample, clip, grid, noise, delta, quantiser, seal, sum, certificate, opening, with and without one unit;
//! what comes out of the opened sum is attacked. The noise is the program's own; entropy, keys and manifest are of the pretend world.

use crypto::doors::{Federation, Sealed, Spool};
use crypto::open::open_group;
use crypto::sampler::HedgeSecret;
use crypto::seal::seal;
use crypto::share::decode_key_sum;
use privacy::audit::Expected;
use privacy::audit::bounds::MuEstimate;
use privacy::bound::{Block, UnitOutcome, UnitSum};
use privacy::delta::{Delta, PrivateDelta, Quantiser};
use privacy::ledger::Paid;
use privacy::mechanism::Mechanism;
use privacy::noise::{Noise, Quantiser as Rounding, Sample, SeededEntropy, Stream};
use privacy::sample::poisson_sample;
use protocol::codec::encode;
use protocol::ids::{GroupId, ShardId};
use protocol::manifest::Header;
use protocol::params::CommitteeSize;
use protocol::plan::{ClipPath, GroupPlan, Mode, NoiseKind, Plan, ShardSpec, TensorSpec};
use tests::fixture::{Shape, federation};

const SIZE: CommitteeSize = CommitteeSize { decryptors: 3, corrupt: 1 };
/// The victim, and one other, which is the one that looks: it knows its own update.
const SITES: u8 = 2;
const BITS: u8 = 16;
const DIMENSION: usize = 64;
const DECLARED: u64 = 1000;
/// Worlds with the unit, and as many without it.
const RUNS: u64 = 80;
/// Units of the victim that are there in every world.
const BYSTANDERS: usize = 3;
/// Rounding of the delta to 2^-20 is a thousandth of its noise, σ·C ÷ 1000.
const STEP_EXPONENT: i8 = -20;

/// A task of mode `local` over 64 coordinates, everybody in every step, σ = 1/2: with so few worlds a large μ is told from a twice as large one.
fn plan() -> Plan {
    let mut plan = federation(Shape::plain(4, 1)).plan.clone();
    let tensor = TensorSpec { name: "weights".into(), shape: vec![u32::try_from(DIMENSION).unwrap()] };
    plan.shards = vec![ShardSpec { id: ShardId(0), tensors: vec![tensor], step_exponent: STEP_EXPONENT }];
    plan.groups = vec![GroupPlan { id: GroupId(0), shards: vec![ShardId(0)], bits: BITS }];
    let p = &mut plan.privacy;
    (p.mode, p.path, p.noise) = (Mode::Local, ClipPath::Exact, NoiseKind::RoundedGaussian);
    (p.clip, p.grid_bits) = ("1".parse().unwrap(), 16);
    (p.noise_multiplier, p.sampling_rate, p.delta) = ("0.5".parse().unwrap(), "1".parse().unwrap(), "0.00001".parse().unwrap());
    plan
}

struct Worlds {
    federation: Federation,
    mechanism: Mechanism,
    quantiser: Quantiser,
    /// The update of the institution that looks, the same in every world, and room for the victim's.
    sealed: Vec<Sealed>,
    /// What it sealed for the attacked coordinate.
    known: i64,
}

impl Worlds {
    fn new(plan: &Plan, mechanism: Mechanism) -> Self {
        let federation = Federation::new(SITES, 4, SIZE, BITS, &[plan.dimension()]);
        let mut this = Self { federation, mechanism, quantiser: Quantiser::of_plan(plan).unwrap(), sealed: Vec::new(), known: 0 };
        let own = this.private(u64::MAX, false);
        this.known = i64::from(own.shards().next().unwrap().1[0]);
        this.sealed.push(this.seal(1, &own, u64::MAX));
        this
    }

    /// Sample, clip, grid, sum, noise, delta, quantiser.
    fn private(&self, number: u64, with: bool) -> PrivateDelta {
        let (m, mut entropy) = (&self.mechanism, SeededEntropy::new(number));
        let mut paid = Paid::for_test(m, self.federation.digest, number, 1);
        let step = paid.next_step().unwrap();
        let (context, mut sum) = (step.context(), UnitSum::new(m));
        let mut draws = Stream::<Sample>::open(&mut entropy, &context).unwrap();
        for unit in poisson_sample(&mut draws, m.sampling_rate(), BYSTANDERS + usize::from(with)) {
            assert_eq!(sum.add_unit(&[Block { offset: 0, values: &gradient(unit) }]), UnitOutcome::Added);
        }
        let noised = sum.noised(step, m, &mut Stream::<Noise>::open(&mut entropy, &context).unwrap()).unwrap();
        let delta = Delta::new(vec![(ShardId(0), noised.mean_gradient(m))], paid.finish().unwrap());
        let mut rounding = Stream::<Rounding>::open(&mut entropy, &context).unwrap();
        delta.bound(&self.quantiser, &mut rounding).unwrap().privatize_local()
    }

    fn seal(&self, client: usize, private: &PrivateDelta, number: u64) -> Sealed {
        let (mut entropy, mut spool) = (SeededEntropy::new(number ^ 0x5ea1), Spool::default());
        let hedge = HedgeSecret::new(&mut [u8::try_from(client).unwrap(); 32]);
        let update = seal(&self.federation.context(client), private, &hedge, &mut entropy, &mut spool).unwrap();
        let digest = Header::digest(&encode(&update.header));
        Sealed { update, chunks: spool.0, digest }
    }

    /// What the other institution sees of the unit's coordinate in the opened sum, less what it put in itself.
    fn score(&mut self, number: u64, with: bool) -> f64 {
        let victim = self.seal(0, &self.private(number, with), number);
        self.sealed.push(victim);
        let f = &self.federation;
        let certificate = f.certify(&self.sealed);
        let openings = f.openings(&certificate, &self.sealed, &[1, 2, 3]);
        let key = decode_key_sum(SIZE, &certificate, &openings).unwrap();
        let opened = open_group(f.digest, f.group(), &certificate, &key.candidates, &f.sum(&self.sealed)).unwrap();
        self.sealed.pop();
        (opened.values[0].1[0] - self.known) as f64
    }

    /// Both worlds, every run from a seed of its own.
    fn attack(mut self, seed: u64) -> MuEstimate {
        let mut side =
            |with: bool| -> Vec<f64> { (0..RUNS).map(|run| self.score(seed * 1_000_000 + 2 * run + u64::from(with), with)).collect() };
        let (with, without) = (side(true), side(false));
        MuEstimate::of(&with, &without).unwrap()
    }
}

/// Of the unit in question, the last: long, along the first coordinate. Of the others: something, the same in both worlds.
fn gradient(unit: usize) -> [f32; DIMENSION] {
    let mut values = [0.0; DIMENSION];
    if unit == BYSTANDERS {
        values[0] = 1000.0;
    } else {
        values.iter_mut().skip(unit).step_by(BYSTANDERS).for_each(|x| *x = 0.1);
    }
    values
}

/// The rule of L1: μ̂ within four standard errors of what the account says. False alarm 6.4e-5; the seed is fixed. A program that is wrong about
/// itself, which draws half of what it accounts for, lies more than four standard errors beyond that.
#[test]
fn what_is_opened_carries_the_noise_that_is_accounted() {
    let plan = plan();
    let honest = Mechanism::of_plan(&plan, DECLARED).unwrap();
    let expected = Expected::of_plan(&plan, DECLARED, honest.noise_multiplier_accounted());
    let mu = expected.left_by_itself() / expected.deviation();
    assert!((mu - 2.0).abs() < 1e-3);
    let halved = Mechanism::of_plan(&plan, DECLARED).unwrap().with_half_its_noise_for_test();
    assert_eq!(halved.noise_multiplier_accounted(), honest.noise_multiplier_accounted());
    let within = |estimate: MuEstimate| (estimate.mu - mu).abs() <= 4.0 * estimate.standard_error(mu);
    let estimate = Worlds::new(&plan, honest).attack(1);
    assert!(within(estimate), "{estimate:?}, expected {mu}");
    let estimate = Worlds::new(&plan, halved).attack(2);
    assert!(!within(estimate) && estimate.mu > mu, "{estimate:?}, expected about twice {mu}");
}
