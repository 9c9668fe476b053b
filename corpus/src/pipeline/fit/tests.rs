use super::*;
use crate::pipeline::rules::Rules;
use crate::pipeline::rules::tests::minimal;

fn fitted(keys: &str, values: &[Option<f64>]) -> Result<ColumnFit, FitError> {
    let more = format!("[[columns]]\nname = \"n\"\nrole = \"feature\"\ntype = \"number\"\n{keys}");
    let rules = Rules::parse(&minimal(false, &more)).unwrap();
    let mut fitter = Fitter::new(&rules.columns);
    for (row, value) in (1u64..).zip(values) {
        fitter.take(row, &[Cell::Missing, Cell::Missing, value.map_or(Cell::Missing, Cell::Number)]);
    }
    fitter.finish().map(|fits| fits[2].clone().unwrap())
}

const VALUES: [Option<f64>; 8] = [Some(1.0), Some(2.0), Some(3.0), None, Some(4.0), Some(5.0), Some(5.0), Some(100.0)];

#[test]
fn constants_are_those_worked_out_by_hand() {
    let fill = |how: &str| fitted(&format!("missing = \"{how}\""), &VALUES).unwrap().fill.unwrap();
    assert_eq!(fill("mean").number(), Some(120.0 / 7.0));
    assert_eq!(fill("median").number(), Some(4.0));
    assert_eq!(fill("mode").number(), Some(5.0));
    let limits = |method: &str, limit: &str| {
        let keys = format!("outliers = {{ method = \"{method}\", limit = {limit}, action = \"drop\" }}");
        fitted(&keys, &VALUES).unwrap().limits.unwrap()
    };
    // Deviations from the median 4: 3 2 1 0 1 1 96, their median 1.
    let (low, high) = limits("mad", "2");
    assert!((low - (4.0 - 2.9652)).abs() < 1e-9 && (high - (4.0 + 2.9652)).abs() < 1e-9);
    // Quartiles of 1 2 3 4 5 5 100 are 2.5 and 5.
    assert_eq!(limits("iqr", "1.5"), (2.5 - 3.75, 5.0 + 3.75));
    let (low, high) = limits("quantile", "0.25");
    assert_eq!((low, high), (2.5, 5.0));
    let (low, high) = limits("z-score", "1");
    let mean = 120.0 / 7.0;
    let deviation = (VALUES.iter().flatten().map(|v| (v - mean).powi(2)).sum::<f64>() / 6.0).sqrt();
    assert!((low - (mean - deviation)).abs() < 1e-9 && (high - (mean + deviation)).abs() < 1e-9);
}

#[test]
fn nothing_is_fitted_from_nothing() {
    for keys in
        ["missing = \"mean\"", "missing = \"median\"", "missing = \"mode\"", "outliers = { method = \"iqr\", limit = 1, action = \"cap\" }"]
    {
        assert_eq!(fitted(keys, &[None, None]), Err(FitError::NoValues { column: "n".into() }), "{keys}");
    }
}

/// A sample of 2^17 of 400,000 rows: quantiles err by 0.4 % of the rows at three standard deviations. The rows are fixed, no false alarm.
#[test]
fn quantiles_of_many_rows_are_those_of_a_fair_sample() {
    let values: Vec<Option<f64>> = (0..400_000u32).map(|n| Some(f64::from(n))).collect();
    let fit = fitted("missing = \"median\"", &values).unwrap();
    assert!(fit.sampled);
    let median = fit.fill.unwrap().number().unwrap();
    assert!((median - 200_000.0).abs() < 1_600.0, "{median}");
}
