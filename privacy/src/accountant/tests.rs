//! All rows of the reference file, and laws of the accountants.

use super::pld::{both_directions, delta_pld};
use super::*;
use std::collections::HashMap;

struct Row(HashMap<String, String>);

impl Row {
    fn text(&self, column: &str) -> &str {
        &self.0[column]
    }
    fn number(&self, column: &str) -> Option<f64> {
        self.0[column].parse().ok()
    }
    fn phases(&self) -> Vec<Phase> {
        let phase = |s: &str, q: &str, t: &str| {
            Some(Phase { noise_multiplier: self.number(s)?, sampling_rate: self.number(q)?, steps: self.text(t).parse().ok()? })
        };
        [phase("sigma", "q", "steps"), phase("sigma2", "q2", "steps2")].into_iter().flatten().collect()
    }
}

fn rows() -> Vec<Row> {
    let text = include_str!("../../tests/testdata/vectors/dp_reference.csv");
    let mut lines = text.lines().filter(|l| !l.starts_with('#'));
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines.map(|l| Row(head.iter().map(|h| h.to_string()).zip(l.split(',').map(str::to_owned)).collect())).collect()
}

fn near(got: f64, want: f64, relative: f64, what: &str) {
    assert!((got / want - 1.0).abs() <= relative, "{what}: got {got}, want {want}");
}

#[test]
fn rdp_meets_every_reference_row() {
    let mut met = 0;
    for row in rows() {
        let (Some(want), Some(delta)) = (row.number("eps_rdp"), row.number("delta")) else { continue };
        let got = epsilon_rdp(&row.phases(), delta).unwrap();
        near(got.epsilon, want, 1e-6, row.text("id"));
        near(got.order, row.number("rdp_order").unwrap(), 1e-9, row.text("id"));
        met += 1;
    }
    assert_eq!(met, 25);
}

#[test]
fn pld_meets_every_reference_row_and_is_never_above_rdp() {
    let mut met = 0;
    for row in rows() {
        let (Some(want), Some(delta)) = (row.number("eps_pld"), row.number("delta")) else { continue };
        let fine = row.number("eps_pld_fine").unwrap_or(want);
        let (got, id) = (epsilon_pld(&row.phases(), delta).unwrap(), row.text("id"));
        let close = |x: f64| (got / x - 1.0).abs() <= 1e-3;
        assert!(close(want) || close(fine), "{id}: {got}, want {want} or {fine}");
        assert!(got >= want.min(fine) * (1.0 - 3e-4), "{id}: {got} flatters {want}");
        assert!(got <= row.number("eps_rdp").unwrap(), "{id}");
        met += 1;
    }
    assert_eq!(met, 25);
}

#[test]
fn privacy_profile_meets_every_reference_row() {
    for row in rows().iter().filter(|r| !["R18", "R09"].contains(&r.text("id"))) {
        let (Some(want), Some(epsilon)) = (row.number("delta_pld"), row.number("eps_query")) else { continue };
        near(delta_pld(&row.phases(), epsilon), want, 1e-3, row.text("id"));
    }
}

#[test]
fn exact_answers_meet_the_reference_and_the_pld_meets_them() {
    for row in rows() {
        let (Some(want), Some(delta)) = (row.number("eps_exact"), row.number("delta")) else { continue };
        let exact = epsilon_exact(&row.phases(), delta).unwrap().unwrap();
        near(exact, want, 1e-6, row.text("id"));
        let pld = epsilon_pld(&row.phases(), delta).unwrap();
        assert!(pld >= exact * (1.0 - 1e-7) && pld <= exact * (1.0 + 1e-4), "{}: {pld} for {exact}", row.text("id"));
    }
}

#[test]
fn calibration_by_rdp_meets_every_reference_row() {
    for row in rows().iter().filter(|r| r.text("kind") == "calib") {
        let number = |c| row.number(c).unwrap();
        let steps = row.text("steps").parse().unwrap();
        let sigma = calibrate_rdp(number("target_eps"), number("q"), steps, number("delta")).unwrap();
        near(sigma, number("sigma_rdp"), 1e-5, row.text("id"));
    }
}

#[test]
fn calibration_by_pld_meets_reference_rows() {
    for row in rows().iter().filter(|r| r.text("kind") == "calib") {
        let number = |c| row.number(c).unwrap();
        let steps = row.text("steps").parse().unwrap();
        let sigma = calibrate(number("target_eps"), number("q"), steps, number("delta")).unwrap();
        near(sigma, number("sigma_pld"), 1e-3, row.text("id"));
        let phase = Phase { noise_multiplier: sigma, sampling_rate: number("q"), steps };
        assert!(epsilon_pld(&[phase], number("delta")).unwrap() <= number("target_eps"));
    }
}

/// privacy.md D50: which neighbour is worse, and by how much.
#[test]
fn removal_and_addition_cost_what_the_literature_says() {
    for ((sigma, q, steps), (remove, add)) in
        [((1.0, 0.01, 1000), (1.828, 1.417)), ((0.6, 0.02, 200), (7.260, 2.092)), ((1.0, 0.25, 50), (12.654, 6.843))]
    {
        let got = both_directions(&[Phase { noise_multiplier: sigma, sampling_rate: q, steps }], 1e-5);
        assert!((got.0 - remove).abs() < 2e-3 && (got.1 - add).abs() < 2e-3, "{got:?}");
    }
}

#[test]
fn more_steps_more_sampling_or_less_noise_never_cost_less() {
    let cost = |s, q, t| epsilon_pld(&[Phase { noise_multiplier: s, sampling_rate: q, steps: t }], 1e-5).unwrap();
    let base = cost(1.0, 0.02, 50);
    assert!(cost(1.0, 0.02, 60) > base && cost(1.0, 0.03, 50) > base && cost(0.95, 0.02, 50) > base);
}

#[test]
fn no_steps_cost_nothing_and_no_noise_costs_everything() {
    let phase = |s, q, t| [Phase { noise_multiplier: s, sampling_rate: q, steps: t }];
    assert_eq!(epsilon_pld(&phase(1.0, 0.1, 0), 1e-5), Ok(0.0));
    assert_eq!(epsilon_rdp(&phase(1.0, 0.1, 0), 1e-5).unwrap().epsilon, 0.0);
    assert_eq!(epsilon_exact(&phase(1.0, 1.0, 0), 1e-5), Ok(Some(0.0)));
    for q in [0.1, 1.0] {
        assert_eq!(epsilon_pld(&phase(0.0, q, 3), 1e-5), Ok(f64::INFINITY));
        assert_eq!(epsilon_rdp(&phase(0.0, q, 3), 1e-5).unwrap().epsilon, f64::INFINITY);
    }
    assert_eq!(epsilon_exact(&phase(0.0, 1.0, 1), 1e-5), Ok(Some(f64::INFINITY)));
}

#[test]
fn nonsense_is_a_typed_error() {
    let phase = |s, q, t| [Phase { noise_multiplier: s, sampling_rate: q, steps: t }];
    assert_eq!(epsilon_pld(&phase(-1.0, 0.1, 1), 1e-5), Err(AccountantError::NoiseMultiplier(-1.0)));
    assert_eq!(epsilon_pld(&phase(1.0, 0.0, 1), 1e-5), Err(AccountantError::SamplingRate(0.0)));
    assert_eq!(epsilon_pld(&phase(1.0, 1.5, 1), 1e-5), Err(AccountantError::SamplingRate(1.5)));
    assert_eq!(epsilon_pld(&phase(1.0, 0.5, 1), 0.0), Err(AccountantError::Delta(0.0)));
    assert_eq!(epsilon_pld(&phase(1.0, 0.5, 1), 1e-13), Err(AccountantError::DeltaTooSmall(1e-13)));
    assert!(epsilon_rdp(&phase(f64::NAN, 0.5, 1), 1e-5).is_err());
    for target in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(calibrate(target, 0.1, 10, 1e-5), Err(AccountantError::Target(target)));
    }
    assert!(matches!(calibrate(f64::NAN, 0.1, 10, 1e-5), Err(AccountantError::Target(_))));
}

/// ∫ N(0,σ²)·((1−q) + q·e^((2z−1)/2σ²))^α dz by the trapezoidal rule, which converges geometrically for such integrands.
fn divergence_by_quadrature(sigma: f64, q: f64, alpha: f64) -> f64 {
    let term = |k: i32| {
        let z = f64::from(k) / 200.0 * sigma;
        let ratio = (1.0 - q) + q * ((2.0 * z - 1.0) / (2.0 * sigma * sigma)).exp();
        (alpha * ratio.ln() - z * z / (2.0 * sigma * sigma)).exp()
    };
    let integral = (-4000..=12_000).map(term).sum::<f64>() / 200.0 / (2.0 * std::f64::consts::PI).sqrt();
    integral.ln() / (alpha - 1.0)
}

#[test]
fn renyi_costs_are_the_integral_or_above_it() {
    for (sigma, q) in [(0.7, 0.01), (1.0, 0.25), (3.0, 0.2), (8.0, 0.5)] {
        for alpha in [1.5, 2.0, 2.4, 3.6, 7.8, 12.0, 20.0] {
            let (got, exact) = (rdp::step_rdp(sigma, q, alpha).unwrap(), divergence_by_quadrature(sigma, q, alpha));
            assert!(got >= exact * (1.0 - 1e-9), "{sigma} {q} {alpha}: {got} below {exact}");
            // Integer orders are exact; fractional ones may be above (absolute values of alternating binomials).
            assert!(alpha.fract() != 0.0 || got <= exact * (1.0 + 1e-9), "{sigma} {q} {alpha}: {got} above {exact}");
        }
    }
}

/// ρ-zCDP of one Gaussian release to (ε, δ), pinned values of privacy.md D49, by OpenDP and by the exact curve.
#[cfg(feature = "opendp")]
#[test]
fn opendp_gives_the_pinned_conversions() {
    for (rho, delta, zcdp, gaussian) in [
        (0.5, 1e-5, 4.728386985, 4.377178096),
        (0.1, 1e-5, 1.914238832, 1.760057150),
        (0.02, 1e-6, 0.899935268, 0.834117549),
        (2.0, 1e-6, 11.688596249, 10.997151214),
        (1.0, 1e-9, 9.521463672, 9.092558369),
    ] {
        near(crate::noise::giant::zcdp_epsilon(rho, delta).unwrap(), zcdp, 1e-8, "zCDP");
        let sigma = (0.5_f64 / rho).sqrt();
        let phase = Phase { noise_multiplier: sigma, sampling_rate: 1.0, steps: 1 };
        near(epsilon_exact(&[phase], delta).unwrap().unwrap(), gaussian, 1e-9, "Gaussian");
    }
}
