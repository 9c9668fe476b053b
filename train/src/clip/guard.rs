//! Upper bounds on norms that were computed in floats (privacy.md D37): a norm that came out too small would be a unit clipped too little.
//!
//! Every product of matrices is bounded through S = Σ_t ‖a_t‖ ‖g_t‖, the length that the unit's gradient would have if nothing cancelled.

/// Smallest square of a row's norm, other than zero, whose products keep their digits in 32-bit floats; the largest is its inverse.
const SMALLEST: f64 = 7.888_609_052_210_118e-31; // 2^-100
/// 2^-24: largest relative error of one operation on 32-bit floats.
const EPSILON: f64 = 5.960_464_477_539_063e-8;
/// Share of a unit's squared norm up to which guards may add up (2 % of the norm); beyond it layers are computed again in 64 bits.
const SHARE: f64 = 0.04;

/// The square of a unit's norm in one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Guarded {
    /// As computed.
    pub(crate) square: f64,
    /// What must be added so that the sum is not below the true square.
    pub(crate) guard: f64,
}

impl Guarded {
    /// Not below the true square. NaN stays NaN: such a unit contributes nothing (D38).
    pub(crate) fn upper(self) -> f64 {
        if self.square.is_nan() { self.square } else { self.square.max(0.0) + self.guard }
    }
}

/// Guard of Gram sums in 32-bit floats over rows of `d` inputs and `p` outputs, finished in 64 bits.
#[expect(clippy::cast_precision_loss, reason = "widths are far below 2^53")]
pub(crate) fn of_floats(d: usize, p: usize, s: f64) -> f64 {
    1.01 * (d + p + 2) as f64 * EPSILON * s * s
}

/// Guard of sums in 64 bits. Far above their own error: it also keeps c · S <= 2^11 · C for every unit and layer, which the bound on the
/// error of weighted sums rests on (D19).
pub(crate) fn of_doubles(s: f64) -> f64 {
    4.0 * EPSILON * s * s
}

/// Guard of a gradient of this length that was instantiated in 32-bit floats over `rows` rows: each entry is off by at most
/// rows · 2^-24 · Σ|a||g|, so all of them together by rows · 2^-24 · S.
#[expect(clippy::cast_precision_loss, reason = "rows are far below 2^53")]
pub(crate) fn of_instance(rows: usize, length: f64, s: f64) -> f64 {
    let off = (rows + 2) as f64 * EPSILON * s;
    2.0 * length * off + off * off + of_doubles(s)
}

/// Whether guards of this size may stand beside this squared norm.
pub(crate) fn bearable(guard: f64, square: f64) -> bool {
    guard <= SHARE * square
}

/// Whether products of rows of this squared norm keep their digits in 32-bit floats. False for NaN.
pub(crate) fn in_range(square: f64) -> bool {
    (SMALLEST..=SMALLEST.recip()).contains(&square)
}

/// Σ x² in 64 bits, where squares of finite 32-bit floats can neither overflow nor vanish.
pub(crate) fn square_sum(row: &[f32]) -> f64 {
    row.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}
