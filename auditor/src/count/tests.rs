//! Documents by hand, sums that no plan has, and hostile bytes. That whole documents are those that the federation publishes is held by
//! `tests/tests/next_document.rs`; what altered ones come to, by the stories of `snapshots`.

use super::*;
use crate::step::Mass;
use crate::tests::story;
use crate::tests::twist::Twist;
use proptest::prelude::*;
use protocol::ids::{GroupId, ShardId};
use serde_json::Value;

fn opened(sum: Vec<i64>, members: u16) -> [Opened; 1] {
    let mass = Mass { members, weight: None, units: None };
    [Opened { group: GroupId(0), values: vec![(ShardId(0), sum)], mass }]
}

fn first(plan: &Plan, sum: Vec<i64>, members: u16) -> Result<Vec<u8>, CountError> {
    advance(plan, &nothing(plan).unwrap(), &opened(sum, members))
}

/// A grid step is a 16th of a 1024th of a record, and a middle limb 2^15 of them: two records. Noise of 768 steps at each of four
/// institutions is 0.09375 records in the sum.
#[test]
fn figures_are_those_that_one_computes_by_hand() {
    let plan = story::plan(Twist::Counts);
    let middle = [50, 10, 30, 5, 10, 10, 20, 0, -3];
    let bytes = first(&plan, [0; 9].into_iter().chain(middle).chain([0; 9]).collect(), 4).unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(
        text.starts_with(r#"{"version":1,"rounds":1,"institutions":4,"deviation":0.09375,"what":{"statistics":{"answers":[{"query":{"#),
        "{text}"
    );
    let known: Value = serde_json::from_str(text).unwrap();
    let answers = &known["what"]["statistics"]["answers"];
    let near = |figure: &Value, value: f64, deviation: f64| {
        let half = 1.959_963_984_540_054 * deviation;
        for (name, expected) in [("value", value), ("low", value - half), ("high", value + half)] {
            let got = figure[name].as_f64().unwrap();
            assert!((got - expected).abs() < 1e-9 * expected.abs().max(1.0), "{name}: {got} for {expected}");
        }
    };
    let (s, moments) = (0.09375, &answers[0]["answer"]["moments"]);
    near(&moments["count"], 100.0, s);
    // Places in the range: 20 of 100 above its middle on the average, 60 of 100 squared.
    near(&moments["mean"], -10.0 + 50.0 * 1.2, 50.0 * s / 100.0 * 1.04f64.sqrt());
    near(&moments["variance"], 2500.0 * (0.6 - 0.04), 2500.0 * s / 100.0 * ((0.08f64 - 0.6).powi(2) + 0.16 + 1.0).sqrt());
    for (at, (count, numbers)) in [(10.0, 1.0f64), (30.0, 2.0), (50.0, 3.0)].into_iter().enumerate() {
        near(&answers[1]["answer"]["below"]["counts"][at], count, s * numbers.sqrt());
    }
    near(&answers[2]["answer"]["labels"][0], 40.0, s);
    let nothing = serde_json::json!({"value": 0.0, "low": 0.0, "high": 0.0});
    assert_eq!(answers[2]["answer"]["labels"][2], nothing, "no count is below nothing");
    assert_eq!(answers[0]["query"], serde_json::json!({"kind": "moments", "column": "amount", "low": -10.0, "high": 90.0}));
}

/// A count that may be nothing has no mean.
#[test]
fn too_few_have_no_mean() {
    let plan = story::plan(Twist::Counts);
    let text = String::from_utf8(first(&plan, vec![0; 27], 3).unwrap()).unwrap();
    assert!(text.contains(r#""mean":null,"variance":null"#), "{text}");
}

#[test]
fn words_grow_from_the_characters_that_were_common() {
    let plan = story::plan(Twist::CountsWords);
    let mut sum = vec![0; 4096];
    // A record is 16 steps; the threshold of four and a half deviations lies at 5986.
    for (at, n) in [(97, 9000), (99, 6000), (98, 7000), (100, 5900), (101, -9000)] {
        sum[at] = n;
    }
    let first = first(&plan, sum, 3).unwrap();
    let text = std::str::from_utf8(&first).unwrap();
    let search = concat!(
        r#""search":{"settings":{"coordinates":4096},"stage":{"words":{"narrow":{"alphabet":["a","b","c"],"open":[""],"extension":6,"start":0},"#,
        r#""wide":{"alphabet":[],"open":[""],"extension":0,"start":4096}}},"found":{},"rest":{},"characters":{"a":563,"b":438,"c":375}}"#
    );
    assert!(text.contains(search), "{text}");
    // Digits to base 4: ab and its end, the end alone, something behind an end, six characters.
    let mut sum = vec![0; 4096];
    for at in [1024 + 512, 0, 1024 + 1, 1755] {
        sum[at] = 8000;
    }
    let second = advance(&plan, &first, &opened(sum, 3)).unwrap();
    let text = std::str::from_utf8(&second).unwrap();
    assert!(text.contains(r#""open":["abcabc"],"extension":6"#), "{text}");
    assert!(text.contains(r#""found":{"ab":500},"rest":{"abcabc":500},"characters":{"a":563,"b":438,"c":375}}"#), "{text}");
}

#[test]
fn sums_and_documents_of_other_plans_are_refused() {
    let (figures, words) = (story::plan(Twist::Counts), story::plan(Twist::CountsWords));
    assert_eq!(first(&figures, vec![0; 26], 3), Err(CountError::Length { got: 26, expected: 27 }));
    assert_eq!(advance(&figures, &nothing(&figures).unwrap(), &[]), Err(CountError::Length { got: 0, expected: 27 }));
    assert_eq!(advance(&words, &nothing(&figures).unwrap(), &opened(vec![0; 4096], 3)), Err(CountError::Document));
    assert_eq!(nothing(&story::plan(Twist::None)), Err(CountError::Trains));
    assert_eq!(first(&figures, vec![i64::MAX; 27], 3), Err(CountError::Beyond));
    type Change = fn(&mut Plan);
    let changes: [(Change, &str); 4] = [
        (|p| p.privacy.grid_bits = 25, "grid"),
        (|p| p.groups[0].bits = 33, "limbs"),
        (|p| p.privacy.noise_multiplier = Decimal::ZERO, "noise multiplier"),
        (
            |p| {
                let Some(Counted::Statistics { queries }) = p.count.as_mut().map(|c| &mut c.what) else { return };
                let Some(Query::Moments { low, high, .. }) = queries.first_mut() else { return };
                std::mem::swap(low, high);
            },
            "ranges",
        ),
    ];
    let before = nothing(&figures).unwrap();
    for (change, what) in changes {
        let mut plan = figures.clone();
        change(&mut plan);
        assert_eq!(advance(&plan, &before, &opened(vec![0; 27], 3)), Err(CountError::Plan(what)));
    }
}

#[test]
fn the_deviation_is_rounded_up_to_1024ths_of_a_grid_step() {
    let sigma = |text: &str, g| sigma_1024(text.parse().unwrap(), g);
    assert_eq!([sigma("3", 8), sigma("0.000001", 8), sigma("0.5", 10)], [Some(3 << 18), Some(1), Some(1 << 19)]);
    assert_eq!(sigma("0.333333333333333333", 8), Some(87_382));
    assert_eq!(sigma("999999999999999999", 24), None);
}

#[test]
fn the_first_difference_is_named_and_shown_without_control_characters() {
    let differ = |a: &str, b: &str| first_difference(a.as_bytes(), b.as_bytes()).map(|d| d.to_string());
    assert_eq!(differ("{\"a\":[1,2]}", "{\"a\":[1,3]}").unwrap(), "/a/1 is stated as 2, came out as 3");
    assert_eq!(differ("{\"a\":1}", "{\"a\":1,\"b\":2}").unwrap(), "/b is stated as null, came out as 2");
    assert_eq!(differ("[]", "[7]").unwrap(), "/0 is stated as null, came out as 7");
    assert_eq!((differ("{ \"a\": 1 }", "{\"a\":1}"), differ("{", "{}")), (None, None));
    let hostile = differ("{\"\u{9b}31m\u{7f}\":\"\u{9b}\"}", "{}").unwrap();
    assert!(!hostile.contains(char::is_control), "{hostile:?}");
}

proptest! {
    /// A document before a round may be anybody's: an error or a document, never a panic, and no more work than its bytes.
    #[test]
    fn any_bytes_before_a_round_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..120), at in any::<prop::sample::Index>(), to in any::<u8>(), words in any::<bool>()) {
        let plan = story::plan(if words { Twist::CountsWords } else { Twist::Counts });
        let sum = vec![9000; usize::try_from(plan.dimension()).unwrap()];
        prop_assert!(advance(&plan, &bytes, &opened(sum.clone(), 3)).is_err());
        let mut near = first(&plan, sum.clone(), 3).unwrap();
        *at.get_mut(&mut near) = to;
        drop(advance(&plan, &near, &opened(sum, 3)));
    }
}
