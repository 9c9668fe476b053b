//! A token table that is also the output head: with E the gradient from looking rows up and Pᵀ H that from multiplying, the square is
//! ‖E‖² + ‖Pᵀ H‖² + 2⟨E, Pᵀ H⟩. Without the last term the norm comes out too small, which is a privacy bug (privacy.md D34; Phantom
//! Clipping, Ding et al. 2024, arXiv 2405.18194).

use super::embedding::Touched;
use super::gram::Pair;
use super::guard;
use crate::ops::{Real, View, product};
use candle_core::Result;

/// What looking rows up adds to the sums of the head's Gram matrices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// ‖E‖² + 2⟨E, Pᵀ H⟩.
    pub(crate) square: f64,
    /// Σ_t ‖g_t‖.
    pub(crate) s: f64,
    /// As for Gram matrices.
    pub(crate) in_range: bool,
}

impl Default for Part {
    /// Of a matrix that is no table.
    fn default() -> Self {
        Self { square: 0.0, s: 0.0, in_range: true }
    }
}

/// The two terms with E. `head` has the head's inputs H as `a` and the gradient P of the scores as `g`.
pub(crate) fn part<T: Real + Into<f64> + FromDouble>(head: Pair<'_, T>, touched: &Touched) -> Result<Part> {
    let (d, ids) = (head.d, touched.ids.len());
    let e: Vec<T> = touched.sums.iter().map(|&s| T::from_double(s)).collect();
    let along = product(head.a, View::matrix(0, head.rows(), d), &e, View::matrix(0, ids, d).t())?; // (n, d) · (d, ids)
    // ⟨E, Pᵀ H⟩ = Σ_{s,i} P[s, id_i] (h_s · e_i): only the touched rows of Pᵀ H matter.
    let rows = head.g.chunks_exact(head.p).zip(along.chunks_exact(ids.max(1)));
    let cross: f64 = rows.map(|(p, along)| touched.ids.iter().zip(along).map(|(&id, &x)| p[id].into() * x.into()).sum::<f64>()).sum();
    let squares = touched.sums.chunks_exact(d).map(|e| e.iter().map(|x| x * x).sum::<f64>());
    let in_range = squares.clone().all(|square| square == 0.0 || guard::in_range(square));
    Ok(Part { square: squares.sum::<f64>() + 2.0 * cross, s: touched.weight, in_range })
}

/// Adds E to the instantiated Pᵀ H `(V, d)`.
pub(crate) fn add(gradient: &mut [f32], touched: &Touched, d: usize) {
    for (&id, e) in touched.ids.iter().zip(touched.sums.chunks_exact(d)) {
        gradient[id * d..][..d].iter_mut().zip(e).for_each(|(out, &e)| *out += f32::from_double(e));
    }
}

/// Nearest number of a kind of float.
pub(crate) trait FromDouble {
    fn from_double(x: f64) -> Self;
}

impl FromDouble for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounds, as the guard allows for")]
    fn from_double(x: f64) -> Self {
        x as f32
    }
}

impl FromDouble for f64 {
    fn from_double(x: f64) -> Self {
        x
    }
}
