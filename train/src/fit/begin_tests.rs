//! A run that begins from an earlier one's weights takes what has the same name and shape, and refuses what is none of its own.

use super::asked_tests::counting;
use super::tests::{recipe, train, workers};
use super::*;
use crate::model::initial;
use crate::snapshot::tensors_to_bytes;
use crate::testing::{small_config, small_masked, small_tagged};
use proptest::prelude::*;
use protocol::plan::EncoderConfig;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;

fn averaging(average: f64) -> Recipe {
    Recipe { average, ..recipe(4) }
}

fn masked_at_its_start(average: f64) -> Fit {
    Fit::asked(&initial(&small_masked(), 1).unwrap(), averaging(average)).unwrap()
}

fn masked(average: f64) -> Fit {
    let mut fit = masked_at_its_start(average);
    train(&mut fit, &counting(), &workers(1));
    fit
}

fn classifier(config: &EncoderConfig, average: f64) -> Fit {
    Fit::encoder(&initial(config, 1).unwrap(), averaging(average)).unwrap()
}

fn snapshot_of(fit: &Fit) -> Vec<u8> {
    tensors_to_bytes(fit.table(), fit.weights()).unwrap()
}

fn of<'a>(fit: &'a Fit, name: &str) -> &'a [f32] {
    &fit.weights()[fit.table().find(name).unwrap().range()]
}

/// A file of one tensor of one dimension.
fn file(name: &str, dtype: Dtype, bytes: &[u8], notes: Option<HashMap<String, String>>) -> Vec<u8> {
    let view = TensorView::new(dtype, vec![bytes.len() / 4], bytes).unwrap();
    safetensors::serialize([(name, view)], notes).unwrap()
}

/// Hidden tokens train every part that the classifier has below its head; the one is computed by the graph, the other directly.
#[test]
fn a_classifier_begins_from_all_that_hidden_tokens_taught_and_a_fresh_head() {
    for average in [0.0, 0.5] {
        let (earlier, untaught) = (masked(average), masked_at_its_start(average));
        for bytes in [snapshot_of(&earlier), earlier.to_bytes("run", None).unwrap()] {
            let (mut fit, seed) = (classifier(&small_config(), average), classifier(&small_config(), average));
            let taken = fit.begin_from(&bytes).unwrap();
            assert_eq!(taken.fresh, ["classifier.weight", "classifier.bias"]);
            assert_eq!((taken.taken.len(), taken.unused.len()), (earlier.table().iter().count(), 0));
            for name in &taken.taken {
                assert_eq!(of(&fit, name), of(&earlier, name), "{name}");
                assert_ne!(of(&untaught, name), of(&earlier, name), "{name}");
            }
            for name in &taken.fresh {
                assert_eq!(of(&fit, name), of(&seed, name), "{name}");
            }
            assert_eq!(fit.steps(), 0);
        }
    }
}

#[test]
fn a_head_that_is_not_asked_for_is_left_and_said() {
    let earlier = classifier(&small_config(), 0.0);
    let mut fit = masked_at_its_start(0.0);
    let taken = fit.begin_from(&snapshot_of(&earlier)).unwrap();
    assert_eq!(taken.unused, ["classifier.bias", "classifier.weight"]);
    assert!(taken.fresh.is_empty());
}

#[test]
fn a_tensor_of_another_shape_is_refused_and_nothing_is_changed() {
    let other = EncoderConfig { vocab: 30, ..small_config() };
    let mut fit = classifier(&other, 0.0);
    match fit.begin_from(&snapshot_of(&masked(0.0))) {
        Err(EarlierError::Shape { name, found, expected }) => {
            assert_eq!((name.as_str(), found, expected), ("embeddings.tokens.weight", vec![24, 8], vec![30, 8]));
        }
        other => panic!("{other:?}"),
    }
    // What comes before the refused tensor is not taken either.
    let tagger = Fit::asked(&initial(&small_tagged(), 2).unwrap(), recipe(4)).unwrap();
    let mut fit = classifier(&small_config(), 0.0);
    let refused = fit.begin_from(&snapshot_of(&tagger));
    assert!(matches!(refused, Err(EarlierError::Shape { name, .. }) if name == "classifier.weight"));
    assert_eq!(fit.weights(), classifier(&small_config(), 0.0).weights());
}

#[test]
fn what_is_no_earlier_run_is_refused_by_what_it_is() {
    let begin = |bytes: &[u8]| classifier(&small_config(), 0.0).begin_from(bytes).unwrap_err();
    let best = snapshot_of(&masked(0.0));
    assert!(matches!(begin(&best[..best.len() - 1]), EarlierError::Format(_)));
    let mut damaged = best.clone();
    let end = damaged.len();
    damaged[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(matches!(begin(&damaged), EarlierError::NonFinite(_)));
    let number = 1.0f32.to_le_bytes();
    let said = begin(&file("other", Dtype::F32, &number, None)).to_string();
    assert!(said.contains("1 tensors that begin with [\"other\"]") && said.contains("embeddings.tokens.weight"), "{said}");
    assert!(matches!(begin(&file("classifier.bias", Dtype::I32, &number, None)), EarlierError::Type { .. }));
    let state = |layout: Option<&str>| {
        let mut notes = HashMap::from([("format".to_owned(), "concordat-fit-1".to_owned())]);
        notes.extend(layout.map(|text| ("tensors".to_owned(), text.to_owned())));
        file("weights", Dtype::F32, &number, Some(notes))
    };
    for layout in [None, Some("{}")] {
        assert!(matches!(begin(&state(layout)), EarlierError::Layout));
    }
    for layout in ["[]", "[[\"a\", [2]]]", "[[\"a\", [4294967296, 4294967296]]]"] {
        assert!(matches!(begin(&state(Some(layout))), EarlierError::Length { got: 1 }), "{layout}");
    }
    assert!(matches!(begin(&state(Some("[[\"a\", [1]]]"))), EarlierError::Nothing { .. }));
    let mut under_way = masked(0.0);
    assert!(matches!(under_way.begin_from(&best), Err(EarlierError::UnderWay(4))));
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(at in 0usize..4000, to: u8, keep in 0usize..4000) {
        let fit = masked_at_its_start(0.0);
        for mut bytes in [snapshot_of(&fit), fit.to_bytes("run", None).unwrap()] {
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = classifier(&small_config(), 0.0).begin_from(&bytes);
            let _ = classifier(&small_config(), 0.0).begin_from(&bytes[..keep.min(bytes.len())]);
        }
    }
}
