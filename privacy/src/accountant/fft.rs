//! Convolution of real sequences by a radix-2 transform in f64. Knows no privacy. No library, so the same bits everywhere.

use libm::{cos, sin};
use std::f64::consts::PI;

/// Complex numbers as two rows.
struct Rows {
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Rows {
    fn at(&self, i: usize) -> (f64, f64) {
        (self.re[i], self.im[i])
    }
    fn set(&mut self, i: usize, (re, im): (f64, f64)) {
        (self.re[i], self.im[i]) = (re, im);
    }
    fn of(len: usize, value: impl Fn(usize) -> (f64, f64)) -> Self {
        let (re, im) = (0..len).map(value).unzip();
        Self { re, im }
    }
}

fn times(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// e^(−2πi·k/n) for k below n/2.
fn twiddles(n: usize) -> Rows {
    #[expect(clippy::cast_precision_loss, reason = "transforms are far shorter than 2^53")]
    let angle = |k: usize| -2.0 * PI * k as f64 / n as f64;
    Rows::of(n / 2, |k| (cos(angle(k)), sin(angle(k))))
}

/// In place, natural order in and out: decimation in frequency, then the bits of the indices turned around. `w` are the twiddles of at
/// least twice the length.
fn transform(x: &mut Rows, w: &Rows) {
    let n = x.re.len();
    let mut half = n / 2;
    while half > 0 {
        let stride = w.re.len() / half;
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
    for i in 0..n {
        let j = i.reverse_bits() >> (usize::BITS - n.trailing_zeros()).min(usize::BITS - 1);
        if i < j {
            x.re.swap(i, j);
            x.im.swap(i, j);
        }
    }
}

/// Values of the transform of a real sequence at the frequencies 0 to n/2; the others are their conjugates. n is a power of two from 4 on.
fn spectrum(x: &[f64], n: usize, w: &Rows) -> Rows {
    let h = n / 2;
    let mut z = Rows { re: vec![0.0; h], im: vec![0.0; h] };
    // Circular: what reaches beyond n is folded back, as powers of a transform of length n do.
    for (i, v) in x.iter().enumerate() {
        let row = if i % 2 == 0 { &mut z.re } else { &mut z.im };
        row[i % n / 2] += v;
    }
    transform(&mut z, w);
    Rows::of(h + 1, |k| {
        let ((ar, ai), (br, bi)) = (z.at(k % h), z.at((h - k) % h));
        // Even places (Z_k + Z̄_{h−k})/2 and odd ones (Z_k − Z̄_{h−k})/2i, a turn apart.
        let turn = if k == h { (-1.0, 0.0) } else { w.at(k) };
        let odd = times(turn, (0.5 * (ai + bi), 0.5 * (br - ar)));
        (0.5 * (ar + br) + odd.0, 0.5 * (ai - bi) + odd.1)
    })
}

/// The real sequence of a spectrum: [`spectrum`] undone.
fn sequence(y: &Rows, w: &Rows) -> Vec<f64> {
    let h = y.re.len() - 1;
    // The inverse is the transform of the conjugates, conjugated.
    let mut z = Rows::of(h, |k| {
        let ((ar, ai), (br, bi)) = (y.at(k), y.at(h - k));
        let (tr, ti) = w.at(k);
        let odd = times((tr, -ti), (0.5 * (ar - br), 0.5 * (ai + bi)));
        (0.5 * (ar + br) - odd.1, -(0.5 * (ai - bi) + odd.0))
    });
    transform(&mut z, w);
    #[expect(clippy::cast_precision_loss, reason = "transforms are far shorter than 2^53")]
    let scale = 1.0 / h as f64;
    z.re.iter().zip(&z.im).flat_map(|(re, im)| [re * scale, -im * scale]).collect()
}

/// x^count for count >= 1, by squaring. A factor of a sum's characteristic function that is this small is nothing.
fn raised(x: (f64, f64), count: u64) -> (f64, f64) {
    const NOTHING: f64 = 1e-200;
    let mut y = x;
    for bit in (0..count.ilog2()).rev() {
        y = times(y, y);
        if count >> bit & 1 == 1 {
            y = times(y, x);
        }
        if y.0 * y.0 + y.1 * y.1 < NOTHING {
            return (0.0, 0.0);
        }
    }
    y
}

/// The `count`-fold circular convolution of `x` with itself, `count` at least 1, of length `n`, a power of two from 4 on.
pub(super) fn power(x: &[f64], count: u64, n: usize) -> Vec<f64> {
    let w = twiddles(n);
    let mut y = spectrum(x, n, &w);
    (0..y.re.len()).for_each(|i| y.set(i, raised(y.at(i), count)));
    sequence(&y, &w)
}

/// The convolution of `a` and `b`.
pub(super) fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let len = a.len() + b.len() - 1;
    let n = len.next_power_of_two().max(4);
    let w = twiddles(n);
    let (mut x, y) = (spectrum(a, n, &w), spectrum(b, n, &w));
    (0..x.re.len()).for_each(|i| x.set(i, times(x.at(i), y.at(i))));
    let mut sum = sequence(&x, &w);
    sum.truncate(len);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolution_and_power_agree_with_the_definition() {
        let (a, b) = ([0.5, 0.25, 0.25], [0.1, 0.9]);
        let want = [0.05, 0.475, 0.25, 0.225];
        assert!(convolve(&a, &b).iter().zip(want).all(|(x, y)| (x - y).abs() < 1e-15));
        assert!(convolve(&a[..1], &b).iter().zip([0.05, 0.45]).all(|(x, y)| (x - y).abs() < 1e-15));
        let cube = convolve(&convolve(&a, &a), &a);
        assert!(power(&a, 3, 8).iter().zip(&cube).all(|(x, y)| (x - y).abs() < 1e-15));
        // Folded: places 4 to 6 come back at 0 to 2.
        let folded: Vec<f64> = (0..4).map(|i| cube[i] + cube.get(i + 4).copied().unwrap_or(0.0)).collect();
        assert!(power(&a, 3, 4).iter().zip(folded).all(|(x, y)| (x - y).abs() < 1e-15));
    }
}
