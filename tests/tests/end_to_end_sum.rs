//! Item 10 of the required tests (crypto.md section 9): floats of institutions, quantised, sealed, added, certified, opened. The opened integers
//! are exactly the sum of those that were sealed; their mean is that of the floats within one step; and an outsider comes to the same integers
//! from bodies and openings alone, with none of the federation's lines (C63). Entropy, keys and manifest are of the pretend world.

use auditor::share::{Answer, CheckMatrix, candidates};
use crypto::doors::{Federation, Sealed, Spool};
use crypto::open::{OpenedSum, open_group};
use crypto::sampler::HedgeSecret;
use crypto::seal::seal;
use crypto::share::decode_key_sum;
use privacy::delta::{Delta, PrivateDelta, Quantiser};
use privacy::ledger::NoisedLocally;
use privacy::mechanism::Mechanism;
use privacy::noise::{Quantiser as Rounding, SeededEntropy, StepContext, Stream};
use protocol::codec::encode;
use protocol::ids::{GroupId, ShardId};
use protocol::manifest::{Certificate, Header, OpeningPayload};
use protocol::params::CommitteeSize;
use protocol::plan::{ClipPath, Combine, GroupPlan, Mode, NoiseKind, Plan, ShardSpec, TensorSpec};
use tests::fixture::{Shape, federation};
use train::combine::{GroupSum, Mass, combine};

const SIZE: CommitteeSize = CommitteeSize { decryptors: 4, corrupt: 1 };
const SITES: u8 = 3;
const BITS: u8 = 16;
/// One shard of two polynomials and one that fills a part of one.
const LENGTHS: [u64; 2] = [12_400, 300];
const STEP_EXPONENT: i8 = -10;
/// Ends of the range: (2^15 - 1) steps.
const MOST: f32 = 32_767.0 / 1024.0;

type Shards<T> = Vec<(ShardId, Vec<T>)>;

fn plan() -> Plan {
    let mut plan = federation(Shape::plain(4, 1)).plan.clone();
    let shard = |(i, len): (u32, u64)| {
        let tensor = TensorSpec { name: format!("t{i}"), shape: vec![u32::try_from(len).unwrap()] };
        ShardSpec { id: ShardId(i), tensors: vec![tensor], step_exponent: STEP_EXPONENT }
    };
    plan.shards = (0u32..).zip(LENGTHS).map(shard).collect();
    plan.groups = vec![GroupPlan { id: GroupId(0), shards: plan.shards.iter().map(|s| s.id).collect(), bits: BITS }];
    let p = &mut plan.privacy;
    (p.mode, p.path, p.noise) = (Mode::Local, ClipPath::Exact, NoiseKind::RoundedGaussian);
    (p.clip, p.grid_bits) = ("1".parse().unwrap(), 16);
    (p.noise_multiplier, p.sampling_rate, p.delta) = ("0.5".parse().unwrap(), "1".parse().unwrap(), "0.00001".parse().unwrap());
    plan
}

/// An institution's delta: both ends of the range, points of the grid, and what lies between them.
fn floats(site: u8) -> Shards<f32> {
    let mut state = u64::from(site) + 1;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (state >> 40) as f32 / 16_777_216.0;
        MOST * (2.0 * share - 1.0)
    };
    let shard = |len: u64| -> Vec<f32> {
        let mut values: Vec<f32> = (0..len).map(|_| next()).collect();
        values[..4].copy_from_slice(&[MOST, -MOST, 0.0, 5.0 / 1024.0]);
        values
    };
    (0u32..).map(ShardId).zip(LENGTHS.map(shard)).collect()
}

/// Everything of one round: deltas in the clear, and what came of them.
struct Story {
    federation: Federation,
    plan: Plan,
    deltas: Vec<Shards<f32>>,
    integers: Vec<Shards<i32>>,
    sealed: Vec<Sealed>,
    certificate: Certificate,
    openings: Vec<OpeningPayload>,
    opened: OpenedSum,
}

/// The bound of the rounding, the proof that noise was drawn being of the test.
fn bounded(plan: &Plan, quantiser: &Quantiser, federation: &Federation, site: u8, delta: &Shards<f32>) -> PrivateDelta {
    let mechanism = Mechanism::of_plan(plan, 1000).unwrap();
    let (manifest, ledger_counter) = (federation.digest, u64::from(site));
    let proof = NoisedLocally::for_test(&mechanism, manifest, ledger_counter);
    let context = StepContext { manifest, ledger_counter, step: 0 };
    let mut rounding = Stream::<Rounding>::open(&mut SeededEntropy::new(ledger_counter), &context).unwrap();
    Delta::new(delta.clone(), proof).bound(quantiser, &mut rounding).unwrap().privatize_local()
}

/// A round in which institution i weighs i + 1 of `most`, or everybody the same.
fn tell(most: Option<u64>) -> Story {
    let plan = plan();
    let mut federation = Federation::new(SITES, 4, SIZE, BITS, &LENGTHS);
    most.into_iter().for_each(|most| federation.weigh(most));
    let (mut deltas, mut integers, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
    for site in 0..SITES {
        let own = Quantiser::of_plan(&plan).unwrap();
        let quantiser = most.map_or(own.clone(), |most| own.weighted(u64::from(site) + 1, most).unwrap());
        let delta = floats(site);
        let private = bounded(&plan, &quantiser, &federation, site, &delta);
        integers.push(private.shards().map(|(id, values)| (id, values.to_vec())).collect());
        deltas.push(delta);
        let (mut entropy, mut spool) = (SeededEntropy::new(u64::from(site) ^ 0x5ea1), Spool::default());
        let hedge = HedgeSecret::new(&mut [site; 32]);
        let update = seal(&federation.context(usize::from(site)), &private, &hedge, &mut entropy, &mut spool).unwrap();
        let digest = Header::digest(&encode(&update.header));
        sealed.push(Sealed { update, chunks: spool.0, digest });
    }
    let certificate = federation.certify(&sealed);
    let openings = federation.openings(&certificate, &sealed, &[1, 3, 4]);
    let key = decode_key_sum(SIZE, &certificate, &openings).unwrap();
    let opened = open_group(federation.digest, federation.group(), &certificate, &key.candidates, &federation.sum(&sealed)).unwrap();
    Story { federation, plan, deltas, integers, sealed, certificate, openings, opened }
}

/// Σ of a coordinate over the institutions, exactly.
fn clear_sum(integers: &[Shards<i32>]) -> Shards<i64> {
    let mut sum: Shards<i64> = LENGTHS.iter().zip(0u32..).map(|(&len, i)| (ShardId(i), vec![0; usize::try_from(len).unwrap()])).collect();
    for (total, one) in integers.iter().flat_map(|shards| (0..LENGTHS.len()).map(move |i| (i, &shards[i].1))) {
        sum[total].1.iter_mut().zip(one).for_each(|(total, &value)| *total += i64::from(value));
    }
    sum
}

fn check_mean(story: &Story, most: Option<u64>) {
    let mass = match most {
        Some(most) => Mass::Weights { sum: story.opened.weight.unwrap(), most },
        None => Mass::Members(u32::from(SITES)),
    };
    let groups = [GroupSum { shards: &story.opened.values, mass }];
    let mean = combine(&story.plan.shards, Combine::Mean, &groups).unwrap();
    let step = 2f64.powi(i32::from(STEP_EXPONENT));
    // Each institution is off by less than a step of what it sealed; a float of 32 bits adds less than a hundredth of one.
    let slack = step * f64::from(SITES) / mass.divisor() + step / 100.0;
    let weight = |site: usize| most.map_or(1.0, |_| site as f64 + 1.0);
    let total: f64 = (0..story.deltas.len()).map(weight).sum();
    let mut worst = 0.0f64;
    for (shard, (_, values)) in mean.iter().enumerate() {
        for (i, &value) in values.iter().enumerate() {
            let exact = story.deltas.iter().enumerate().map(|(site, d)| weight(site) * f64::from(d[shard].1[i])).sum::<f64>() / total;
            worst = worst.max((f64::from(value) - exact).abs());
        }
    }
    assert!(worst < slack, "{worst} of {slack}");
    assert!(worst > 0.1 * step, "{worst}: nothing was rounded");
}

fn check_outsider(story: &Story) {
    let matrix = CheckMatrix::of(story.certificate.digest());
    let answers: Vec<Answer> = story.openings.iter().map(|o| Answer::parse(o, usize::from(SITES)).unwrap()).collect();
    assert!(answers.iter().all(|answer| matrix.is_consistent(answer)));
    let sums = candidates(&answers, usize::from(SIZE.corrupt));
    let key = sums.iter().find(|sum| sum.is_bounded(story.certificate.members())).unwrap();
    let bodies: Vec<Vec<Vec<u8>>> = story.sealed.iter().map(|s| s.chunks.clone()).collect();
    let again =
        |members: &[Vec<Vec<u8>>]| auditor::doors::opened(story.federation.digest, story.federation.group(), members, key.coefficients());
    let all = again(&bodies).unwrap();
    assert!(all.values == story.opened.values, "an outsider finds other integers");
    assert_eq!((all.sum_root, all.value_digest), (story.opened.sum_root, story.opened.value_digest));
    assert!(again(&bodies[1..]).is_none(), "without a member nothing opens");
}

#[test]
fn what_is_opened_is_the_exact_sum_and_its_mean_that_of_the_floats_within_one_step() {
    for most in [None, Some(4)] {
        let story = tell(most);
        assert!(story.opened.values == clear_sum(&story.integers), "the opened integers are not the sum of the sealed ones");
        assert_eq!(story.opened.weight, most.map(|_| 1 + 2 + 3));
        check_mean(&story, most);
        check_outsider(&story);
    }
}
