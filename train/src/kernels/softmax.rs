//! Softmax of rows, cross-entropy, and their backward passes.

use super::exp::exp;
use super::sums::{dot, largest, sum};
use super::wide;

/// Softmax of `scale * row` in place; the largest score is taken off first, so that no exponential overflows.
#[inline(always)]
fn softmax_row(row: &mut [f32], scale: f32) {
    let top = largest(row);
    row.iter_mut().for_each(|s| *s = exp((*s - top) * scale));
    let total = sum(row, |s| s).recip();
    row.iter_mut().for_each(|s| *s *= total);
}

/// Which columns of a row of scores count.
#[derive(Clone, Copy)]
pub(crate) struct Heard {
    /// Columns of a row.
    pub(crate) columns: usize,
    /// Under a causal mask the place of the first row: the one at place i hears columns 0..=i. Squares may stand one after the other.
    pub(crate) first: Option<usize>,
}

impl Heard {
    #[inline(always)]
    fn of_row(self, i: usize) -> usize {
        self.first.map_or(self.columns, |first| (first + i % self.columns + 1).min(self.columns))
    }
}

#[inline(always)]
fn listen_rows((scores, heard, scale): (&mut [f32], Heard, f32)) {
    for (i, row) in scores.chunks_exact_mut(heard.columns).enumerate() {
        let (row, unheard) = row.split_at_mut(heard.of_row(i));
        softmax_row(row, scale);
        unheard.fill(0.0);
    }
}

/// Row-wise softmax of scaled scores, rows one after the other; what is not heard becomes 0.
pub(crate) fn listen(scores: &mut [f32], heard: Heard, scale: f32) {
    wide(listen_rows, (scores, heard, scale));
}

#[inline(always)]
fn listen_back_rows((p, ds, heard, scale): (&[f32], &mut [f32], Heard, f32)) {
    for (i, (p, ds)) in p.chunks_exact(heard.columns).zip(ds.chunks_exact_mut(heard.columns)).enumerate() {
        let (ds, unheard) = ds.split_at_mut(heard.of_row(i));
        let p = &p[..ds.len()];
        let mean = dot(ds, p);
        ds.iter_mut().zip(p).for_each(|(g, p)| *g = p * (*g - mean) * scale);
        unheard.fill(0.0);
    }
}

/// Turns the gradient of weights `p` into that of unscaled scores, in place.
pub(crate) fn listen_back(p: &[f32], grad: &mut [f32], heard: Heard, scale: f32) {
    wide(listen_back_rows, (p, grad, heard, scale));
}

#[inline(always)]
fn log_normaliser_of((row,): (&[f32],)) -> f32 {
    let top = largest(row);
    top + sum(row, |s| exp(s - top)).ln()
}

/// ln Σ exp of one row, with the largest number taken off first. NaN if the row has one.
pub(crate) fn log_normaliser(row: &[f32]) -> f32 {
    wide(log_normaliser_of, (row,))
}

#[inline(always)]
fn probabilities_of((row,): (&mut [f32],)) -> f32 {
    let top = largest(row);
    row.iter_mut().for_each(|s| *s = exp(*s - top));
    let total = sum(row, |p| p);
    row.iter_mut().for_each(|p| *p /= total);
    top + total.ln()
}

/// Softmax of one row in place; returns the logarithm of its normaliser.
pub(crate) fn probabilities(row: &mut [f32]) -> f32 {
    wide(probabilities_of, (row,))
}

#[inline(always)]
fn surprise_of((row, truth, share): (&mut [f32], usize, f32)) -> f32 {
    let score = row[truth];
    let normaliser = probabilities_of((&mut *row,));
    row[truth] -= 1.0;
    row.iter_mut().for_each(|p| *p *= share);
    normaliser - score
}

/// Cross-entropy of one row of scores against the true column, in nats; the row becomes `share` times its gradient.
pub(crate) fn surprise(row: &mut [f32], truth: usize, share: f32) -> f32 {
    wide(surprise_of, (row, truth, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_is_that_of_the_definition_and_deaf_columns_are_zero() {
        let n = 21;
        let scores: Vec<f32> = (0..n * n).map(|i| ((i * 37) % 101) as f32 / 9.0 - 5.0).collect();
        for causal in [false, true] {
            let mut p = scores.clone();
            listen(&mut p, Heard { columns: n, first: causal.then_some(0) }, 0.5);
            for i in 0..n {
                let heard = if causal { i + 1 } else { n };
                let total: f64 = scores[i * n..][..heard].iter().map(|&s| f64::from(s * 0.5).exp()).sum();
                for j in 0..n {
                    let want = if j < heard { f64::from(scores[i * n + j] * 0.5).exp() / total } else { 0.0 };
                    assert!((f64::from(p[i * n + j]) - want).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn surprise_and_its_gradient_are_those_of_the_definition() {
        let row: Vec<f32> = (0..37).map(|i| ((i * 13) % 17) as f32 / 4.0).collect();
        let total: f64 = row.iter().map(|&s| f64::from(s).exp()).sum();
        let mut gradient = row.clone();
        let loss = surprise(&mut gradient, 5, 0.25);
        assert!((f64::from(loss) - (total.ln() - f64::from(row[5]))).abs() < 1e-5);
        assert!((f64::from(log_normaliser(&row)) - total.ln()).abs() < 1e-5);
        for (i, g) in gradient.iter().enumerate() {
            let want = 0.25 * (f64::from(row[i]).exp() / total - f64::from(u8::from(i == 5)));
            assert!((f64::from(*g) - want).abs() < 1e-6);
        }
    }

    #[test]
    fn a_score_that_is_no_number_shows() {
        let mut row = vec![0.0, f32::NAN, 1.0];
        assert!(log_normaliser(&row).is_nan());
        assert!(surprise(&mut row, 0, 1.0).is_nan());
    }
}
