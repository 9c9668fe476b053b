//! Sums over rows and columns.

use super::{LANES, wide};

/// Adds the lanes pairwise.
#[inline(always)]
pub(crate) fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(l, h)| *l += *h);
        half /= 2;
    }
    lanes[0]
}

/// Σ f(x).
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        lanes.iter_mut().zip(x).for_each(|(lane, &x)| *lane += f(x));
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    fold(lanes)
}

/// Σ x·y.
#[inline(always)]
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in xs.iter().zip(ys) {
        lanes.iter_mut().zip(x.iter().zip(y)).for_each(|(lane, (x, y))| *lane += x * y);
    }
    for (lane, (&x, &y)) in lanes.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        *lane += x * y;
    }
    fold(lanes)
}

/// The largest number; NaN is passed over.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        lanes.iter_mut().zip(x).for_each(|(lane, &x)| *lane = if x > *lane { x } else { *lane });
    }
    rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, |top, &x| if x > top { x } else { top })
}

#[inline(always)]
fn add_columns((out, rows): (&mut [f32], &[f32])) {
    for row in rows.chunks_exact(out.len()) {
        out.iter_mut().zip(row).for_each(|(o, v)| *o += v);
    }
}

/// Adds all rows of `(N, P)` to `out` `(P)`.
pub(crate) fn columns(out: &mut [f32], rows: &[f32]) {
    wide(add_columns, (out, rows));
}

#[inline(always)]
fn square_sum((values,): (&[f32],)) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for x in whole {
        lanes.iter_mut().zip(x).for_each(|(lane, &x)| *lane += f64::from(x) * f64::from(x));
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
}

/// Σ x² in 64 bits.
pub(crate) fn squares(values: &[f32]) -> f64 {
    wide(square_sum, (values,))
}

#[inline(always)]
fn add_all((out, values): (&mut [f32], &[f32])) {
    out.iter_mut().zip(values).for_each(|(o, v)| *o += v);
}

/// `out += values`.
pub(crate) fn add(out: &mut [f32], values: &[f32]) {
    wide(add_all, (out, values));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_length_are_those_of_the_definition() {
        for n in [0usize, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(|i| (i % 11) as f32 - 4.0).collect();
            let expected: f32 = x.iter().sum();
            assert_eq!((sum(&x, |v| v), dot(&x, &x)), (expected, x.iter().map(|v| v * v).sum::<f32>()));
            assert_eq!(largest(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(squares(&x), x.iter().map(|&v| f64::from(v * v)).sum::<f64>());
        }
        let mut out = [1.0, 2.0];
        columns(&mut out, &[1.0, 10.0, 2.0, 20.0]);
        add(&mut out, &[0.5, 0.5]);
        assert_eq!(out, [4.5, 32.5]);
    }
}
