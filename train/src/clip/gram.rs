//! Σ_{t,s} (a_t · a_s)(g_t · g_s): the squared length of Σ_t g_t a_tᵀ without making it (Goodfellow 2015, arXiv 1510.01799; privacy.md D33).

use super::guard;
use crate::ops::{Real, View, product};
use candle_core::Result;

/// Rows of a Gram matrix that are computed at once; what lies left of them is known by symmetry.
pub(crate) const BLOCK: usize = 64;

/// Two matrices with a row per token of one unit: inputs `(n, d)` and gradients `(n, p)`.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a, T> {
    pub(crate) a: &'a [T],
    pub(crate) d: usize,
    pub(crate) g: &'a [T],
    pub(crate) p: usize,
}

impl<T> Pair<'_, T> {
    /// Tokens n.
    pub(crate) fn rows(&self) -> usize {
        self.a.len() / self.d
    }
}

/// What the Gram matrices tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sums {
    /// Σ_{t,s} (a_t · a_s)(g_t · g_s).
    pub(crate) square: f64,
    /// S = Σ_t ‖a_t‖ ‖g_t‖.
    pub(crate) s: f64,
    /// Whether every row is zero or large enough, and not too large, for 32-bit floats.
    pub(crate) in_range: bool,
}

/// Both Gram matrices block by block, finished in 64 bits.
pub(crate) fn sums<T: Real + Into<f64>>(pair: Pair<'_, T>) -> Result<Sums> {
    let Pair { a, d, g, p } = pair;
    let n = pair.rows();
    let mut out = Sums { square: 0.0, s: 0.0, in_range: true };
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let aa = product(a, View::matrix(start * d, end - start, d), a, View::matrix(0, end, d).t())?; // (block, d) · (d, end)
        let gg = product(g, View::matrix(start * p, end - start, p), g, View::matrix(0, end, p).t())?;
        for (i, (aa, gg)) in aa.chunks_exact(end).zip(gg.chunks_exact(end)).enumerate() {
            let t = start + i;
            out.square += 2.0 * dot(&aa[..start], &gg[..start]) + dot(&aa[start..], &gg[start..]);
            let (a_square, g_square) = (aa[t].into(), gg[t].into());
            out.s += (a_square * g_square).sqrt();
            out.in_range &= usable(a_square, &a[t * d..][..d]) && usable(g_square, &g[t * p..][..p]);
        }
    }
    Ok(out)
}

fn usable<T: Real + Into<f64>>(square: f64, row: &[T]) -> bool {
    // A zero may be a row of zeros or one whose squares vanished.
    guard::in_range(square) || (square == 0.0 && row.iter().all(|&x| x.into() == 0.0))
}

/// Σ x y in 64 bits.
pub(crate) fn dot<T: Real + Into<f64>>(x: &[T], y: &[T]) -> f64 {
    x.iter().zip(y).map(|(&x, &y)| x.into() * y.into()).sum()
}

/// As 64-bit floats.
pub(crate) fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
