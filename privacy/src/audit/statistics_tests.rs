//! Each figure catches what it is there for, on made-up values whose law is known. Fixed values; a right figure passes by far.

use super::super::payment::REAL;
use super::*;
use crate::noise::{Noise, Sampler, SeededEntropy};

const S: f64 = 65_536.0;

fn subject(multiplier: &str) -> Subject {
    Subject::built_in(multiplier.parse().unwrap(), multiplier.parse().unwrap()).unwrap()
}

fn expected() -> Expected {
    subject("1").claim(REAL.make, DIMENSION).unwrap().1
}

/// Noise of a right program with a seed. False alarm of what follows: 5.8e-7 each.
fn noise(seed: u64, multiplier: &str) -> Vec<Vec<f64>> {
    let mut payments = Payments::new(&subject(multiplier), REAL, DIMENSION).unwrap();
    silent(&mut payments, &mut SeededEntropy::new(seed)).unwrap()
}

#[test]
fn noise_of_another_deviation_does_not_fit() {
    assert!(!fit(&noise(1, "1"), &expected()).fails());
    for multiplier in ["0.95", "1.05"] {
        assert!(fit(&noise(1, multiplier), &expected()).fails(), "{multiplier}");
    }
}

/// D21: at a deviation of one grid step the two laws are far apart, and each fits its own masses only. 5.8e-7 for each; seeds are fixed.
#[test]
fn each_law_fits_its_own_masses() {
    let laws = [NoiseKind::RoundedGaussian, NoiseKind::DiscreteGaussian];
    let context = StepContext { manifest: ManifestDigest([0; 32]), ledger_counter: 0, step: 0 };
    for drawn in laws {
        let mut stream = Stream::<Noise>::open(&mut SeededEntropy::new(1), &context).unwrap();
        let values: Vec<f64> = Sampler::of(drawn, 1024).draw(&mut stream, 200_000).into_iter().map(|v| v as f64).collect();
        for claimed in laws {
            let mut plan = subject("1").plan(Decimal::ONE, Decimal::ONE, 1);
            (plan.privacy.noise, plan.privacy.grid_bits) = (claimed, 10);
            // One grid step is 2^-10 of the sensitivity.
            let one_step = Expected::of_plan(&plan, 1000, "0.0009765625".parse().unwrap());
            assert_eq!(fit(std::slice::from_ref(&values), &one_step).fails(), drawn != claimed, "{drawn:?} as {claimed:?}");
        }
    }
}

#[test]
fn chances_of_all_cells_are_one() {
    for (law, s) in [(NoiseKind::DiscreteGaussian, 1.0), (NoiseKind::DiscreteGaussian, 300.0), (NoiseKind::RoundedGaussian, 2.0)] {
        let edges = [-1.5, 0.5, 7.5];
        let all: f64 = chances(law, s, &edges).iter().sum();
        assert!((all - 1.0).abs() < 1e-12, "{law:?} {s}: {all}");
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
    let (m, wrong) = (sampler().unwrap(), crate::mechanism::tests::mechanism("1", "0.11", 16, 64));
    assert!(sampling(&m, 0.1, &mut SeededEntropy::new(3)).unwrap().iter().all(|c| !c.fails()));
    assert!(sampling(&wrong, 0.1, &mut SeededEntropy::new(3)).unwrap()[0].fails());
}

#[test]
fn a_figure_that_is_no_number_fails() {
    assert!(normal("nothing", f64::NAN).fails() && normal("everything", f64::INFINITY).fails() && !normal("zero", 0.0).fails());
    assert_eq!(TENSORS.iter().map(|(_, len)| len).sum::<usize>(), DIMENSION);
}
