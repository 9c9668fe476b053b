//! A plan that counts, and what its server says to know after each round. The steps are the auditor's own: that they are the server's too is
//! shown where both are at hand (`tests/tests/next_document.rs`). Here somebody lies about them.

use super::super::twist::Twist;
use super::model::{file_name, snapshot_digest};
use super::{GROUP, Scribe, decimal};
use crate::count;
use crate::step::{Mass, Opened};
use protocol::decimal::Decimal;
use protocol::ids::{RoundId, ShardId};
use protocol::plan::{ClipFunction, Count, Counted, EncoderConfig, LocalTraining, Plan, Query, Signed, TensorSpec, WordRule};

/// Places of the common words of round 2, where `a`, `b` and `c` are the alphabet and six characters fit: `ab` that ends, and the beginning
/// `abcabc`, written as digits to base 4.
const COMMON: [i64; 2] = [1024 + 2 * 256, 1024 + 2 * 256 + 3 * 64 + 16 + 2 * 4 + 3];

/// The story's plan as one that counts.
pub(super) fn turned(mut plan: Plan, twist: Twist) -> Plan {
    let number = |text: &str| text.parse::<Signed>().unwrap();
    let (what, values, limbs, rounds) = if twist.counts_words() {
        (Counted::Words { rule: WordRule::Pattern, threshold: decimal("4.5") }, 4096, 1u8, 2)
    } else {
        let queries = vec![
            Query::Moments { column: "amount".into(), low: number("-10"), high: number("90") },
            Query::Thresholds { column: "characters(text)".into(), cuts: vec![number("4"), number("6")] },
            Query::Labels { column: "label".into(), labels: vec!["a".into(), "b".into()] },
        ];
        (Counted::Statistics { queries }, 9, 3, 1)
    };
    (plan.model, plan.local, plan.rounds) = (EncoderConfig::none(), LocalTraining::none(), rounds);
    plan.shards[0].tensors = vec![TensorSpec { name: "counts".into(), shape: vec![values * u32::from(limbs)] }];
    plan.shards[0].step_exponent = -8;
    let p = &mut plan.privacy;
    (p.clip, p.grid_bits, p.clip_function) = (decimal("16"), 8, ClipFunction::Flat);
    (p.sampling_rate, p.noise_multiplier) = (Decimal::ONE, decimal("3"));
    plan.count = Some(Count { limbs, what });
    plan.base = snapshot_digest(&base(&plan, twist));
    plan
}

/// What the task begins with.
pub(super) fn base(plan: &Plan, twist: Twist) -> Vec<u8> {
    let nothing = count::nothing(plan).unwrap();
    if twist == Twist::CountsFromSomething { altered(&nothing, "\"rounds\":0", "\"rounds\":7") } else { nothing }
}

/// A document with one value altered.
fn altered(document: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(document).unwrap();
    assert!(text.contains(from), "{text:.200}");
    text.replacen(from, to, 1).into_bytes()
}

/// Noised integers of one institution, whose sums are some hundred records, or two common words among many that are not. `seed` is ten times
/// the round, and the institution.
pub(super) fn values(twist: Twist, seed: i64) -> Vec<i64> {
    if twist.counts_words() {
        let common: &[i64] = if seed < 20 { &[97, 98, 99] } else { &COMMON };
        return (0..4096).map(|i| if common.contains(&i) { 3000 } else { (37 * i + seed) % 401 - 200 }).collect();
    }
    // Lowest limbs first, of which one is below 0; then the middle ones; the highest carry nothing.
    let lowest = (0..9).map(|i| if i == 7 { -500 } else { 1000 + 31 * i + seed });
    lowest.chain([40, 5, 20, 3, 10, 7, 9, 0, 4]).chain([0; 9]).collect()
}

impl Scribe {
    /// The document after a round, and the server's lie about it.
    pub(super) fn publish_counts(&mut self, round: RoundId, members: usize, sum: &[i64]) {
        let forgets = self.twist == Twist::CountsForgetARound && round.0 == 2;
        let last = self.snapshots[&file_name(&self.plan, self.snapshot)].clone();
        let before = if forgets { base(&self.plan, self.twist) } else { last };
        let after = |sum: Vec<i64>| {
            let mass = Mass { members: u16::try_from(members).unwrap(), weight: None, units: None };
            count::advance(&self.plan, &before, &[Opened { group: GROUP, values: vec![(ShardId(0), sum)], mass }]).unwrap()
        };
        let honest = after(sum.to_vec());
        let one_more = |i: usize| after(sum.iter().enumerate().map(|(at, v)| v + i64::from(at == i)).collect());
        let is_last = round.0 == self.plan.rounds;
        let lies = |twist| is_last && self.twist == twist;
        let bytes = if lies(Twist::OtherCount) {
            (0..sum.len()).map(one_more).find(|bytes| *bytes != honest).unwrap()
        } else if lies(Twist::OtherFigure) {
            altered(&honest, "\"value\":", "\"value\":1")
        } else if lies(Twist::OtherWord) {
            altered(&honest, "\"found\":{\"ab\":563", "\"found\":{\"ab\":562")
        } else {
            honest
        };
        self.snapshot = snapshot_digest(&bytes);
        self.snapshots.insert(file_name(&self.plan, self.snapshot), bytes);
    }
}
