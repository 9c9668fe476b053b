//! Streams and the sampler: vectors (C79), statistics with their false alarms stated, and what enters z.

use super::*;
use crate::testing::{numbers, sha256_hex, vectors};

fn bytes_of(values: &SmallPolynomial) -> Vec<u8> {
    values.iter().map(|v| v.to_le_bytes()[0]).collect()
}

#[test]
fn streams_are_those_of_the_vectors() {
    let v = &vectors()["derived"]["streams"];
    let round = RoundSecret::for_vector([0x42; 32]);
    for (domain, name) in [(Domain::Secret, "secret_key_hex"), (Domain::Noise, "noise_key_hex"), (Domain::Shares, "shares_key_hex")] {
        let mut key = [0u8; 32];
        expand(domain, &[&[0x42; 32]], &mut key);
        assert_eq!(hex::encode(key), v[name].as_str().unwrap());
    }
    let first = |p: &SmallPolynomial| p[..8].iter().map(|&x| i64::from(x)).collect::<Vec<_>>();
    let (s, e0, e1) = (round.secret(), round.noise(0), round.noise(1));
    assert_eq!(first(&s), numbers(&v["s_first_8"]));
    assert_eq!(sha256_hex(&bytes_of(&s)), v["s_sha256_i8"].as_str().unwrap());
    assert_eq!(first(&e0), numbers(&v["e_polynomial_0_first_8"]));
    assert_eq!(sha256_hex(&bytes_of(&e0)), v["e_polynomial_0_sha256_i8"].as_str().unwrap());
    assert_eq!(first(&e1), numbers(&v["e_polynomial_1_first_8"]));
}

/// 2^20 draws against Bin(180, 1/2) with fixed seeds. χ² with 43 degrees of freedom (cells -21..=21 and both tails): accepted below 118, which
/// an honest sampler exceeds with probability below 1e-8; mean and variance within five deviations (1e-6 together).
#[test]
fn noise_is_a_centred_sum_of_180_coins() {
    let polynomials = 256u32;
    let round = RoundSecret::for_vector([7; 32]);
    let mut counts = [0f64; 45];
    let (mut sum, mut squares) = (0i64, 0i64);
    for j in 0..u64::from(polynomials) {
        for &v in round.noise(j).iter() {
            sum += i64::from(v);
            squares += i64::from(v) * i64::from(v);
            counts[usize::try_from(i64::from(v).clamp(-22, 22) + 22).unwrap()] += 1.0;
        }
    }
    let n = f64::from(polynomials) * 4096.0;
    let chi: f64 = counts.iter().zip(expected()).map(|(got, p)| (got - n * p).powi(2) / (n * p)).sum();
    assert!(chi < 118.0, "chi squared {chi}");
    assert!(chi > 10.0, "chi squared {chi} is too good");
    let (mean, variance) = (sum as f64 / n, squares as f64 / n);
    assert!(mean.abs() < 5.0 * (45.0 / n).sqrt(), "mean {mean}");
    // Fourth central moment of Bin(180, 1/2): 3·45² - 45/2.
    let deviation = ((3.0 * 2025.0 - 22.5 - 2025.0) / n).sqrt();
    assert!((variance - 45.0).abs() < 5.0 * deviation, "variance {variance}");
}

/// Probabilities of <= -22, -21..=21, >= 22.
fn expected() -> Vec<f64> {
    let mut mass = vec![2f64.powi(-180)];
    for k in 0..180u32 {
        mass.push(mass[k as usize] * f64::from(180 - k) / f64::from(k + 1));
    }
    let mut cells = vec![mass[..=68].iter().sum::<f64>()];
    cells.extend_from_slice(&mass[69..=111]);
    cells.push(mass[112..].iter().sum());
    cells
}

#[test]
fn field_elements_are_below_p_and_the_skipped_value_never_comes() {
    let mut stream = FieldStream::keyed(&[1; 32]);
    assert!((0..10_000).all(|_| stream.next() < SHARE_PRIME));
}

/// C19: each of the five inputs makes an unrelated secret, so a cloned machine never seals two messages under one.
#[test]
fn every_input_enters_the_round_secret() {
    let derive = |f: u8, h: u8, m: u8, g: u32, d: u8| {
        let z = RoundSecret::derive(
            &Zeroizing::new([f; 32]),
            &HedgeSecret::new(&mut [h; 32]),
            ManifestDigest([m; 32]),
            GroupId(g),
            &Zeroizing::new([d; 32]),
        );
        **z.0
    };
    let all = [
        derive(0, 0, 0, 0, 0),
        derive(1, 0, 0, 0, 0),
        derive(0, 1, 0, 0, 0),
        derive(0, 0, 1, 0, 0),
        derive(0, 0, 0, 1, 0),
        derive(0, 0, 0, 0, 1),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(derive(1, 2, 3, 4, 5), derive(1, 2, 3, 4, 5));
}

#[test]
fn the_callers_copy_of_a_hedge_secret_is_wiped() {
    let mut bytes = [5u8; 32];
    let _secret = HedgeSecret::new(&mut bytes);
    assert_eq!(bytes, [0; 32]);
}
