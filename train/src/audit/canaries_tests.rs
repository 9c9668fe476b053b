//! Canaries by themselves: where they go, and what is seen of them.

use super::*;
use crate::model::embedding::TOKENS;
use crate::model::initial;
use crate::model::parameters::{Trained, Weights};
use crate::testing::{data, plan, small_config};

#[test]
fn canaries_stand_where_no_record_moves_anything() {
    let (config, data) = (small_config(), data(8));
    let weights: Weights = initial(&config, 1).unwrap();
    let (width, most) = (size(config.width), size(config.max_tokens));
    let read = read(&Config::of_plan(&config, Trained::Kept).unwrap(), &data, most);
    let places = quiet((weights.table(), TOKENS), &read, width, 10).unwrap();
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), 10, "directions of their own");
    let start = weights.table().find(TOKENS).unwrap().offset;
    for place in places {
        let token = u32::try_from((place - start) / width).unwrap();
        assert!(data.records().all(|r| !r.tokens.contains(&token)), "token {token} occurs");
    }
    assert!(matches!(quiet((weights.table(), TOKENS), &read, width, 0), Err(AuditRunError::Directions { wanted: 0, .. })));
    assert!(matches!(quiet((weights.table(), "classifier.weight"), &read, width, 1), Err(AuditRunError::Directions { there: 0, .. })));
}

/// Only those that are in and in the sample move the sum, each by its own bound along its own direction.
#[test]
fn a_canary_moves_its_direction_by_the_clip_bound() {
    let plan = plan(small_config(), 1, "1", "1");
    let m = Mechanism::new(&plan.privacy, plan.dimension(), 10).unwrap();
    let mut canaries = Canaries::new(vec![5, 9, 7], &[true, false, true]);
    assert_eq!(canaries.inside(), 2);
    let mut sum = UnitSum::new(&m);
    canaries.add_to(&mut sum, [1].into_iter(), &m).unwrap();
    let paid = privacy::ledger::Paid::for_test(&m, ManifestDigest([1; 32]), 1, 1).next_step().unwrap();
    let mut noise = Stream::open(&mut privacy::noise::SeededEntropy::new(1), &paid.context()).unwrap();
    let again = Stream::open(&mut privacy::noise::SeededEntropy::new(1), &paid.context()).unwrap();
    let noised = sum.noised(paid, &m, &mut noise).unwrap();
    let paid = privacy::ledger::Paid::for_test(&m, ManifestDigest([1; 32]), 1, 1).next_step().unwrap();
    let mut again = again;
    let alone = UnitSum::new(&m).noised(paid, &m, &mut again).unwrap();
    let moved: Vec<(usize, i64)> =
        noised.values().iter().zip(alone.values()).map(|(a, b)| a - b).enumerate().filter(|(_, d)| *d != 0).collect();
    let [(place, by)] = moved[..] else { panic!("{moved:?}") };
    assert_eq!(place, 7);
    let expected = Expected::of_plan(&plan, 10, m.noise_multiplier_accounted());
    assert!((by as f64 / m.delta_grid() - reach(&expected)).abs() < 1e-4, "{by}");
    canaries.see(noised.values());
    canaries.see(alone.values());
    assert_eq!(canaries.scores[2], noised.values()[7] + alone.values()[7]);
    let mut sum = UnitSum::new(&m);
    assert!(Canaries::new(vec![usize::MAX], &[true]).add_to(&mut sum, [0].into_iter(), &m).is_err());
}
