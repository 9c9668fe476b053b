//! Item 4 of the required tests (crypto.md section 9, C30 to C32, C60): the residual of a sum has the predicted law, and a noise field that
//! is too small decodes wrongly exactly as often as the convolution of noise and rounding says. All seeds are fixed.
//!
//! A·s of one client is as good as uniform, which is what makes rounding errors uniform; most tests put a uniform word in its place, and
//! [`residuals_of_real_bodies_are_those_of_the_model`] shows that real products do not differ.

use crate::Polynomial;
use crate::mask::MaskKey;
use crate::packing::{pack, truncate};
use crate::ring::RingKey;
use crate::sampler::RoundSecret;
use crate::statistics_tests::{FALSE_ALARM, Lattice, SplitMix, binomial_p, cbd_mass, kolmogorov_p, normal_cdf};
use protocol::params::{Packing, RING_DIMENSION};
use rayon::prelude::*;

/// Polynomials per experiment: 98,304 residuals, whose deviation has a relative error of 1/443.
const POLYNOMIALS: u64 = 24;

/// z of one simulated client.
pub(crate) fn client(number: u16) -> RoundSecret {
    let mut z = [0x77; 32];
    z[..2].copy_from_slice(&number.to_le_bytes());
    RoundSecret::for_vector(z)
}

/// A packing that no manifest can have: one slot above a field of `f` bits, `r` of which are dropped.
fn toy(n_max: u16, f: u8, r: u8) -> Packing {
    Packing { n_max, bits: 8, slot_bits: 64 - f, slots: 1, noise_bits: f, dropped_bits: r, body_bits: 64 - r }
}

/// acc - A·S of polynomial j, every client's A·s a uniform word, `message` under each.
pub(crate) fn summed(packing: &Packing, n: u16, j: u64, message: impl Fn(u16) -> Box<Polynomial>) -> Box<Polynomial> {
    let mut sum = Box::new([0u64; RING_DIMENSION]);
    for number in 0..n {
        let mut random = SplitMix(u64::from(number) << 32 | j);
        let products: Box<Polynomial> = Box::new(std::array::from_fn(|_| random.next()));
        add_body(&mut sum, packing, &products, &client(number), j, &message(number));
        sum.iter_mut().zip(products.iter()).for_each(|(a, &product)| *a = a.wrapping_sub(product));
    }
    sum
}

/// sum += truncate(product + e + message) << r.
fn add_body(sum: &mut Polynomial, packing: &Packing, product: &Polynomial, client: &RoundSecret, j: u64, message: &Polynomial) {
    let noise = client.noise(j);
    let mut body: Polynomial =
        std::array::from_fn(|i| product[i].wrapping_add(message[i]).wrapping_add(i64::from(noise[i]).cast_unsigned()));
    truncate(&mut body, packing);
    sum.iter_mut().zip(&body).for_each(|(a, &b)| *a = a.wrapping_add(b << packing.dropped_bits));
}

/// C32's correction for rounding half up.
fn bias(packing: &Packing, n: u16) -> i64 {
    if packing.dropped_bits >= 1 { i64::from(n / 2) } else { 0 }
}

/// Residuals of sums without messages, before C32's correction.
fn raw_residuals(packing: &Packing, n: u16) -> Vec<i64> {
    let of = |j| summed(packing, n, j, |_| Box::new([0; RING_DIMENSION])).map(u64::cast_signed);
    (0..POLYNOMIALS).into_par_iter().flat_map_iter(of).collect()
}

fn residuals(packing: &Packing, n: u16) -> Vec<i64> {
    raw_residuals(packing, n).into_iter().map(|x| x - bias(packing, n)).collect()
}

/// Mean and root of the mean square.
fn moments(sample: &[i64]) -> (f64, f64) {
    let n = sample.len() as f64;
    let mean = sample.iter().map(|&x| x as f64).sum::<f64>() / n;
    (mean, (sample.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() / n).sqrt())
}

/// Deviation within 1 % of C60 (4.4 of its own deviations: false alarm 1e-5 for a normal law) and mean 0 within five (6e-7).
fn check_moments(sample: &[i64], packing: &Packing, n: u16) {
    let (mean, deviation) = moments(sample);
    let predicted = packing.residual_variance(n).sqrt();
    assert!((deviation / predicted - 1.0).abs() < 0.01, "{n}: deviation {deviation}, predicted {predicted}");
    let z = mean / predicted * (sample.len() as f64).sqrt();
    assert!(z.abs() < 5.0, "{n}: mean {mean} is {z} deviations from 0");
}

/// The exact law of a residual: n times noise and rounding error, less the correction. An error lies in -(2^(r-1) - 1)..=2^(r-1).
fn exact_law(packing: &Packing, n: u16) -> Lattice {
    let noise = cbd_mass();
    (0..n).fold(Lattice::at(-bias(packing, n)), |law, _| {
        let law = law.plus(-90, &noise);
        match packing.dropped_bits {
            0 => law,
            r => law.plus_uniform(1 - (1 << (r - 1)), 1 << r),
        }
    })
}

/// Cohorts of 2, 10, 100, 1000 under the packing that the rule gives them. False alarms: 1e-5 each, and 1e-6 for Kolmogorov's test against
/// the normal law of the stated deviation (the sum of two rounding errors is a triangle and ten are not quite normal: for these against the
/// exact law).
#[test]
fn residuals_under_derived_packings_have_the_predicted_law() {
    for n in [2u16, 10, 100, 1000] {
        let packing = Packing::derive(n, 8).unwrap();
        assert!(packing.dropped_bits > 8, "rounding dominates here: {packing:?}");
        let mut sample = residuals(&packing, n);
        check_moments(&sample, &packing, n);
        let deviation = packing.residual_variance(n).sqrt();
        let p = match n {
            2 | 10 => kolmogorov_p(&mut sample, exact_law(&packing, n).cdf()),
            _ => kolmogorov_p(&mut sample, |x| normal_cdf((x as f64 + 0.5) / deviation)),
        };
        assert!(p > FALSE_ALARM, "{n}: p {p}");
    }
}

/// Where noise dominates, small cohorts are normal too, and C32's correction is visible: without it the mean of even cohorts is n ÷ 2, many
/// deviations off. False alarms as above.
#[test]
fn residuals_dominated_by_noise_are_normal_and_centred_by_the_correction() {
    for n in [2u16, 10, 100, 1000] {
        let packing = toy(n, 30, 2);
        let mut raw = raw_residuals(&packing, n);
        let deviation = packing.residual_variance(n).sqrt();
        let z = moments(&raw).0 / deviation * (raw.len() as f64).sqrt();
        assert!(z > 20.0, "{n}: without the correction the mean is {z} deviations off");
        raw.iter_mut().for_each(|x| *x -= bias(&packing, n));
        check_moments(&raw, &packing, n);
        let p = kolmogorov_p(&mut raw, |x| normal_cdf((x as f64 + 0.5) / deviation));
        assert!(p > FALSE_ALARM, "{n}: p {p}");
    }
}

/// The tests above can fail: an eighth more noise, or the correction of C32 left out.
#[test]
fn another_law_is_told_apart() {
    let packing = toy(10, 30, 2);
    let deviation = packing.residual_variance(10).sqrt();
    let normal = |x: i64| normal_cdf((x as f64 + 0.5) / deviation);
    let mut louder: Vec<i64> = residuals(&packing, 10).iter().map(|&x| x + x / 8).collect();
    assert!((moments(&louder).1 / deviation - 1.0).abs() > 0.01);
    assert!(kolmogorov_p(&mut louder, normal) < FALSE_ALARM);
    let mut uncorrected = raw_residuals(&packing, 10);
    assert!(kolmogorov_p(&mut uncorrected, normal) < FALSE_ALARM);
}

/// Ten clients with their own keys under one mask: products, noise, rounding, key sum as in use. False alarms as above.
#[test]
fn residuals_of_real_bodies_are_those_of_the_model() {
    let (packing, n) = (Packing::derive(10, 8).unwrap(), 10);
    let mask = MaskKey::from_bytes([0x21; 16]);
    let clients: Vec<RoundSecret> = (0..n).map(client).collect();
    let secrets: Vec<_> = clients.iter().map(RoundSecret::secret).collect();
    let keys: Vec<RingKey> = secrets.iter().map(|s| RingKey::new(s)).collect();
    let key_sum: [i32; RING_DIMENSION] = std::array::from_fn(|i| secrets.iter().map(|s| i32::from(s[i])).sum());
    let key_sum = RingKey::new(&key_sum);
    let of = |j: u64| {
        let a = mask.polynomial(j);
        let mut sum = Box::new([0u64; RING_DIMENSION]);
        for (client, key) in clients.iter().zip(&keys) {
            add_body(&mut sum, &packing, &key.times(&a), client, j, &[0; RING_DIMENSION]);
        }
        let product = key_sum.times(&a);
        let residual: Vec<i64> =
            sum.iter().zip(product.iter()).map(|(&a, &p)| a.wrapping_sub(p).cast_signed() - bias(&packing, n)).collect();
        residual
    };
    let mut sample: Vec<i64> = (0..POLYNOMIALS).into_par_iter().flat_map_iter(of).collect();
    check_moments(&sample, &packing, n);
    let p = kolmogorov_p(&mut sample, exact_law(&packing, n).cdf());
    assert!(p > FALSE_ALARM, "p {p}");
}

/// Coefficients of polynomial j whose slots do not give the sum of the values back.
fn wrongly_decoded(packing: &Packing, n: u16, j: u64) -> u64 {
    let most = i64::from(n) << (packing.bits - 1);
    let slots = usize::from(packing.slots);
    let values = |number: u16| -> Vec<i32> {
        let mut random = SplitMix(u64::from(number) << 48 | j);
        (0..slots * RING_DIMENSION).map(|_| i32::try_from(random.next() % 255).unwrap() - 127).collect()
    };
    let all: Vec<Vec<i32>> = (0..n).map(values).collect();
    let sum = summed(packing, n, j, |number| Box::new(**pack(packing, &all[usize::from(number)]).unwrap()));
    let centre = (1i64 << (packing.noise_bits - 1)) - bias(packing, n);
    let wrong = sum.iter().enumerate().filter(|&(i, &x)| {
        let x = x.wrapping_add(centre.cast_unsigned());
        (0..slots).any(|slot| {
            let shift = usize::from(packing.noise_bits) + usize::from(packing.slot_bits) * slot;
            let u = (x >> shift & ((1 << packing.slot_bits) - 1)).cast_signed();
            u - most != all.iter().map(|v| i64::from(v[i * slots + slot])).sum::<i64>()
        })
    });
    wrong.count() as u64
}

/// A field of seven bits for five, six and eight clients: between 10^-3 and 10^-5 of the coefficients come out wrong, as many as the exact
/// tail says; two-sided p of the binomial law above 1e-6 each.
#[test]
fn a_field_too_small_fails_as_often_as_the_exact_tail_says() {
    let packing = Packing { n_max: 8, bits: 8, slot_bits: 19, slots: 3, noise_bits: 7, dropped_bits: 2, body_bits: 62 };
    for (n, polynomials) in [(8, 60), (6, 240), (5, 360)] {
        let rate = exact_law(&packing, n).outside(-64..64);
        assert!((1e-5..1e-3).contains(&rate), "{n}: rate {rate}");
        let wrong: u64 = (0..polynomials).into_par_iter().map(|j| wrongly_decoded(&packing, n, j)).sum();
        let p = binomial_p(wrong, polynomials * RING_DIMENSION as u64, rate);
        assert!(p > FALSE_ALARM, "{n}: {wrong} wrong coefficients, rate {rate}, p {p}");
        // The same count does not fit a rate a half higher or lower.
        for other in [rate * 1.6, rate * 0.6] {
            assert!(binomial_p(wrong, polynomials * RING_DIMENSION as u64, other) < 0.01, "{n}: {wrong} fits {other} too");
        }
    }
}
