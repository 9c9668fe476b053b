//! Bounds for whatever values come in, and figures that are right without noise and inside their intervals with it.

use super::*;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};

fn layout(max_records: u32) -> Layout {
    let queries = vec![
        Query::Moments { column: "length".into(), low: 0.0, high: 200.0 },
        Query::Thresholds { column: "length".into(), cuts: (1..20).map(|i| f64::from(i) * 10.0).collect() },
        Query::Labels { column: "label".into(), labels: vec!["ham".into(), "spam".into()] },
    ];
    Layout::new(queries, max_records).unwrap()
}

fn cell<'a>(r: (f64, &'a str), column: &str) -> Option<Cell<'a>> {
    match column {
        "length" => Some(Cell::Number(r.0)),
        "label" => Some(Cell::Label(r.1)),
        _ => None,
    }
}

fn sum(l: &Layout, units: &[Vec<(f64, &str)>]) -> Vec<f64> {
    let mut out = vec![0.0; l.coordinates()];
    units.iter().flat_map(|u| l.contribution(u, cell)).for_each(|(at, n)| out[at as usize] += n as f64);
    out
}

fn people(n: usize, seed: u64) -> Vec<Vec<(f64, &'static str)>> {
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|i| vec![(dice.random_range(0.0..150.0f64) + dice.random_range(0.0..50.0), ["ham", "spam", "eggs"][i % 3])]).collect()
}

#[test]
fn without_noise_the_figures_are_those_of_the_records() {
    let (l, units) = (layout(1), people(3000, 1));
    let got = l.estimate(&sum(&l, &units), 0.0).unwrap();
    let values: Vec<f64> = units.iter().map(|u| u[0].0).collect();
    let mean = values.iter().sum::<f64>() / 3000.0;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 3000.0;
    let Estimate::Moments(m) = &got[0] else { panic!("moments first") };
    // Rounding towards the middle in steps of a thousandth of half the range.
    assert!((m.mean.unwrap().value - mean).abs() < 0.1 && (m.variance.unwrap().value - variance).abs() < 20.0, "{m:?} {mean} {variance}");
    let Estimate::Below { counts, .. } = &got[1] else { panic!("thresholds second") };
    assert!((counts[9].value - values.iter().filter(|x| **x < 100.0).count() as f64).abs() < 1e-9);
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    for (share, place) in [(0.05, 150), (0.5, 1500), (0.9, 2700)] {
        let q = got[1].quantile(share).unwrap();
        let truth = sorted[place];
        assert!((q.value - truth).abs() < 5.0 && q.holds(truth), "{q:?} {truth}");
    }
    let Estimate::Labels(labels) = &got[2] else { panic!("labels third") };
    assert_eq!(labels.iter().map(|f| f.value).collect::<Vec<_>>(), [1000.0, 1000.0, 1000.0]);
}

/// 300 worlds, nine figures each. An interval of 95 % misses for about 135 of 2,700. Even if all nine of a world fell together, that number
/// would have a deviation of 9·√(300·0.05·0.95) = 34: outside 135 ± 4·33 is a false alarm below 1e-4.
#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let (l, units) = (layout(1), people(2000, 2));
    let exact = l.estimate(&sum(&l, &units), 0.0).unwrap();
    let deviation = 40.0 * WHOLE as f64;
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    // Twelve uniform numbers less six: near enough to a normal law for an interval.
    let mut noise = || (0..12).map(|_| dice.random::<f64>()).sum::<f64>() - 6.0;
    let (mut missed, clean) = (0, sum(&l, &units));
    for _ in 0..300 {
        let noised: Vec<f64> = clean.iter().map(|x| x + deviation * noise()).collect();
        let got = l.estimate(&noised, deviation).unwrap();
        let (Estimate::Moments(a), Estimate::Moments(b)) = (&got[0], &exact[0]) else { panic!() };
        missed += usize::from(!a.count.holds(b.count.value));
        missed += usize::from(!a.mean.unwrap().holds(b.mean.unwrap().value));
        missed += usize::from(!a.variance.unwrap().holds(b.variance.unwrap().value));
        let (Estimate::Labels(a), Estimate::Labels(b)) = (&got[2], &exact[2]) else { panic!() };
        missed += a.iter().zip(b).filter(|(a, b)| !a.holds(b.value)).count();
        let (Estimate::Below { counts: a, .. }, Estimate::Below { counts: b, .. }) = (&got[1], &exact[1]) else { panic!() };
        missed += [2, 9, 18].iter().filter(|i| !a[**i].holds(b[**i].value)).count();
    }
    assert!((3..=267).contains(&missed), "{missed} of 2700");
}

#[test]
fn impossible_queries_are_refused() {
    let with = |q: Query| Layout::new(vec![q], 1).unwrap_err();
    let c = || "x".to_owned();
    assert_eq!(with(Query::Moments { column: c(), low: 1.0, high: 1.0 }), LayoutError::Range(0));
    assert_eq!(with(Query::Moments { column: c(), low: f64::NAN, high: 1.0 }), LayoutError::Range(0));
    assert_eq!(with(Query::Moments { column: c(), low: f64::MIN, high: f64::MAX }), LayoutError::Range(0));
    assert_eq!(with(Query::Moments { column: String::new(), low: 0.0, high: 1.0 }), LayoutError::Name(0));
    assert_eq!(with(Query::Thresholds { column: c(), cuts: vec![1.0, 1.0] }), LayoutError::Buckets(0));
    assert_eq!(with(Query::Labels { column: c(), labels: vec!["a".into(), "a".into()] }), LayoutError::Buckets(0));
    assert_eq!(Layout::new(Vec::new(), 1), Err(LayoutError::Queries(0)));
    assert!(matches!(layout(1).estimate(&[0.0], 1.0), Err(EstimateError::Length { got: 1, .. })));
    assert_eq!(
        layout(1).estimate(&vec![0.0; layout(1).coordinates()], f64::NAN).map_err(|e| e.to_string()),
        Err("the noise has a deviation of NaN".into())
    );
}

proptest! {
    #[test]
    fn no_unit_is_longer_than_the_bound(
        records in prop::collection::vec((any::<f64>(), prop::sample::select(vec!["ham", "spam", "x"])), 0..20),
        max_records in 1u32..12,
    ) {
        let l = layout(max_records);
        let part = l.contribution(&records, cell);
        let square: u128 = part.iter().map(|(_, n)| u128::from(n.unsigned_abs()).pow(2)).sum();
        prop_assert!(square <= u128::from(l.bound()).pow(2), "{} above {}", square, l.bound());
        prop_assert!(part.windows(2).all(|w| w[0].0 < w[1].0) && part.iter().all(|(at, _)| (*at as usize) < l.coordinates()));
    }

    #[test]
    fn any_sum_gives_figures_whose_intervals_hold_them(sum in prop::collection::vec(-1e7..1e7f64, 26), s in 0.0..1e6f64) {
        let l = layout(1);
        prop_assume!(sum.len() == l.coordinates());
        for e in l.estimate(&sum, s).unwrap() {
            let figures = match &e {
                Estimate::Moments(m) => [Some(m.count), m.mean, m.variance].into_iter().flatten().collect(),
                Estimate::Below { counts, .. } => counts.clone(),
                Estimate::Labels(l) => l.clone(),
            };
            prop_assert!(figures.iter().all(|f| f.low <= f.value && f.value <= f.high), "{:?}", figures);
            if let Some(q) = e.quantile(0.5) { prop_assert!(q.low <= q.value && q.value <= q.high); }
        }
    }
}
