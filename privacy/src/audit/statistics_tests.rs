//! Each figure catches what it is there for, on made-up values whose law is known. Fixed values; a right figure passes by far.

use super::*;
use crate::noise::SeededEntropy;

const S: f64 = 65_536.0;

/// Noise of a right program with a seed. False alarm of what follows: 5.8e-7 each.
fn noise(seed: u64, multiplier: &str) -> Vec<Vec<f64>> {
    let mut payments = Payments::new(multiplier.parse().unwrap(), Decimal::new(1, 0).unwrap(), DIMENSION as u64).unwrap();
    silent(&mut payments, &mut SeededEntropy::new(seed)).unwrap()
}

#[test]
fn noise_of_another_deviation_does_not_fit() {
    assert!(!fit(&noise(1, "1"), S).fails());
    for multiplier in ["0.95", "1.05"] {
        assert!(fit(&noise(1, multiplier), S).fails(), "{multiplier}");
    }
}

#[test]
fn noise_that_is_used_again_is_correlated() {
    let (ours, theirs) = (noise(1, "1"), noise(2, "1"));
    assert!(correlations(&ours, &theirs, S).iter().all(|c| !c.fails()));
    let failing = |ours: &[Vec<f64>], theirs: &[Vec<f64>]| correlations(ours, theirs, S).map(|c| c.fails());
    assert_eq!(failing(&ours, &ours), [false, false, true], "two institutions with one seed");
    // Repeating a step repeats its chance correlations as well, so only the figure that is there for it is asked.
    assert!(failing(&vec![ours[0].clone(); SILENT], &theirs)[1], "one step again and again");
    let doubled: Vec<Vec<f64>> = ours.iter().map(|v| v.iter().flat_map(|x| [*x, *x]).take(DIMENSION).collect()).collect();
    assert!(failing(&doubled, &theirs)[0], "every value twice");
}

/// A loader that takes every tenth unit in turn includes everybody as often as it should, and never varies: sizes and inclusions tell.
#[test]
fn fixed_batches_are_no_poisson_sample() {
    let sizes = chi_square("sizes", 0.0, real(SAMPLED.0));
    assert!(sizes.fails() && sizes.least > 200.0 && sizes.most < 600.0);
    let (m, wrong) = (
        mechanism("1".parse().unwrap(), "0.1".parse().unwrap(), 64).unwrap(),
        mechanism("1".parse().unwrap(), "0.11".parse().unwrap(), 64).unwrap(),
    );
    assert!(sampling(&m, 0.1, &mut SeededEntropy::new(3)).unwrap().iter().all(|c| !c.fails()));
    assert!(sampling(&wrong, 0.1, &mut SeededEntropy::new(3)).unwrap()[0].fails());
}

#[test]
fn a_figure_that_is_no_number_fails() {
    assert!(normal("nothing", f64::NAN).fails() && normal("everything", f64::INFINITY).fails() && !normal("zero", 0.0).fails());
    assert_eq!(TENSORS.iter().map(|(_, len)| len).sum::<usize>(), DIMENSION);
}
