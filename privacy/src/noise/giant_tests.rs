//! Scalar releases by OpenDP: paid once, charged by two maps, noised with that noise (privacy.md D28; bug classes B19, B25, B27, B30).

use super::*;
use crate::ledger::machine_tests::{Kept, NOW};
use crate::ledger::{ReleaseRequest, scale_1024_for};

/// 1 − 1e-9 quantile of χ² with 48 degrees of freedom.
const CHI: f64 = 131.7;

fn paid(kept: &mut Kept, id: u8, values: u64, sensitivity: u64, scale_1024: u64) -> PaidRelease {
    let (compared, question) = (kept.ledger.compare(&[]).unwrap(), Sha256([9; 32]));
    let request = ReleaseRequest { id: Sha256([id; 32]), question, values, sensitivity, scale_1024, compared };
    let pending = kept.ledger.reserve_release(&request, NOW).unwrap();
    kept.keep(pending)
}

#[test]
fn the_values_that_were_paid_for_are_drawn_and_no_others() {
    let mut kept = Kept::new("8");
    let payment = paid(&mut kept, 1, 2, 1, 50 * 1024);
    assert_eq!(gaussian_release(payment, &[7]), Err(DrawError::OtherCount { got: 1, paid: 2 }));
    let payment = paid(&mut kept, 2, 2, 1, 50 * 1024);
    let (counter, head) = (payment.ledger_counter(), payment.ledger_head());
    let noised = gaussian_release(payment, &[7, 1000]).unwrap();
    assert_eq!((noised.values.len(), noised.ledger_counter, noised.ledger_head), (2, counter, head));
    assert!(kept.ledger.holds(counter, head));
}

/// OpenDP's map, an exact fraction rounded up, is never above what the ledger charges and never far below it.
#[test]
fn two_maps_agree_on_the_cost() {
    let mut kept = Kept::new("1000");
    for (id, (sensitivity, scale_1024)) in
        (1..).zip([(1, 1024), (1, 1_000_003), (3, 12_345), (7, 7 * 1024), (1000, 1 << 40), (1_000_000, 1 << 50)])
    {
        let payment = paid(&mut kept, id, 1, sensitivity, scale_1024);
        let release = payment.release().clone();
        let domain = VectorDomain::new(AtomDomain::<i64>::default());
        let m = make_gaussian::<_, _, ZeroConcentratedDivergence>(domain, L2Distance::<f64>::default(), release.scale(), None).unwrap();
        let theirs = m.map(&(sensitivity as f64)).unwrap();
        assert!((theirs / release.rho() - 1.0).abs() < 1e-14, "{theirs} for {}", release.rho());
        // In nats at α*: what the ledger took covers OpenDP's figure.
        let at_order = theirs * kept.ledger.terms().order.to_f64();
        assert!(release.cost.decimal().to_f64() >= at_order && release.cost.decimal().to_f64() <= at_order * (1.0 + 1e-9) + 2e-9);
        gaussian_release(payment, &[0]).unwrap();
    }
}

/// The ledger adds up what OpenDP's own odometer adds up over the same releases.
#[test]
fn the_ledger_spends_what_the_odometer_counts() {
    let mut kept = Kept::new("30");
    let (domain, metric) = (VectorDomain::new(AtomDomain::<i64>::default()), L2Distance::<f64>::default());
    let odometer = make_fully_adaptive_composition(domain.clone(), metric.clone(), ZeroConcentratedDivergence).unwrap();
    let mut queryable = odometer.invoke(&vec![3i64, 4]).unwrap();
    for (id, scale) in (1..).zip([4u64, 9, 20]) {
        let release = paid(&mut kept, id, 2, 1, scale * 1024).release().clone();
        let m = make_gaussian::<_, _, ZeroConcentratedDivergence>(domain.clone(), metric.clone(), release.scale(), None).unwrap();
        queryable.invoke(m).unwrap();
    }
    let counted = queryable.privacy_loss(1.0).unwrap() * kept.ledger.terms().order.to_f64();
    let spent = kept.ledger.totals().spent.decimal().to_f64();
    assert!(spent >= counted && spent <= counted + 1e-8, "{spent} spent, {counted} counted");
}

/// Mass of each whole number of −24 to 24 under the discrete Gaussian of this scale; all beyond goes to the ends.
fn masses(scale: f64) -> Vec<f64> {
    let weight = |x: i64| (-(x as f64).powi(2) / (2.0 * scale * scale)).exp();
    let all: f64 = (-400..=400).map(weight).sum();
    let at = |x: i64| if x.abs() < 24 { weight(x) } else { (24..=400).map(weight).sum() };
    (-24..=24).map(|x| at(x) / all).collect()
}

/// 20,000 values around a true count, against the exact masses of the discrete Gaussian: χ² over 49 cells of at least 16 expected values. The
/// generator is the operating system's, so a right program fails this about once in 10^9 runs (the 1 − 1e-9 quantile, 48 degrees of freedom).
#[test]
fn released_values_are_the_count_with_that_noise() {
    let (mut kept, scale, count) = (Kept::new("3000"), 8u64, 41i64);
    let (mut cells, total) = ([0u32; 49], 20_000u32);
    for id in 1..=2 {
        let payment = paid(&mut kept, id, 10_000, 1, scale * 1024);
        for value in gaussian_release(payment, &vec![count; 10_000]).unwrap().values {
            cells[usize::try_from((value - count).clamp(-24, 24) + 24).unwrap()] += 1;
        }
    }
    let distance = |deviation: f64| -> f64 {
        let expected = masses(deviation).into_iter().map(|p| f64::from(total) * p);
        cells.iter().zip(expected).map(|(seen, e)| (f64::from(*seen) - e).powi(2) / e).sum()
    };
    assert!(distance(8.0) < CHI, "{}", distance(8.0));
    assert!(distance(4.0) > CHI && distance(9.0) > CHI, "half the noise, or an eighth more, would be seen");
}

/// Scales that are chosen for a cost never cost more, and 1/1024 less would.
#[test]
fn the_scale_is_the_smallest_that_keeps_the_cost() {
    for target in [1e-6, 0.000_123, 0.01, 0.5, 2.0, 7.7] {
        for sensitivity in [1u64, 2, 3, 50] {
            let scale = scale_1024_for(target, sensitivity).unwrap();
            let rho = |s: u64| (sensitivity as f64 * 1024.0 / s as f64).powi(2) / 2.0;
            assert!(rho(scale) <= target && rho(scale - 1) > target * (1.0 - 1e-12), "{target} {sensitivity}");
        }
    }
    assert_eq!([0.0, -1.0, f64::NAN, f64::INFINITY, 1e-40].map(|t| scale_1024_for(t, 1)), [None; 5]);
}
