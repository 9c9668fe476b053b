//! What is hidden, how much of it, and that nothing but the record and the step decide.

use super::*;
use crate::batch::Batch;
use crate::capture::Tape;
use crate::model::{Config, Objective, Trained, Transformer, TransformerWeights};
use crate::testing::small_masked;
use proptest::prelude::*;

const MASK: u32 = 0;

fn masks(step: u64) -> Masks {
    Masks::of_pass(&small_masked(), 3, step).unwrap()
}

/// A mark in front of `length` tokens of text.
fn record(length: u32) -> Record {
    let tokens: Vec<u32> = std::iter::once(1).chain((0..length).map(|i| 3 + i * 5 % 21)).collect();
    let labels = askable(&tokens, |at| at > 0);
    Record { tokens, class: 0, labels }
}

#[test]
fn a_model_that_is_asked_for_something_else_hides_nothing() {
    assert!(Masks::of_judgement(&crate::testing::small_config()).is_none());
}

#[test]
fn a_share_of_the_tokens_is_asked_for_and_of_a_short_text_one() {
    for (length, wanted) in [(0, 0), (1, 1), (3, 1), (9, 1)] {
        let hidden = masks(1).hide(&record(length));
        assert_eq!(hidden.labels.iter().filter(|&&l| l != UNASKED).count(), wanted, "{length}");
    }
    let long = EncoderConfig { max_tokens: 201, ..small_masked() };
    let hidden = Masks::of_pass(&long, 3, 1).unwrap().hide(&record(200));
    assert_eq!(hidden.labels.iter().filter(|&&l| l != UNASKED).count(), 30);
}

/// 3,000 tokens that are asked for: 80 %, 10 % and 10 % within 4 deviations of a binomial each (false alarm below 2e-4 for any of them; the
/// draws are fixed). A random token is the one that was there in one case of 24.
#[test]
fn most_are_masked_some_exchanged_and_the_rest_stays() {
    let long = EncoderConfig { max_tokens: 201, ..small_masked() };
    let (mut masked, mut same, mut other) = (0u32, 0u32, 0u32);
    for step in 0..100 {
        let (before, hidden) = (record(200), Masks::of_pass(&long, 3, step).unwrap().hide(&record(200)));
        for at in (0..201).filter(|&at| hidden.labels[at] != UNASKED) {
            assert_eq!(hidden.labels[at], before.tokens[at], "the answer is what stood there");
            match hidden.tokens[at] {
                MASK => masked += 1,
                token if token == before.tokens[at] => same += 1,
                _ => other += 1,
            }
        }
    }
    assert_eq!(masked + same + other, 3000);
    // Expected 2,400 + 300/24, 300 + 300/24, 300 · 22/24; deviations 22, 17, 16.
    assert!((2324..=2500).contains(&masked) && (245..=380).contains(&same) && (211..=339).contains(&other), "{masked} {same} {other}");
}

#[test]
fn the_same_step_hides_the_same_and_another_one_something_else() {
    let long = EncoderConfig { max_tokens: 201, ..small_masked() };
    let hidden = |seed, step| Masks::of_pass(&long, seed, step).unwrap().hide(&record(200));
    assert!(hidden(3, 1) == hidden(3, 1));
    assert!(hidden(3, 1) != hidden(3, 2) && hidden(3, 1) != hidden(4, 1));
    let plan = crate::testing::plan(small_masked(), 1, "1", "0.5");
    let of_task = |step| Masks::of_step(&plan, step).unwrap().hide(&record(9));
    assert!(of_task(1) == of_task(1) && (2..9).any(|step| of_task(1) != of_task(step)));
}

/// Copies of a sample are each unit's own, whoever else is in it.
#[test]
fn a_unit_is_hidden_alike_alone_and_among_others() {
    let units = (1..6).map(|n| UnitExamples { records: (0..n).map(|r| record(n + r)).collect() }).collect();
    let data = Dataset { units };
    let (all, places) = masks(7).units(&data, &[4, 0, 2]);
    assert_eq!((all.units.len(), places), (3, vec![0, 1, 2]));
    let (alone, _) = masks(7).units(&data, &[2]);
    assert!(alone.units[0] == all.units[2]);
}

fn model() -> Transformer {
    let config = Config::of_plan(&small_masked(), Trained::All).unwrap();
    Transformer::load(&TransformerWeights::initial(&config, 5).unwrap()).unwrap()
}

fn loss(model: &Transformer, record: &Record) -> f32 {
    model.losses(&Batch::pack([record], 10), &Tape::off()).unwrap().to_vec1::<f32>().unwrap()[0]
}

/// A record's loss asks about hidden tokens only: what the true tokens at other places are called changes nothing, and what stands in the
/// text there is heard but not asked for.
#[test]
fn the_loss_of_a_record_ignores_tokens_that_are_not_hidden() {
    let (model, hidden) = (model(), masks(1).hide(&record(9)));
    let before = loss(&model, &hidden);
    let asked = hidden.labels.iter().position(|&l| l != UNASKED).unwrap();
    // The loss is that of the asked place alone.
    let scores = model.forward(&Batch::pack([&hidden], 10), &Tape::off()).unwrap().to_vec2::<f32>().unwrap();
    let row = &scores[asked];
    let normaliser = row.iter().map(|s| f64::from(*s).exp()).sum::<f64>().ln();
    let alone = normaliser - f64::from(row[size(hidden.labels[asked])]);
    assert!((f64::from(before) - alone).abs() < 1e-5, "{before} {alone}");
    let mut other = hidden.clone();
    other.labels[asked] = (hidden.labels[asked] + 1) % 24;
    assert!((loss(&model, &other) - before).abs() > 1e-6, "the answer itself counts");
    let mut silent = hidden;
    silent.labels[asked] = UNASKED;
    assert!(loss(&model, &silent).abs() < f32::EPSILON, "nothing is asked for");
}

proptest! {
    /// Marks are never hidden, nothing is asked for that was not there, and tokens that are not asked for stay.
    #[test]
    fn only_what_may_be_asked_for_is_hidden(length in 0u32..40, step in any::<u64>()) {
        let before = record(length);
        let hidden = masks(step).hide(&before);
        prop_assert_eq!((hidden.tokens.len(), hidden.labels.len()), (before.tokens.len().min(10), before.tokens.len().min(10)));
        prop_assert_eq!((hidden.tokens[0], hidden.labels[0]), (1, UNASKED));
        for at in 0..hidden.tokens.len() {
            prop_assert!(hidden.labels[at] == UNASKED || hidden.labels[at] == before.tokens[at]);
            prop_assert!(hidden.labels[at] != UNASKED || hidden.tokens[at] == before.tokens[at]);
            prop_assert!(hidden.tokens[at] < 24);
        }
    }
}
