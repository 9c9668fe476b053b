//! Tables of which rows are looked up: row t of G goes to the row that token t read. A row that was read twice gets both (privacy.md D33).

use super::guard::{self, Guarded};
use super::{UnitGradient, add_scaled, numbers};
use crate::capture::Lookup;
use crate::ops::with_floats;
use candle_core::{Result, Tensor};
use std::collections::BTreeMap;
use std::ops::Range;

/// Adds `share` times one record's rows of the gradient `(N, C)`.
pub(crate) fn add(unit: &mut UnitGradient, lookup: &Lookup, grad: &Tensor, rows: Range<usize>, share: f32) -> Result<()> {
    let c = grad.dims2()?.1;
    with_floats(grad, |g| {
        for (&id, g) in lookup.ids[rows.clone()].iter().zip(g[numbers(&rows, c)].chunks_exact(c)) {
            add_scaled(unit.place(lookup.at + id * c, c), g, share);
        }
        Ok(())
    })
}

/// One unit's gradient of a table: the rows it touches, instantiated. That costs n · C, where the pairwise sum would cost n² · C.
pub(crate) struct Touched {
    /// Which rows, each once.
    pub(crate) ids: Vec<usize>,
    /// Their gradients `(ids, C)`.
    pub(crate) sums: Vec<f64>,
    /// Σ_t ‖g_t‖, at least as long as the gradient.
    pub(crate) weight: f64,
}

impl Touched {
    /// Adds up the rows of one unit's gradient `(n, C)`.
    pub(crate) fn new(ids: &[usize], grad: &[f32], c: usize) -> Self {
        let (mut places, mut out) = (BTreeMap::new(), Self { ids: Vec::new(), sums: Vec::new(), weight: 0.0 });
        for (&id, g) in ids.iter().zip(grad.chunks_exact(c)) {
            let place = *places.entry(id).or_insert_with(|| {
                out.ids.push(id);
                out.sums.resize(out.ids.len() * c, 0.0);
                out.ids.len() - 1
            });
            out.sums[place * c..][..c].iter_mut().zip(g).for_each(|(s, &g)| *s += f64::from(g));
            out.weight += guard::square_sum(g).sqrt();
        }
        out
    }

    /// Square of its length.
    pub(crate) fn square(&self) -> Guarded {
        Guarded { square: self.sums.iter().map(|s| s * s).sum(), guard: guard::of_doubles(self.weight) }
    }
}
