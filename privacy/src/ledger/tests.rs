//! Pay first: kills, torn writes, caps, and chains.

use super::*;
use crate::ledger::{CloseError, default_order};
use crate::mechanism::tests::plan as privacy_plan;
use ed25519_dalek::SigningKey;
use protocol::ids::{ClientId, GroupId, PublicKey, ShardId, SnapshotDigest};
use protocol::params::CommitteeSize;
use protocol::plan::{
    Deadlines, EncoderConfig, GroupPlan, LocalTraining, NoiseKind, ShardSpec, Strategy, TensorSpec, TokenizerKind, Unit, Weighting,
};

pub(crate) const NOW: Time = Time(1_700_000_000_000);
pub(crate) const ROUNDS: u64 = 3;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}
/// The institution's signature on an entry.
pub(crate) fn sign(entry: &Entry) -> Statement {
    Statement::sign(entry, &key())
}

pub(crate) fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(crate) fn plan(task: u8, sigma: &str) -> Plan {
    Plan {
        federation: "test".to_owned(),
        task: TaskId([task; 16]),
        model: EncoderConfig {
            vocab: 64,
            max_tokens: 8,
            width: 8,
            heads: 2,
            layers: 1,
            hidden: 8,
            classes: vec!["a".into(), "b".into()],
            adapter: None,
            base: None,
            ..EncoderConfig::none()
        },
        tokenizer: TokenizerKind::HashedCharacters,
        base: SnapshotDigest([0; 32]),
        rounds: ROUNDS,
        shards: vec![ShardSpec { id: ShardId(0), tensors: vec![TensorSpec { name: "w".into(), shape: vec![100] }], step_exponent: -14 }],
        groups: vec![GroupPlan { id: GroupId(0), shards: vec![ShardId(0)], bits: 16 }],
        cohort_min: 2,
        n_max: 8,
        committee: CommitteeSize { decryptors: 3, corrupt: 1 },
        privacy: privacy_plan(sigma, "0.1", 16),
        local: LocalTraining {
            steps: 4,
            micro_batch: 8,
            learning_rate: dec("0.001"),
            warmup_steps: 0,
            weight_decay: dec("0"),
            ..LocalTraining::none()
        },
        weighting: Weighting::Uniform,
        strategy: Strategy::FedAvg { rate: dec("1") },
        deadlines: Deadlines { selecting_ms: 1, reporting_ms: 1, certifying_ms: 1, opening_ms: 1 },
        robustness: None,
        tiers: None,
        count: None,
        gates: None,
    }
}

pub(crate) fn mechanism(plan: &Plan) -> Mechanism {
    Mechanism::new(&plan.privacy, plan.dimension(), 1000).unwrap()
}
pub(crate) fn digest(plan: &Plan) -> PlanDigest {
    Plan::digest(&protocol::codec::encode(plan))
}

pub(crate) fn terms(cap: &str) -> Terms {
    let (epsilon_cap, delta) = (dec(cap), dec("0.00001"));
    let order = default_order(epsilon_cap, delta).unwrap();
    let institution = ClientId::of(&PublicKey(key().verifying_key().to_bytes()));
    Terms { institution, dataset: Sha256([2; 32]), unit: Unit::User, epsilon_cap, delta, order, own_epsilon_cap: None }
}

/// A ledger with its file.
pub(crate) struct Kept {
    pub(crate) ledger: PrivacyLedger,
    pub(crate) file: Vec<u8>,
}

impl Kept {
    pub(crate) fn new(cap: &str) -> Self {
        let first = PrivacyLedger::create(terms(cap), NOW).unwrap();
        let file = first.record(sign);
        Self { ledger: first.begun(), file }
    }
    pub(crate) fn keep<T>(&mut self, pending: Pending<T>) -> T {
        self.file.extend(pending.record(sign));
        self.ledger.recorded(pending).unwrap()
    }
    pub(crate) fn register(&mut self, plan: &Plan) -> Result<(), RegisterError> {
        let pending = self.ledger.register(plan, digest(plan), &mechanism(plan), NOW)?;
        self.keep(pending);
        Ok(())
    }
    pub(crate) fn reserve(&mut self, plan: &Plan, round: u64) -> Result<Paid, ReserveError> {
        let pending = propose(&mut self.ledger, plan, round)?;
        Ok(self.keep(pending))
    }
    pub(crate) fn reload(&self) -> Loaded {
        PrivacyLedger::load(&self.file).unwrap()
    }
}

pub(crate) fn propose(ledger: &mut PrivacyLedger, plan: &Plan, round: u64) -> Result<Pending<Paid>, ReserveError> {
    let request = ReserveRequest {
        task: plan.task,
        plan: digest(plan),
        round: RoundId(round),
        manifest: ManifestDigest([u8::try_from(round).unwrap(); 32]),
        mechanism: &mechanism(plan),
        steps: 4,
        compared: ledger.compare(&[]).unwrap(),
    };
    ledger.reserve(&request, NOW)
}

#[test]
fn a_reservation_yields_its_steps_and_its_header_fields() {
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    k.register(&p).unwrap();
    let mut paid = k.reserve(&p, 1).unwrap();
    let spend = paid.spend();
    assert_eq!((spend.steps, spend.steps_total, spend.ledger_counter), (4, 4, 2));
    assert_eq!(spend.ledger_head, k.ledger.head());
    assert!(k.ledger.holds(2, spend.ledger_head) && !k.ledger.holds(1, spend.ledger_head) && !k.ledger.holds(9, spend.ledger_head));
    assert_eq!(spend.epsilon_before, dec("0"));
    let want = crate::accountant::epsilon_pld(&[crate::accountant::Phase { noise_multiplier: 2.0, sampling_rate: 0.1, steps: 4 }], 1e-5);
    assert!((spend.epsilon_after.to_f64() - want.unwrap()).abs() < 2e-6);
    assert_eq!(std::iter::from_fn(|| paid.next_step()).map(|s| s.index()).collect::<Vec<_>>(), vec![0, 1, 2, 3]);
    let second = k.reserve(&p, 5).unwrap().spend();
    assert_eq!((second.epsilon_before, second.steps_total), (spend.epsilon_after, 8));
    assert!(second.epsilon_after.to_f64() > second.epsilon_before.to_f64());
}

/// B19, D66: one payment per round, for ever, also after a restart.
#[test]
fn no_round_is_paid_twice() {
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    k.register(&p).unwrap();
    k.reserve(&p, 1).unwrap();
    assert_eq!(k.reserve(&p, 1).err(), Some(ReserveError::AlreadyReserved { counter: 2 }));
    let pending = k.ledger.void(2, NOW).unwrap();
    k.keep(pending);
    assert_eq!(k.reserve(&p, 1).err(), Some(ReserveError::AlreadyReserved { counter: 2 }));
    let mut again = k.reload().ledger;
    assert_eq!(propose(&mut again, &p, 1).err(), Some(ReserveError::AlreadyReserved { counter: 2 }));
}

/// D67: whatever prefix of the file a crash leaves, every payment that was handed out is in it.
#[test]
fn a_kill_at_any_byte_never_counts_less_than_was_paid() {
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    k.register(&p).unwrap();
    let mut durable = Vec::new();
    for round in 1..=2 {
        let paid = k.reserve(&p, round).unwrap();
        durable.push((k.file.len(), k.ledger.totals().spent));
        let pending = k.ledger.sealed(paid.ledger_counter(), Sha256([9; 32]), NOW).unwrap();
        k.keep(pending);
        let pending = k.ledger.sent(paid.ledger_counter(), NOW).unwrap();
        k.keep(pending);
    }
    let genesis = Kept::new("8").file.len();
    for cut in 0..=k.file.len() {
        let loaded = PrivacyLedger::load(&k.file[..cut]);
        if cut < genesis {
            assert!(matches!(loaded, Err(LoadError::Empty)));
            continue;
        }
        let loaded = loaded.unwrap();
        assert_eq!(loaded.torn, loaded.valid_len != cut);
        let paid = durable.iter().filter(|(len, _)| *len <= cut).map(|(_, spent)| *spent).max().unwrap_or_default();
        assert!(loaded.ledger.totals().spent >= paid);
    }
}

#[test]
fn a_torn_tail_is_cut_off_and_the_ledger_goes_on() {
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    k.register(&p).unwrap();
    k.reserve(&p, 1).unwrap();
    let whole = k.file.len();
    let pending = propose(&mut k.ledger, &p, 2).unwrap();
    k.file.extend(&pending.record(sign)[..40]);
    let loaded = k.reload();
    assert!(loaded.torn && loaded.valid_len == whole);
    k.file.truncate(whole);
    k.file.extend([0; 64]);
    assert!(k.reload().torn, "zeros at the end are a torn write too");
    k.file.truncate(whole);
    k.ledger = loaded.ledger;
    k.reserve(&p, 2).unwrap();
    assert_eq!(k.reload().ledger.head(), k.ledger.head());
}

#[test]
fn a_flipped_bit_is_never_taken_for_a_torn_write() {
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    k.register(&p).unwrap();
    k.reserve(&p, 1).unwrap();
    for at in 0..k.file.len() {
        let mut bad = k.file.clone();
        bad[at] ^= 0x10;
        assert!(PrivacyLedger::load(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn records_that_are_left_out_doubled_or_swapped_are_noticed() {
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    let mut ends = vec![0, k.file.len()];
    k.register(&p).unwrap();
    ends.push(k.file.len());
    for round in 1..=2 {
        k.reserve(&p, round).unwrap();
        ends.push(k.file.len());
    }
    let part = |i: usize| k.file[ends[i]..ends[i + 1]].to_vec();
    for order in [[0, 1, 3, 3], [0, 1, 2, 2], [0, 2, 1, 3], [0, 1, 3, 2], [1, 0, 2, 3]] {
        let file: Vec<u8> = order.into_iter().flat_map(part).collect();
        assert!(matches!(PrivacyLedger::load(&file), Err(LoadError::Chain { .. })), "{order:?}");
    }
    let other = Kept::new("9").file;
    assert!(matches!(PrivacyLedger::load(&[other, part(1)].concat()), Err(LoadError::Chain { counter: 1 })));
}

/// A payment comes from the entry that this ledger proposed, and from no other's, however alike they are.
#[test]
fn an_entry_of_another_ledger_pays_nothing() {
    let (mut ours, mut theirs, p) = (Kept::new("8"), Kept::new("8"), plan(1, "2"));
    ours.register(&p).unwrap();
    theirs.register(&p).unwrap();
    let foreign = propose(&mut theirs.ledger, &p, 1).unwrap();
    assert_eq!(ours.ledger.recorded(foreign).err(), Some(NotNext), "nothing was proposed here");
    let mut ahead = Kept::new("8");
    ahead.register(&p).unwrap();
    ahead.reserve(&p, 1).unwrap();
    let (foreign, own) = (propose(&mut ahead.ledger, &p, 2).unwrap(), propose(&mut ours.ledger, &p, 1).unwrap());
    assert_eq!(ours.ledger.recorded(foreign).err(), Some(NotNext), "it follows another entry");
    assert!(ours.ledger.recorded(own).is_ok(), "and what was proposed here is still to be paid");
}

#[test]
fn nothing_follows_an_entry_that_is_not_recorded() {
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    k.register(&p).unwrap();
    let first = propose(&mut k.ledger, &p, 1).unwrap();
    assert_eq!(propose(&mut k.ledger, &p, 2).err(), Some(ReserveError::Outstanding));
    assert_eq!(k.ledger.void(0, NOW).err(), Some(CloseError::Outstanding));
    assert_eq!(k.ledger.totals().spent, Nats(0), "a proposal spends nothing");
    k.keep(first);
    let mut stranger = Kept::new("7");
    let foreign = {
        stranger.register(&p).unwrap();
        propose(&mut stranger.ledger, &p, 1).unwrap()
    };
    assert_eq!(k.ledger.recorded(foreign).err(), Some(NotNext));
}

#[test]
fn the_plans_cap_is_checked_for_the_whole_schedule() {
    let (mut k, mut p) = (Kept::new("30"), plan(1, "1"));
    p.privacy.epsilon_cap = dec("1");
    let before = k.ledger.head();
    let refused = k.register(&p).unwrap_err();
    assert!(matches!(refused, RegisterError::BudgetExhausted { account: Account::Task, order: None, .. }), "{refused}");
    assert_eq!(k.ledger.head(), before);
    p.privacy.epsilon_cap = dec("8");
    k.register(&p).unwrap();
    assert_eq!(k.register(&p), Err(RegisterError::AlreadyRegistered));
}

/// D61, D62: a second task must fit beside what the first one holds; ending the first frees what it did not spend, and only that.
#[test]
fn the_institutions_cap_holds_over_all_tasks() {
    let (mut k, a, b) = (Kept::new("2"), plan(1, "1.5"), plan(2, "1.5"));
    k.register(&a).unwrap();
    let RegisterError::BudgetExhausted { account: Account::Lifetime, order: Some(order), needed, remaining } = k.register(&b).unwrap_err()
    else {
        panic!("the second schedule does not fit");
    };
    assert_eq!(order, k.ledger.terms().order);
    assert!(needed.to_f64() > remaining.to_f64());
    k.reserve(&a, 1).unwrap();
    let spent = k.ledger.totals().spent;
    let pending = k.ledger.end_task(a.task, NOW).unwrap();
    k.keep(pending);
    assert_eq!((k.ledger.totals().spent, k.ledger.totals().held), (spent, Nats(0)));
    assert_eq!(k.reserve(&a, 2).err(), Some(ReserveError::NotRegistered));
    let pending = k.ledger.declare_cap(dec("3"), NOW).unwrap();
    k.keep(pending);
    k.register(&b).unwrap();
    assert_eq!(k.reload().ledger.totals(), k.ledger.totals());
    assert!(k.ledger.totals().epsilon.unwrap().to_f64() <= 3.0);
}

/// A cap that was lowered below what is held refuses the round and changes nothing.
#[test]
fn a_lowered_cap_refuses_the_next_round() {
    let (mut k, p) = (Kept::new("8"), plan(1, "1.5"));
    k.register(&p).unwrap();
    k.reserve(&p, 1).unwrap();
    let order = k.ledger.terms().order;
    let least = crate::accountant::rdp::conversion(order.to_f64(), 0.99e-5);
    let pending = k.ledger.declare_cap(Decimal::ceil(least + 0.001, 6).unwrap(), NOW).unwrap();
    k.keep(pending);
    let head = k.ledger.head();
    assert!(matches!(k.reserve(&p, 2), Err(ReserveError::BudgetExhausted { account: Account::Lifetime, .. })));
    assert_eq!(k.ledger.head(), head);
}

#[test]
fn only_the_registered_schedule_is_paid_and_no_longer_than_it_lasts() {
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    assert_eq!(k.reserve(&p, 1).err(), Some(ReserveError::NotRegistered));
    k.register(&p).unwrap();
    let mut weaker = p.clone();
    weaker.privacy.noise_multiplier = dec("1.9");
    assert_eq!(k.reserve(&weaker, 1).err(), Some(ReserveError::ScheduleDiffers));
    for round in 1..=ROUNDS {
        k.reserve(&p, round).unwrap();
    }
    assert_eq!(k.reserve(&p, ROUNDS + 1).err(), Some(ReserveError::ScheduleExhausted(ROUNDS)));
    assert_eq!(k.ledger.totals().held, Nats(0));
}

#[test]
fn states_follow_their_order() {
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    k.register(&p).unwrap();
    let one = k.reserve(&p, 1).unwrap().ledger_counter();
    let two = k.reserve(&p, 2).unwrap().ledger_counter();
    assert_eq!(k.ledger.unsealed(), vec![one, two]);
    assert_eq!(k.ledger.sent(one, NOW).err(), Some(CloseError::WrongState));
    let pending = k.ledger.sealed(one, Sha256([1; 32]), NOW).unwrap();
    k.keep(pending);
    assert_eq!(k.ledger.sealed(one, Sha256([2; 32]), NOW).err(), Some(CloseError::WrongState));
    let pending = k.ledger.void(two, NOW).unwrap();
    k.keep(pending);
    assert_eq!(k.ledger.sealed(two, Sha256([1; 32]), NOW).err(), Some(CloseError::WrongState));
    let pending = k.ledger.sent(one, NOW).unwrap();
    k.keep(pending);
    assert_eq!(k.ledger.void(one, NOW).err(), Some(CloseError::WrongState));
    assert!(k.ledger.unsealed().is_empty() && k.reload().ledger.unsealed().is_empty());
    assert_eq!(k.ledger.void(77, NOW).err(), Some(CloseError::WrongState));
}

#[test]
fn impossible_terms_are_refused() {
    let with = |change: &dyn Fn(&mut Terms)| {
        let mut t = terms("8");
        change(&mut t);
        PrivacyLedger::create(t, NOW).err()
    };
    assert!(matches!(with(&|t| t.delta = dec("0")), Some(CreateError::Delta(_))));
    assert!(matches!(with(&|t| t.order = dec("1")), Some(CreateError::Order(_))));
    assert!(matches!(with(&|t| t.epsilon_cap = dec("0.001")), Some(CreateError::Cap { .. })));
    assert_eq!(default_order(dec("0.0000001"), dec("0.00001")), None);
}

/// D23: discrete Gaussian noise is charged by its own accountant, which the header names; the Gaussian's figure would be too small. The
/// schedule says which law is drawn, so no payment for the one buys the other.
#[test]
fn discrete_gaussian_noise_is_paid_by_its_own_accountant() {
    let (mut k, mut p) = (Kept::new("30"), plan(1, "4"));
    (p.privacy.sampling_rate, p.privacy.noise) = (dec("1"), NoiseKind::DiscreteGaussian);
    k.register(&p).unwrap();
    let spend = k.reserve(&p, 1).unwrap().spend();
    let phase = crate::accountant::Phase { noise_multiplier: 4.0, sampling_rate: 1.0, steps: 4 };
    let rdp = crate::accountant::epsilon_rdp(&[phase], 1e-5).unwrap().epsilon;
    assert!((spend.epsilon_after.to_f64() - rdp).abs() < 2e-6 && spend.accountant == "rdp-1");
    assert!(rdp > crate::accountant::epsilon_pld(&[phase], 1e-5).unwrap() + 0.1);
    assert_eq!(k.ledger.task(p.task).unwrap().schedule.basis.noise, NoiseKind::DiscreteGaussian);
    let mut other = p.clone();
    other.privacy.noise = NoiseKind::RoundedGaussian;
    assert_eq!(k.reserve(&other, 2).err(), Some(ReserveError::ScheduleDiffers));
}

/// D23: with sampling too, in the task's figure and in the filter over all tasks; never as cheap as the Gaussian's.
#[test]
fn sampled_discrete_gaussian_noise_is_paid_by_its_own_accountant() {
    let paid = |noise| {
        let (mut k, mut p) = (Kept::new("30"), plan(1, "2"));
        p.privacy.noise = noise;
        k.register(&p).unwrap();
        let spend = k.reserve(&p, 1).unwrap().spend();
        let cost = k.ledger.task(p.task).unwrap().schedule.cost_per_round;
        (spend.epsilon_after.to_f64(), cost, spend.accountant.clone())
    };
    let (rounded, discrete) = (paid(NoiseKind::RoundedGaussian), paid(NoiseKind::DiscreteGaussian));
    assert!(discrete.0 > rounded.0 && discrete.1 >= rounded.1, "{discrete:?} {rounded:?}");
    assert_eq!((rounded.2.as_str(), discrete.2.as_str()), ("pld-1", "rdp-1"));
    let phase = crate::accountant::Phase { noise_multiplier: 2.0, sampling_rate: 0.1, steps: 4 };
    let own = crate::accountant::epsilon_noise_rdp(&[(NoiseKind::DiscreteGaussian, phase)], 1e-5).unwrap().epsilon;
    assert!((discrete.0 - own).abs() < 2e-6);
}

/// B25: a mechanism that the plan does not fix is not paid for, whichever of its numbers is another.
#[test]
fn a_mechanism_that_is_not_the_plans_is_not_taken_on() {
    use crate::mechanism::{Accumulate, FloatSums, Rounding};
    use protocol::plan::ClipPath;
    let (mut k, p) = (Kept::new("8"), plan(1, "2"));
    let sums = FloatSums { accumulate: Accumulate::F32, rounding: Rounding::Dithered, micro_batch: 8, max_rows: 8 };
    let summed = Mechanism::of_float_sums(&p.privacy, p.dimension(), 1000, sums).unwrap();
    assert_eq!(k.ledger.register(&p, digest(&p), &summed, NOW).err(), Some(RegisterError::OtherMechanism));
    let mut asked = p.clone();
    asked.privacy.path = ClipPath::BookKeeping { accumulate: Accumulate::F32, rounding: Rounding::Dithered };
    assert_eq!(k.ledger.register(&asked, digest(&asked), &mechanism(&p), NOW).err(), Some(RegisterError::OtherMechanism));
    let noisier = mechanism(&plan(1, "3"));
    assert_eq!(k.ledger.register(&p, digest(&p), &noisier, NOW).err(), Some(RegisterError::OtherMechanism));
    let pending = k.ledger.register(&asked, digest(&asked), &Mechanism::of_plan(&asked, 1000).unwrap(), NOW).unwrap();
    k.keep(pending);
    let basis = &k.ledger.task(asked.task).unwrap().schedule.basis;
    assert_eq!((basis.path, &basis.joint), (crate::ledger::SumPath::Sum, &None));
}

/// D61: less than own cost is charged only where the institution's terms name that account and the shares' bound is published; own ε is held to a
/// cap of its own.
#[test]
fn what_shares_leave_to_a_coalition_is_charged_only_where_the_terms_say_so_and_it_is_published() {
    let registered = |own_cap: Option<&str>, noise, joint: bool| {
        let terms = Terms { own_epsilon_cap: own_cap.map(dec), ..terms("20") };
        let created = PrivacyLedger::create(terms, NOW).unwrap();
        let mut ledger = created.begun();
        let mut p = if joint { joint_plan(1, "2") } else { plan(1, "2") };
        p.privacy.noise = noise;
        let pending = ledger.register(&p, digest(&p), &Mechanism::of_plan(&p, 1000).unwrap(), NOW)?;
        ledger.recorded(pending).unwrap();
        Ok::<_, RegisterError>(ledger.task(p.task).unwrap().schedule.cost_per_round)
    };
    let cost = |own_cap, noise, joint| registered(own_cap, noise, joint).unwrap();
    let (rounded, discrete) = (NoiseKind::RoundedGaussian, NoiseKind::DiscreteGaussian);
    // Ledgers of own cost are written, and hash, as before there was a choice.
    let fields = |own_epsilon_cap: Option<Decimal>| protocol::codec::encode(&Terms { own_epsilon_cap, ..terms("20") })[0];
    assert_eq!((fields(None), fields(Some(dec("20")))), (0x86, 0x87));
    assert!(cost(Some("20"), discrete, true) < cost(None, discrete, true));
    assert_eq!(cost(Some("20"), rounded, true), cost(None, rounded, true), "Lemma S is pending");
    assert_eq!(cost(Some("20"), discrete, false), cost(None, discrete, false), "alone there are no shares");
    assert!(matches!(
        registered(Some("0.001"), discrete, true),
        Err(RegisterError::BudgetExhausted { account: Account::Task, remaining, .. }) if remaining == dec("0.001")
    ));
}

/// D61: in one ledger what counts by its shares and what counts at own cost are added up; read back it is the same.
#[test]
fn tasks_of_both_accounts_add_up_and_come_back() {
    let mine = Terms { own_epsilon_cap: Some(dec("20")), ..terms("20") };
    let order = mine.order.to_f64();
    let first = PrivacyLedger::create(mine, NOW).unwrap();
    let file = first.record(sign);
    let mut k = Kept { ledger: first.begun(), file };
    let (mut shared, own) = (joint_plan(1, "2"), plan(2, "2"));
    shared.privacy.noise = NoiseKind::DiscreteGaussian;
    let m = Mechanism::of_plan(&shared, 1000).unwrap();
    let pending = k.ledger.register(&shared, digest(&shared), &m, NOW).unwrap();
    k.keep(pending);
    k.register(&own).unwrap();
    let compared = k.ledger.compare(&[]).unwrap();
    let (task, plan, round, manifest) = (shared.task, digest(&shared), RoundId(1), ManifestDigest([1; 32]));
    let pending = k.ledger.reserve(&ReserveRequest { task, plan, round, manifest, mechanism: &m, steps: 1, compared }, NOW).unwrap();
    let stated = k.keep(pending).spend();
    k.reserve(&own, 1).unwrap();
    let both = crate::coalition::Coalition::of(m.executed()).unwrap().step_rdp(order).unwrap()
        + 4.0 * crate::accountant::rdp::step_rdp(2.0, 0.1, order).unwrap();
    let spent = k.ledger.totals().spent.0 as f64 * 1e-9;
    assert!(spent >= both * (1.0 - 1e-12) && spent <= both + 1e-8, "{spent} {both}");
    let again = k.reload().ledger;
    assert_eq!((again.totals(), again.terms()), (k.ledger.totals(), k.ledger.terms()));
    // Whatever is charged, a header states own cost.
    let phase = crate::accountant::Phase { noise_multiplier: 2.0, sampling_rate: 0.1, steps: 1 };
    let alone = crate::accountant::epsilon_noise_rdp(&[(NoiseKind::DiscreteGaussian, phase)], 1e-5).unwrap().epsilon;
    assert!((stated.epsilon_after.to_f64() - alone).abs() < 2e-6);
}

/// A plan of mode hybrid: four institutions at least, one of them a possible accomplice.
pub(crate) fn joint_plan(task: u8, sigma: &str) -> Plan {
    let mut p = plan(task, sigma);
    p.cohort_min = 4;
    p.privacy.mode = protocol::plan::Mode::Hybrid(protocol::plan::Joint { colluding: 1, coalition_epsilon: dec("3") });
    (p.local.steps, p.local.learning_rate) = (1, dec("0"));
    p.groups[0].bits = 24;
    p.shards[0].step_exponent = -16;
    p
}

/// D59, D61: own cost is charged; what the guaranteed shares are worth stands beside it.
#[test]
fn in_joint_modes_own_noise_is_charged_and_both_costs_are_written_down() {
    let (mut k, p) = (Kept::new("20"), joint_plan(1, "2"));
    p.check().unwrap();
    let m = Mechanism::of_plan(&p, 1000).unwrap();
    let pending = k.ledger.register(&p, digest(&p), &m, NOW).unwrap();
    k.keep(pending);
    let compared = k.ledger.compare(&[]).unwrap();
    let (task, plan, round, manifest) = (p.task, digest(&p), RoundId(1), ManifestDigest([1; 32]));
    let pending = k.ledger.reserve(&ReserveRequest { task, plan, round, manifest, mechanism: &m, steps: 1, compared }, NOW).unwrap();
    let spend = k.keep(pending).spend();
    let phase = |sigma: f64| crate::accountant::Phase { noise_multiplier: sigma, sampling_rate: 0.1, steps: 1 };
    let own = crate::accountant::epsilon_pld(&[phase(2.0)], 1e-5).unwrap();
    assert!((spend.epsilon_after.to_f64() - own).abs() < 2e-6);
    let loaded = k.reload().ledger;
    let basis = &loaded.task(p.task).unwrap().schedule.basis;
    let joint = basis.joint.as_ref().unwrap();
    assert_eq!((basis.mode, basis.cohort_min, joint.colluding, joint.shares), (p.privacy.mode, 4, 1, 2));
    let both = || basis.own.iter().zip(&joint.coalition).filter(|(own, _)| own.0 < u64::MAX);
    assert!(both().count() > 100 && joint.coalition.len() == basis.own.len());
    assert!(both().all(|(own, shared)| shared.0 <= own.0) && both().any(|(own, shared)| shared.0 < own.0));
    let at_two = crate::accountant::rdp::orders().position(|o| (o - 2.0).abs() < 1e-9).unwrap();
    let want = crate::accountant::rdp::step_rdp(2.0 * 2f64.sqrt(), 0.1, 2.0).unwrap() * 1e9;
    assert!((joint.coalition[at_two].0 as f64 - want).abs() < 2.0 + 1e-6 * want);
}

/// The institution goes on with another statement key: from then on no entry is by an older one.
#[test]
fn a_ledger_goes_on_under_the_institutions_next_key_and_never_back() {
    let (p, first, second) = (plan(1, "2"), key(), SigningKey::from_bytes(&[8; 32]));
    let public = PublicKey(second.verifying_key().to_bytes());
    // Begun and registered under the first key; a round is reserved and given up by these.
    let by = |reserves: &SigningKey, voids: &SigningKey| {
        let mut k = Kept::new("8");
        k.register(&p).unwrap();
        let pending = propose(&mut k.ledger, &p, 1).unwrap();
        k.file.extend(pending.record(|entry| Statement::sign(entry, reserves)));
        let paid = k.ledger.recorded(pending).unwrap();
        let pending = k.ledger.void(paid.ledger_counter(), NOW).unwrap();
        k.file.extend(pending.record(|entry| Statement::sign(entry, voids)));
        k.ledger.recorded(pending).unwrap();
        k.file
    };
    let entries = |file: &[u8], later: &[PublicKey]| PrivacyLedger::load_signed(file, later).map(|loaded| loaded.entries.len());
    assert_eq!(entries(&by(&second, &second), &[public]), Ok(4));
    assert_eq!(entries(&by(&first, &second), &[public]), Ok(4));
    assert_eq!(entries(&by(&second, &second), &[]), Err(LoadError::Stranger { counter: 2 }));
    assert_eq!(entries(&by(&second, &first), &[public]), Err(LoadError::Stranger { counter: 3 }));
}
