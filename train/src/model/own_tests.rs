//! Plans say what a model from random weights is built of, and no part of that is lost on the way to the model.

use super::*;
use crate::model::{Config, ParameterTable, TransformerWeights, initial};
use crate::testing::{built, decimal, plan, small_config, small_masked, small_tagged};
use std::collections::BTreeSet;

fn of(asks: Asks) -> OwnModel {
    OwnModel { asks, decoder_layers: (asks == Asks::Translate).then_some(1), ..OwnModel::default() }
}

fn config(own: OwnModel) -> Config {
    Config::of_plan(&built(own), Trained::Kept).unwrap()
}

/// Plans that say nothing more train what they always have.
#[test]
fn without_a_word_it_is_the_classifier() {
    let c = Config::of_plan(&small_config(), Trained::Kept).unwrap();
    assert_eq!((c.family, c.mask, c.head), (Family::Encoder(Task::Classify { classes: 3 }), MaskKind::Full, Head::Own));
    assert_eq!((c.positions, c.norm, c.place, c.max_tokens), (Positions::Learned, NormKind::Layer, NormPlace::Before, 10));
    assert_eq!((c.feed_forward, c.groups, c.stem), (FeedForwardKind::Plain(Activation::GeluTanh), 2, None));
    assert_eq!((c.window, c.dropout.to_bits()), (None, 0.0f32.to_bits()));
}

#[test]
fn each_question_has_its_family_and_room_for_its_answers() {
    let pair = Family::EncoderDecoder { decoder_layers: 1, start: 0, end: 1 };
    let decoder = (Family::Decoder, MaskKind::Causal);
    for (asks, expected, places) in
        [(Asks::NextToken, decoder, 12), (Asks::Answer, decoder, 24), (Asks::Translate, (pair, MaskKind::Full), 13)]
    {
        let c = config(of(asks));
        assert_eq!(((c.family, c.mask), c.max_tokens, c.head), (expected, places, Head::Tied), "{asks:?}");
    }
    assert_eq!(config(OwnModel { mask: own::Mask::Prefix, ..of(Asks::Answer) }).mask, MaskKind::Prefix);
}

#[test]
fn an_encoder_says_tags_or_what_was_hidden_from_it() {
    let asked = |model: &EncoderConfig| {
        let c = Config::of_plan(model, Trained::Kept).unwrap();
        (c.family, c.mask, c.head)
    };
    assert_eq!(asked(&small_tagged()), (Family::Encoder(Task::Tag { labels: 5 }), MaskKind::Full, Head::Own));
    assert_eq!(asked(&small_masked()), (Family::Encoder(Task::MaskedTokens), MaskKind::Full, Head::Tied));
    let names =
        |model: &EncoderConfig| -> BTreeSet<String> { ParameterTable::new(model).unwrap().iter().map(|p| p.name.clone()).collect() };
    let tagger = names(&small_tagged());
    assert!(names(&small_masked()).is_subset(&tagger), "hidden tokens are told by the table of tokens");
    assert!(tagger.contains("classifier.weight"));
}

#[test]
fn each_part_reaches_the_model() {
    let decoder = of(Asks::NextToken);
    let rotary = config(OwnModel { positions: own::Positions::Rotary { theta: 100 }, ..decoder });
    assert_eq!(rotary.positions, Positions::Rotary { theta: 100.0 });
    assert_eq!(config(OwnModel { positions: own::Positions::Sinusoidal, ..decoder }).positions, Positions::Sinusoidal);
    assert_eq!(config(OwnModel { norm: own::Norm::RootMeanSquare, ..decoder }).norm, NormKind::RootMeanSquare);
    assert_eq!(config(OwnModel { norm_place: own::NormPlace::After, ..decoder }).place, NormPlace::After);
    let gated = config(OwnModel { feed_forward: own::FeedForward::Swiglu, ..decoder });
    assert_eq!(gated.feed_forward, FeedForwardKind::Gated(Activation::Silu));
    assert_eq!(config(OwnModel { head: own::OutputHead::Own, ..decoder }).head, Head::Own);
    assert_eq!(config(OwnModel { groups: Some(2), ..decoder }).groups, 2);
    let window = config(OwnModel { window: Some(own::Window { reach: 3, global: 1 }), ..decoder }).window;
    assert_eq!(window, Some(own::Window { reach: 3, global: 1 }));
    assert_eq!(config(OwnModel { stem: Some(5), ..decoder }).stem, Some(5));
    assert_eq!(config(OwnModel { dropout: Some(decimal("0.25")), ..decoder }).dropout.to_bits(), 0.25f32.to_bits());
}

/// A table that nobody reads would be trained on noise alone.
#[test]
fn a_model_has_the_tensors_of_its_parts_and_no_others() {
    let names = |own: OwnModel| -> BTreeSet<String> { ParameterTable::new(&built(own)).unwrap().iter().map(|p| p.name.clone()).collect() };
    let (plain, decoder) = (names(of(Asks::NextToken)), of(Asks::NextToken));
    assert!(plain.contains("decoder.layers.1.attention.qkv.weight") && plain.contains("embeddings.positions.weight"));
    assert!(!plain.iter().any(|n| n.starts_with("encoder.") || n.starts_with("classifier") || n.starts_with("head")));
    let without_places = names(OwnModel { positions: own::Positions::Sinusoidal, ..decoder });
    assert_eq!(plain.difference(&without_places).collect::<Vec<_>>(), ["embeddings.positions.weight"]);
    let with_head = names(OwnModel { head: own::OutputHead::Own, ..decoder });
    assert_eq!(with_head.difference(&plain).collect::<Vec<_>>(), ["head.weight"]);
    let with_stem = names(OwnModel { stem: Some(3), ..decoder });
    assert_eq!(with_stem.difference(&plain).collect::<Vec<_>>(), ["embeddings.stem.bias", "embeddings.stem.weight"]);
    let pair = names(of(Asks::Translate));
    assert!(pair.contains("encoder.layers.1.feed_forward.up.weight") && pair.contains("decoder.layers.0.cross.query.weight"));
    assert!(!pair.contains("decoder.layers.1.feed_forward.up.weight"), "one block writes");
}

#[test]
fn first_weights_follow_from_the_public_seed_alone() {
    for asks in [Asks::NextToken, Asks::Answer, Asks::Translate] {
        let config = built(of(asks));
        let first = initial(&config, 7).unwrap();
        assert_eq!(first, initial(&config, 7).unwrap());
        assert_ne!(first, initial(&config, 8).unwrap());
        let all = TransformerWeights::tables(&Config::of_plan(&config, Trained::All).unwrap()).0;
        assert_eq!(first.flat().len(), all.len(), "{asks:?}: all of it is in the snapshot");
    }
}

/// A checkpoint's own rate is not the plan's, and a plan without a rate drops nothing.
#[test]
fn dropout_is_drawn_from_the_task_and_the_step_where_the_plan_asks_for_it() {
    let with = |own: OwnModel| plan(built(own), 1, "1", "0.5");
    let (without, mut dropping) = (with(of(Asks::NextToken)), with(OwnModel { dropout: Some(decimal("0.1")), ..of(Asks::NextToken) }));
    assert_eq!(dropout_seed(&without, 3), None);
    let seeds: Vec<Option<u64>> = (0..4).map(|step| dropout_seed(&dropping, step)).collect();
    assert_eq!(seeds.iter().flatten().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(dropout_seed(&dropping, 2), seeds[2]);
    dropping.task = protocol::ids::TaskId([8; 16]);
    assert_ne!(dropout_seed(&dropping, 2), seeds[2]);
}
