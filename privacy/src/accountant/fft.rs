//! Convolution of real sequences by transforms in f64. Knows no privacy. No library, so the same bits everywhere.
//!
//! A real sequence of length n is a complex one of h = n/2 places. Frequencies stay in the order in which decimation leaves them, bits of the
//! index turned around: what is done with them looks at pairs only, so nothing is ever put in order.

use libm::{cos, sin};
use std::f64::consts::PI;

type Complex = (f64, f64);

/// Complex numbers as two rows.
struct Rows {
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Rows {
    fn at(&self, i: usize) -> Complex {
        (self.re[i], self.im[i])
    }
    fn set(&mut self, i: usize, (re, im): Complex) {
        (self.re[i], self.im[i]) = (re, im);
    }
}

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// e^(−2πi·k/n) for k below n, as products of two short tables' entries: a sine for each k would cost more than the transform.
struct Turns {
    /// Every `fine.len()`-th of them.
    coarse: Vec<Complex>,
    /// The first ones. A power of two many.
    fine: Vec<Complex>,
}

impl Turns {
    fn new(n: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "transforms are far shorter than 2^53")]
        let turn = |k: usize| {
            let angle = -2.0 * PI * k as f64 / n as f64;
            (cos(angle), sin(angle))
        };
        let short = 1usize << (n.ilog2() / 2);
        Self { coarse: (0..n / short).map(|k| turn(k * short)).collect(), fine: (0..short).map(turn).collect() }
    }

    fn at(&self, k: usize) -> Complex {
        let short = self.fine.len();
        times(self.coarse[k / short], self.fine[k % short])
    }
}

/// What transforms of one length n share.
struct Plan {
    /// For n.
    turns: Turns,
    /// For each length 2m of a part, e^(−πi·k/m) for k < m, from place m on.
    parts: Rows,
}

impl Plan {
    fn new(n: usize) -> Self {
        let (turns, h) = (Turns::new(n), n / 2);
        let mut parts = Rows { re: vec![0.0; h], im: vec![0.0; h] };
        let longest = h / 2;
        (0..longest).for_each(|k| parts.set(longest + k, turns.at(2 * k)));
        // Every other one of the table of twice the length: place m + k is its place 2m + 2k.
        (1..longest).rev().for_each(|i| parts.set(i, parts.at(2 * i)));
        Self { turns, parts }
    }

    fn part(&self, m: usize) -> (&[f64], &[f64]) {
        (&self.parts.re[m..2 * m], &self.parts.im[m..2 * m])
    }

    /// In place, natural order in, bits of the indices turned around out. Halves one after the other, so that each soon fits the cache.
    fn forward(&self, re: &mut [f64], im: &mut [f64]) {
        let m = re.len() / 2;
        if m == 0 {
            return;
        }
        let ((re_a, re_b), (im_a, im_b), (c, s)) = (re.split_at_mut(m), im.split_at_mut(m), self.part(m));
        for (((ar, br), (ai, bi)), (c, s)) in re_a.iter_mut().zip(&mut *re_b).zip(im_a.iter_mut().zip(&mut *im_b)).zip(c.iter().zip(s)) {
            let (dr, di) = (*ar - *br, *ai - *bi);
            (*ar, *ai) = (*ar + *br, *ai + *bi);
            (*br, *bi) = (dr * c - di * s, dr * s + di * c);
        }
        self.forward(re_a, im_a);
        self.forward(re_b, im_b);
    }

    /// [`Self::forward`] undone, but for a factor of the length.
    fn backward(&self, re: &mut [f64], im: &mut [f64]) {
        let m = re.len() / 2;
        if m == 0 {
            return;
        }
        let ((re_a, re_b), (im_a, im_b), (c, s)) = (re.split_at_mut(m), im.split_at_mut(m), self.part(m));
        self.backward(re_a, im_a);
        self.backward(re_b, im_b);
        for (((ar, br), (ai, bi)), (c, s)) in re_a.iter_mut().zip(re_b).zip(im_a.iter_mut().zip(im_b)).zip(c.iter().zip(s)) {
            let (tr, ti) = (*br * c + *bi * s, *bi * c - *br * s);
            (*br, *bi) = (*ar - tr, *ai - ti);
            (*ar, *ai) = (*ar + tr, *ai + ti);
        }
    }

    /// Real numbers, two to a place, transformed.
    fn spectrum(&self, x: &[f64], n: usize) -> Rows {
        let h = n / 2;
        let mut z = Rows { re: vec![0.0; h], im: vec![0.0; h] };
        // Circular: what reaches beyond n is folded back, as powers of a transform of length n do.
        for (i, v) in x.iter().enumerate() {
            let row = if i % 2 == 0 { &mut z.re } else { &mut z.im };
            row[i % n / 2] += v;
        }
        self.forward(&mut z.re, &mut z.im);
        z
    }

    /// [`Self::spectrum`] undone.
    fn sequence(&self, mut z: Rows) -> Vec<f64> {
        self.backward(&mut z.re, &mut z.im);
        #[expect(clippy::cast_precision_loss, reason = "transforms are far shorter than 2^53")]
        let scale = 1.0 / z.re.len() as f64;
        z.re.iter().zip(&z.im).flat_map(|(re, im)| [re * scale, im * scale]).collect()
    }

    /// Calls `with` for each pair of places that hold the frequencies k and h−k, with e^(−2πi·k/n). Frequencies 0 and h/2 are their own
    /// partners.
    fn pairs(&self, h: usize, mut with: impl FnMut(usize, usize, Complex)) {
        let bits = h.ilog2();
        let k = |place: usize| place.reverse_bits() >> (usize::BITS - bits);
        with(0, 0, (1.0, 0.0));
        with(1, 1, self.turns.at(h / 2));
        for level in 1..bits {
            let start = 1usize << level;
            (0..start / 2).for_each(|i| with(start + i, 2 * start - 1 - i, self.turns.at(k(start + i))));
        }
    }
}

/// The values X_k and X_{h−k} of a real sequence's transform from its packed places Z_k and Z_{h−k}; `turn` is e^(−2πi·k/n). For k = 0 they
/// are X_0 and X_h.
fn unpacked(a: Complex, b: Complex, turn: Complex) -> (Complex, Complex) {
    // Even places E = (Z_k + Z̄_{h−k})/2 and odd ones O = (Z_k − Z̄_{h−k})/2i; X_k = E + turn·O, and X̄_{h−k} = E − turn·O.
    let even = (0.5 * (a.0 + b.0), 0.5 * (a.1 - b.1));
    let odd = times(turn, (0.5 * (a.1 + b.1), 0.5 * (b.0 - a.0)));
    ((even.0 + odd.0, even.1 + odd.1), (even.0 - odd.0, odd.1 - even.1))
}

/// [`unpacked`] undone.
fn packed(x: Complex, y: Complex, turn: Complex) -> (Complex, Complex) {
    let even = (0.5 * (x.0 + y.0), 0.5 * (x.1 - y.1));
    let odd = times((turn.0, -turn.1), (0.5 * (x.0 - y.0), 0.5 * (x.1 + y.1)));
    ((even.0 - odd.1, even.1 + odd.0), (even.0 + odd.1, odd.0 - even.1))
}

/// x^count for count >= 1, by squaring. A factor of a sum's characteristic function that is this small is nothing.
fn raised(x: Complex, count: u64) -> Complex {
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
    let plan = Plan::new(n);
    let mut z = plan.spectrum(x, n);
    plan.pairs(n / 2, |i, j, turn| {
        let (a, b) = unpacked(z.at(i), z.at(j), turn);
        let (a, b) = packed(raised(a, count), raised(b, count), turn);
        z.set(j, b);
        z.set(i, a);
    });
    plan.sequence(z)
}

/// The convolution of `a` and `b`.
pub(super) fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let len = a.len() + b.len() - 1;
    let n = len.next_power_of_two().max(4);
    let plan = Plan::new(n);
    let (mut x, y) = (plan.spectrum(a, n), plan.spectrum(b, n));
    plan.pairs(n / 2, |i, j, turn| {
        let ((a, b), (c, d)) = (unpacked(x.at(i), x.at(j), turn), unpacked(y.at(i), y.at(j), turn));
        let (a, b) = packed(times(a, c), times(b, d), turn);
        x.set(j, b);
        x.set(i, a);
    });
    let mut sum = plan.sequence(x);
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

    proptest::proptest! {
        #[test]
        fn long_convolutions_are_sums_of_products(
            a in proptest::collection::vec(-1.0..1.0f64, 1..200),
            b in proptest::collection::vec(-1.0..1.0f64, 1..200),
        ) {
            let sum = convolve(&a, &b);
            let term = |i: usize| a.iter().enumerate().filter_map(|(j, x)| Some(x * b.get(i.checked_sub(j)?)?)).sum::<f64>();
            proptest::prop_assert_eq!(sum.len(), a.len() + b.len() - 1);
            proptest::prop_assert!(sum.iter().enumerate().all(|(i, s)| (s - term(i)).abs() < 1e-12));
        }

        #[test]
        fn powers_are_convolutions_folded(a in proptest::collection::vec(0.0..0.2f64, 1..20), count in 1u64..6, bits in 2u32..6) {
            let n = 1usize << bits;
            let long = (1..count).fold(a.clone(), |sum, _| convolve(&sum, &a));
            let mut folded = vec![0.0; n];
            long.iter().enumerate().for_each(|(i, v)| folded[i % n] += v);
            let power = power(&a, count, n);
            proptest::prop_assert!(power.iter().zip(&folded).all(|(x, y)| (x - y).abs() < 1e-9 * (1.0 + y.abs())));
        }
    }
}
