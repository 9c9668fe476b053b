//! Convolution of real sequences by a radix-2 transform in f64. Knows no privacy. No library, so the same bits everywhere.

use libm::{atan2, cos, exp, log, sin};
use std::f64::consts::PI;

/// Complex numbers as two rows of length 2^k.
struct Rows {
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Rows {
    fn of(x: &[f64], n: usize) -> Self {
        let mut re = vec![0.0; n];
        // Circular: what reaches beyond n is folded back, as powers of a transform of length n do.
        x.iter().enumerate().for_each(|(i, v)| re[i % n] += v);
        Self { im: vec![0.0; n], re }
    }
}

/// e^(−2πi·k/n) for k below n/2.
fn twiddles(n: usize) -> Rows {
    #[expect(clippy::cast_precision_loss, reason = "transforms are far shorter than 2^53")]
    let angle = |k: usize| -2.0 * PI * k as f64 / n as f64;
    Rows { re: (0..n / 2).map(|k| cos(angle(k))).collect(), im: (0..n / 2).map(|k| sin(angle(k))).collect() }
}

/// Decimation in frequency: natural order in, bit-reversed out. The order in between does not matter for pointwise work.
fn forward(x: &mut Rows, w: &Rows) {
    let n = x.re.len();
    let mut half = n / 2;
    while half > 0 {
        let stride = n / (2 * half);
        for start in (0..n).step_by(2 * half) {
            for k in 0..half {
                let (a, b) = (start + k, start + k + half);
                let (dr, di) = (x.re[a] - x.re[b], x.im[a] - x.im[b]);
                x.re[a] += x.re[b];
                x.im[a] += x.im[b];
                let (c, s) = (w.re[k * stride], w.im[k * stride]);
                x.re[b] = dr * c - di * s;
                x.im[b] = dr * s + di * c;
            }
        }
        half /= 2;
    }
}

/// Decimation in time with conjugate twiddles: bit-reversed in, natural out, divided by n.
fn inverse(x: &mut Rows, w: &Rows) {
    let n = x.re.len();
    let mut half = 1;
    while half < n {
        let stride = n / (2 * half);
        for start in (0..n).step_by(2 * half) {
            for k in 0..half {
                let (a, b) = (start + k, start + k + half);
                let (c, s) = (w.re[k * stride], -w.im[k * stride]);
                let (tr, ti) = (x.re[b] * c - x.im[b] * s, x.re[b] * s + x.im[b] * c);
                x.re[b] = x.re[a] - tr;
                x.im[b] = x.im[a] - ti;
                x.re[a] += tr;
                x.im[a] += ti;
            }
        }
        half *= 2;
    }
    #[expect(clippy::cast_precision_loss, reason = "transforms are far shorter than 2^53")]
    let scale = 1.0 / n as f64;
    x.re.iter_mut().for_each(|v| *v *= scale);
}

/// The `times`-fold circular convolution of `x` with itself, of length `n`, a power of two.
pub(super) fn power(x: &[f64], times: f64, n: usize) -> Vec<f64> {
    let (w, mut rows) = (twiddles(n), Rows::of(x, n));
    forward(&mut rows, &w);
    for (re, im) in rows.re.iter_mut().zip(&mut rows.im) {
        let (modulus, angle) = (exp(0.5 * times * log(*re * *re + *im * *im)), atan2(*im, *re) * times);
        (*re, *im) = (modulus * cos(angle), modulus * sin(angle));
    }
    inverse(&mut rows, &w);
    rows.re
}

/// The convolution of `a` and `b`.
pub(super) fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let len = a.len() + b.len() - 1;
    let n = len.next_power_of_two();
    let (w, mut x, mut y) = (twiddles(n), Rows::of(a, n), Rows::of(b, n));
    forward(&mut x, &w);
    forward(&mut y, &w);
    for i in 0..n {
        (x.re[i], x.im[i]) = (x.re[i] * y.re[i] - x.im[i] * y.im[i], x.re[i] * y.im[i] + x.im[i] * y.re[i]);
    }
    inverse(&mut x, &w);
    x.re.truncate(len);
    x.re
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolution_and_power_agree_with_the_definition() {
        let (a, b) = ([0.5, 0.25, 0.25], [0.1, 0.9]);
        let want = [0.05, 0.475, 0.25, 0.225];
        assert!(convolve(&a, &b).iter().zip(want).all(|(x, y)| (x - y).abs() < 1e-15));
        let cube = convolve(&convolve(&a, &a), &a);
        assert!(power(&a, 3.0, 8).iter().zip(cube).all(|(x, y)| (x - y).abs() < 1e-15));
    }
}
