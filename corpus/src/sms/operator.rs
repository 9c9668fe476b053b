//! What makes one operator's traffic different from another's. Must not know sentences.

use super::LABELS;

/// Weights of the classes before an operator bends them: most messages are ordinary, fraud is rare but not exotic.
const BASE_WEIGHTS: [usize; LABELS.len()] = [400, 200, 120, 100, 100, 80];
/// How operators bend the weights, in percent; an operator's row starts one further to the left.
const BEND: [usize; 8] = [100, 150, 60, 120, 170, 80, 50, 140];
/// Share of Chinese messages, in thousandths.
const CHINESE_PERMILLE: [usize; 4] = [780, 420, 640, 550];
/// Share of disguised messages among those that have a reason to be, in thousandths.
const DISGUISE_PERMILLE: [usize; 4] = [120, 220, 160, 300];
/// Share of messages typed in a hurry, in thousandths.
const TYPO_PERMILLE: [usize; 4] = [120, 160, 220, 140];

/// The profile of one operator.
pub(super) struct Operator {
    pub(super) index: u32,
    alone: bool,
    pub(super) class_weights: [usize; LABELS.len()],
    pub(super) chinese_permille: usize,
    pub(super) disguise_permille: usize,
    pub(super) typo_permille: usize,
}

impl Operator {
    /// Operator `index` out of `operators`. A single operator sees everything.
    pub(super) fn new(index: u32, operators: u32) -> Self {
        let i = usize::try_from(index).unwrap_or(0);
        let mut class_weights = BASE_WEIGHTS;
        for (class, weight) in class_weights.iter_mut().enumerate() {
            *weight = *weight * BEND[(i * 3 + class) % BEND.len()] / 100;
        }
        Self {
            index,
            alone: operators == 1,
            class_weights,
            chinese_permille: CHINESE_PERMILLE[i % CHINESE_PERMILLE.len()],
            disguise_permille: DISGUISE_PERMILLE[i % DISGUISE_PERMILLE.len()],
            typo_permille: TYPO_PERMILLE[i % TYPO_PERMILLE.len()],
        }
    }

    /// Whether this operator's subscribers meet item `item` of list `list`: about three quarters of everything.
    pub(super) fn meets(&self, list: usize, item: usize) -> bool {
        let i = usize::try_from(self.index).unwrap_or(0);
        // Any fixed mixing does; this one spreads small numbers well enough and needs no table.
        let mixed = (list * 31 + item * 17 + i * 7 + list * item).wrapping_mul(2_654_435_761) >> 7;
        self.alone || !mixed.is_multiple_of(4)
    }
}
