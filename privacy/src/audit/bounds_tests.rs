//! Bounds meet the reference, and move the way they must.

use super::*;

/// Every row of the file, to 1e-5 (privacy.md D70).
#[test]
fn one_run_bounds_meet_every_reference_row() {
    let rows =
        include_str!("../../tests/testdata/vectors/audit_reference.csv").lines().filter(|l| l.starts_with(|c: char| c.is_ascii_digit()));
    let mut met = 0;
    for row in rows {
        let fields: Vec<&str> = row.split(',').collect();
        let (count, number) = (|i: usize| fields[i].parse::<u64>().unwrap(), |i: usize| fields[i].parse::<f64>().unwrap());
        let (g, delta) = (Guesses::new(count(0), count(1), count(2)).unwrap(), number(4));
        let lower = g.epsilon_lower(delta, number(3)).unwrap();
        assert!((lower - number(5)).abs() < 1e-5, "{row}: {lower}");
        let p = g.p_value(1.0, delta);
        assert!((p - number(6)).abs() < 1e-5 && (p / number(6) - 1.0).abs() < 1e-5, "{row}: {p}");
        met += 1;
    }
    assert_eq!(met, 13);
}

/// Where the bounds are solutions of simple equations: none of n, all of n, and half a page of a printed table (5 of 10: 0.187 to 0.813).
#[test]
fn clopper_pearson_gives_known_intervals() {
    for n in [1u64, 7, 2000, 1_000_000] {
        let none = 1.0 - 0.025f64.powf(1.0 / n as f64);
        assert!((clopper_pearson_upper(0, n, 0.025).unwrap() / none - 1.0).abs() < 1e-7);
        assert!((clopper_pearson_lower(n, n, 0.025).unwrap() - (1.0 - none)).abs() < 1e-12);
        assert!(
            (clopper_pearson_upper(n, n, 0.025).unwrap() - 1.0).abs() < 1e-15 && clopper_pearson_lower(0, n, 0.025).unwrap().abs() < 1e-15
        );
    }
    assert!((clopper_pearson_lower(5, 10, 0.025).unwrap() - 0.187_086).abs() < 1e-6);
    assert!((clopper_pearson_upper(5, 10, 0.025).unwrap() - 0.812_914).abs() < 1e-6);
}

#[test]
fn intervals_hold_what_was_seen_and_shrink_with_more_of_it() {
    for (k, n) in [(0u64, 10u64), (3, 10), (10, 10), (500, 2000), (1999, 2000)] {
        let (low, high) = (clopper_pearson_lower(k, n, 0.05).unwrap(), clopper_pearson_upper(k, n, 0.05).unwrap());
        assert!(low <= k as f64 / n as f64 && k as f64 / n as f64 <= high);
        assert!(
            clopper_pearson_lower(10 * k, 10 * n, 0.05).unwrap() >= low && clopper_pearson_upper(10 * k, 10 * n, 0.05).unwrap() <= high
        );
        assert!(clopper_pearson_upper(k, n, 0.01).unwrap() >= high, "more confidence, wider");
    }
}

/// Fewer mistakes, smaller δ and less confidence never prove less; more runs with the same rates never prove less.
#[test]
fn bounds_on_epsilon_are_monotone() {
    let m =
        |false_positives: u64, false_negatives: u64, runs: u64| Mistakes { false_positives, without: runs, false_negatives, with: runs };
    let bound = |m: Mistakes, delta: f64, alpha: f64| epsilon_lower(&m, delta, alpha).unwrap();
    for wrong in 0..40 {
        assert!(bound(m(wrong, 50, 100), 1e-5, 0.05) >= bound(m(wrong + 1, 50, 100), 1e-5, 0.05));
        assert!(bound(m(30, wrong, 100), 1e-5, 0.05) >= bound(m(30, wrong + 1, 100), 1e-5, 0.05));
        assert!(bound(m(wrong, wrong, 100), 1e-5, 0.05) >= bound(m(wrong, wrong, 100), 1e-2, 0.05));
        assert!(bound(m(wrong, wrong, 100), 1e-5, 0.05) >= bound(m(wrong, wrong, 100), 1e-5, 0.01));
        assert!(bound(m(10 * wrong, 100, 1000), 1e-5, 0.05) >= bound(m(wrong, 10, 100), 1e-5, 0.05));
    }
    assert!(bound(m(0, 0, 100), 1e-5, 0.05) > 3.0 && bound(m(50, 50, 100), 1e-5, 0.05) == 0.0);
    let one = |correct: u64, delta: f64, alpha: f64| Guesses::new(1000, 100, correct).unwrap().epsilon_lower(delta, alpha).unwrap();
    for correct in 0..100 {
        assert!(one(correct, 1e-5, 0.05) <= one(correct + 1, 1e-5, 0.05));
        assert!(one(correct, 1e-4, 0.05) <= one(correct, 1e-5, 0.05));
        assert!(one(correct, 1e-5, 0.01) <= one(correct, 1e-5, 0.05));
    }
}

#[test]
fn p_values_grow_with_epsilon_and_delta() {
    for (canaries, guesses, correct) in [(1000u64, 100u64, 90u64), (200, 200, 120), (5000, 2000, 2000), (100_000, 1, 1), (10, 10, 0)] {
        let g = Guesses::new(canaries, guesses, correct).unwrap();
        for step in 0..60 {
            let epsilon = f64::from(step) / 5.0;
            let p = g.p_value(epsilon, 1e-5);
            assert!((0.0..=1.0).contains(&p) && p <= g.p_value(epsilon + 0.2, 1e-5) + 1e-12 && p <= g.p_value(epsilon, 1e-3) + 1e-15);
        }
    }
}

/// Two coins that differ by exactly e^ε: rates of the best attacker prove that ε, and no attacker more.
#[test]
fn randomised_response_is_told_its_own_epsilon() {
    for epsilon in [0.1f64, 1.0, 4.0] {
        let wrong = 1.0 / (1.0 + epsilon.exp());
        assert!((epsilon_of_rates(wrong, wrong, 0.0) - epsilon).abs() < 1e-12);
        assert!(epsilon_of_rates(wrong, wrong, 1e-3) < epsilon);
    }
    assert!(epsilon_of_rates(1.0, 1.0, 0.0) == 0.0 && epsilon_of_rates(0.0, 0.0, 0.0).is_infinite());
}

#[test]
fn mu_is_the_distance_in_deviations() {
    // Two points each: deviations √2, means 3 apart.
    let estimate = MuEstimate::of(&[4.0, 2.0], &[1.0, -1.0]).unwrap();
    assert!((estimate.mu - 3.0 / 2f64.sqrt()).abs() < 1e-12);
    let many = MuEstimate { mu: 1.0, runs: 2000 };
    assert!((many.standard_error(0.0) - 0.001f64.sqrt()).abs() < 1e-15 && many.standard_error(2.0) > many.standard_error(1.0));
    // ε of σ = 1 at δ = 1e-5 (privacy.md D49).
    assert!((many.epsilon(1e-5).unwrap() - 4.377_178_096).abs() < 1e-8);
    assert!(MuEstimate { mu: 2.0, runs: 9 }.epsilon(1e-5).unwrap() > many.epsilon(1e-5).unwrap());
    assert_eq!(MuEstimate { mu: -1.0, runs: 9 }.epsilon(1e-5), Ok(0.0));
    assert_eq!(MuEstimate::of(&[1.0; 3], &[1.0; 3]).unwrap().mu, 0.0);
    assert_eq!(MuEstimate::of(&[2.0; 3], &[1.0; 3]).unwrap().epsilon(1e-5), Ok(f64::INFINITY));
}

#[test]
fn numbers_that_are_no_counts_are_refused() {
    assert_eq!(Guesses::new(10, 11, 1), Err(BoundsError::Counts { hits: 11, tries: 10 }));
    assert_eq!(Guesses::new(10, 5, 6), Err(BoundsError::Counts { hits: 6, tries: 5 }));
    assert!(Guesses::new(1_000_001, 5, 5).is_err() && Guesses::new(0, 0, 0).is_err());
    assert!((Guesses::new(10, 5, 5).unwrap().p_value(f64::INFINITY, 1e-5) - 1.0).abs() < 1e-12);
    assert!(Guesses::new(10, 0, 0).unwrap().epsilon_lower(0.0, 0.05) == Ok(0.0));
    let g = Guesses::new(10, 5, 5).unwrap();
    assert_eq!(g.epsilon_lower(1.0, 0.05), Err(BoundsError::Delta(1.0)));
    assert_eq!(g.epsilon_lower(0.0, 0.0), Err(BoundsError::Significance(0.0)));
    assert!(
        clopper_pearson_upper(3, 2, 0.05).is_err()
            && clopper_pearson_lower(3, 2, 0.05).is_err()
            && clopper_pearson_upper(0, 0, 0.05).is_err()
    );
    assert!(MuEstimate::of(&[1.0], &[1.0]).is_err() && MuEstimate::of(&[1.0, 2.0], &[1.0, 2.0, 3.0]).is_err());
}
