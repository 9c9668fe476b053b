//! What goes wrong in clipped sums of other libraries does not go wrong here (privacy.md section 9).

use super::*;
use crate::batch::Record;
use crate::capture::Capture;
use crate::clip::embedding::Touched;
use crate::clip::gram::{self, Pair};
use crate::clip::layer_tests::{World, config, mechanism, units, weights};
use crate::clip::{linear, norms, tied};
use crate::model::DecoderWeights;
use crate::model::decoder::Head;
use crate::model::norm::NormKind;
use crate::workers::{Workers, unit_gradients};
use candle_core::Device;
use privacy::mechanism::Accumulate;

fn world() -> World {
    World::new(weights(&config(Head::Tied, NormKind::Layer, None)), Accumulate::F32)
}

fn wave(count: usize, seed: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.7311 + seed).sin() + 0.3 * (i as f32 * 1.93 * seed).cos()).collect()
}

/// ‖Σ_t g_t a_tᵀ + E‖ in 64 bits, by the definition.
fn true_norm(a: &[f32], d: usize, g: &[f32], p: usize, looked_up: &[(usize, &[f32])]) -> f64 {
    let mut sum = vec![0.0f64; p * d];
    for (a, g) in a.chunks_exact(d).zip(g.chunks_exact(p)) {
        for (i, j) in (0..p).flat_map(|i| (0..d).map(move |j| (i, j))) {
            sum[i * d + j] += f64::from(g[i]) * f64::from(a[j]);
        }
    }
    for (id, g) in looked_up {
        sum[id * d..][..d].iter_mut().zip(*g).for_each(|(s, &g)| *s += f64::from(g));
    }
    sum.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Lengths around the block, shapes for both ways, with and without rows that were looked up. B10: leaving the cross term out would be
/// off by far more than the tolerance.
#[test]
fn all_ways_to_a_norm_agree_with_the_definition() {
    for (n, d, p) in [(1, 5, 9), (63, 16, 40), (64, 16, 40), (65, 16, 40), (150, 24, 31), (150, 3, 200), (40, 64, 96)] {
        let (a, g, e) = (wave(n * d, 0.3), wave(n * p, 1.1), wave(n * d, 2.2));
        let ids: Vec<usize> = (0..n).map(|t| (t * t) % p.min(7)).collect();
        let touched = Touched::new(&ids, &e, d);
        let looked_up: Vec<(usize, &[f32])> = ids.iter().copied().zip(e.chunks_exact(d)).collect();
        let pair = Pair { a: a.as_slice(), d, g: g.as_slice(), p };
        for (touched, looked_up) in [(None, &[][..]), (Some(&touched), &looked_up[..])] {
            let theirs = true_norm(&a, d, &g, p, looked_up);
            for by in [linear::square, linear::in_doubles, linear::from_gram, linear::instance] {
                let ours = by(pair, touched).unwrap();
                assert!((ours.square.sqrt() - theirs).abs() < 1e-4 * theirs, "{n} {d} {p}: {} against {theirs}", ours.square.sqrt());
                assert!(ours.upper().sqrt() >= theirs * (1.0 - 1e-12), "{n} {d} {p}: {} below {theirs}", ours.upper().sqrt());
            }
            let tight = linear::in_doubles(pair, touched).unwrap();
            assert!(tight.upper().sqrt() < 1.01 * theirs, "{n} {d} {p}: {tight:?} against {theirs}");
        }
        let cross = tied::part(pair, &touched).unwrap().square - touched.square().square;
        assert!(
            n < 60 || cross.abs() > 1e-3 * true_norm(&a, d, &g, p, &looked_up).powi(2),
            "{n} {d} {p}: the cross term is too small to test"
        );
    }
}

/// B11, D37: nearly parallel inputs under gradients of alternating sign. The Gram sum alone comes out below the true norm.
#[test]
fn where_almost_everything_cancels_the_guarded_norm_is_not_below_the_true_one() {
    let (n, d, p) = (256, 64, 64);
    let mut fooled = 0;
    for seed in 0..20u8 {
        let (base, noise, push) = (wave(d, 0.7), wave(n * d, 1.0 + f32::from(seed)), wave(p, 0.2));
        let a: Vec<f32> = (0..n * d).map(|i| 30.0 * base[i % d] + 1e-4 * noise[i]).collect();
        let g: Vec<f32> = (0..n * p).map(|i| if (i / p) % 2 == 0 { push[i % p] } else { -push[i % p] }).collect();
        let pair = Pair { a: a.as_slice(), d, g: g.as_slice(), p };
        let (theirs, plain) = (true_norm(&a, d, &g, p, &[]), gram::sums(pair).unwrap().square.max(0.0).sqrt());
        fooled += u8::from(plain < 0.99 * theirs);
        for by in [linear::square, linear::in_doubles, linear::from_gram, linear::instance] {
            assert!(by(pair, None).unwrap().upper().sqrt() >= theirs);
        }
    }
    assert!(fooled > 0, "the case fools nobody and tests nothing");
}

/// D37: products that leave the range of 32-bit floats are computed in 64 bits.
#[test]
fn norms_of_very_large_and_very_small_numbers_are_right() {
    let (n, d, p) = (20, 8, 12);
    for (up, down) in [(1e30f32, 1e-30f32), (1e-30, 1e30), (1e-25, 1e-3), (1e20, 1.0)] {
        let a: Vec<f32> = wave(n * d, 0.3).iter().map(|x| x * up).collect();
        let g: Vec<f32> = wave(n * p, 1.1).iter().map(|x| x * down).collect();
        let ours = linear::from_gram(Pair { a: a.as_slice(), d, g: g.as_slice(), p }, None).unwrap();
        let theirs = true_norm(&a, d, &g, p, &[]);
        assert!((ours.square.sqrt() / theirs - 1.0).abs() < 1e-4, "{up} {down}: {} against {theirs}", ours.square.sqrt());
    }
}

/// B5: tokens that only some units have make their embedding overflow.
#[test]
fn a_unit_that_is_not_finite_contributes_nothing_and_the_others_stay() {
    // An own head, so that the spoilt row is an input of its own unit only.
    let own = weights(&config(Head::Own, NormKind::Layer, None));
    let mut flat_own = own.flat().to_vec();
    let table = own.table().find("embeddings.tokens.weight").unwrap();
    flat_own[table.offset + 15 * 8] = f32::MAX;
    flat_own[table.offset + 15 * 8 + 1] = f32::MAX; // their sum, and with it the first normalisation's mean, overflows
    let world = World::new(DecoderWeights::new(own.config(), flat_own, Vec::new()).unwrap(), Accumulate::F32);
    let bad = UnitExamples { records: vec![Record { tokens: vec![15, 2, 3], class: 0, labels: Vec::new() }] };
    let good = units();
    let mixed: Vec<&UnitExamples> = good[..2].iter().chain([&bad]).chain(&good[2..]).collect();
    let (with, outcomes) = world.sum(&mixed);
    let (without, _) = world.sum(&good.iter().collect::<Vec<_>>());
    assert!(outcomes.iter().enumerate().all(|(i, &o)| (o == UnitOutcome::NonFinite) == (i == 2)), "{outcomes:?}");
    assert!(without.iter().any(|&x| x != 0.0) && with.iter().zip(&without).all(|(a, b)| a.is_finite() && (a - b).abs() < 1e-6));
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// B6, B13: one unit with enormous weights in front of its tokens moves the sum by C(1 + ν) at most.
#[test]
fn no_unit_moves_the_sum_by_more_than_the_clip_bound_and_its_allowance() {
    for accumulate in [Accumulate::F32, Accumulate::F64] {
        let base = weights(&config(Head::Own, NormKind::Layer, None));
        let mut flat = base.flat().to_vec();
        let head = base.table().find("head.weight").unwrap().range();
        flat[head].iter_mut().for_each(|w| *w *= 1e6); // gradients a million times as long
        let world = World::new(DecoderWeights::new(base.config(), flat, Vec::new()).unwrap(), accumulate);
        let units = units();
        let all: Vec<&UnitExamples> = units.iter().collect();
        let (with, _) = world.sum(&all);
        for (left_out, unit) in units.iter().enumerate() {
            let rest: Vec<&UnitExamples> = all.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, u)| *u).collect();
            let moved = length(&with.iter().zip(world.sum(&rest).0).map(|(a, b)| a - b).collect::<Vec<_>>());
            assert!(moved <= 1.0 + 2f64.powi(-12), "{left_out}: {moved}");
            assert!(moved > 0.9 || unit.records.iter().all(|r| r.tokens.len() < 2), "{left_out}: {moved}");
        }
    }
}

/// B13 on rows that nearly cancel: the weighted product is off by less than the allowance ν (F32) and less than ν/2 (F64) of D19.
#[test]
fn weighted_sums_of_rows_that_cancel_stay_within_the_allowance() {
    let (units, n, d, p) = (8usize, 128, 24, 40);
    for (accumulate, allowed) in [(Accumulate::F32, 2f64.powi(-9)), (Accumulate::F64, 2f64.powi(-13))] {
        let (base, noise, push) = (wave(d, 0.7), wave(units * n * d, 1.3), wave(p, 0.2));
        for closeness in [1e-4f32, 1e-2, 1.0] {
            let a: Vec<f32> = noise.iter().enumerate().map(|(i, e)| 30.0 * base[i % d] + closeness * e).collect();
            let g: Vec<f32> = (0..units * n * p).map(|i| if (i / p) % 2 == 0 { push[i % p] } else { -push[i % p] }).collect();
            let tensor = |x: &[f32], width| Tensor::from_slice(x, (units * n, width), &Device::Cpu).unwrap();
            let spans = Spans::of([n; 8]);
            let layer = Capture::Product { at: 0, spans: spans.clone(), input: tensor(&a, d), grad: tensor(&g, p) };
            let captures = Captures { layers: vec![layer] };
            let mut sum = ClippedSum::new(&mechanism(p * d, accumulate)).unwrap();
            let owners = Spans::single_rows(units);
            let squares = norms::squares(&captures, &owners).unwrap();
            let factors: Vec<f64> = squares.iter().map(|square| sum.factor(square.upper())).collect();
            weighted::add(&mut sum, captures, &owners, &factors).unwrap();
            let mut exact = vec![0.0f64; p * d];
            for (t, (a, g)) in a.chunks_exact(d).zip(g.chunks_exact(p)).enumerate() {
                for (i, j) in (0..p).flat_map(|i| (0..d).map(move |j| (i, j))) {
                    exact[i * d + j] += factors[t / n] * f64::from(g[i]) * f64::from(a[j]);
                }
            }
            let off = length(&exact.iter().zip(sum.for_test()).map(|(a, b)| a - b).collect::<Vec<_>>());
            assert!(off <= allowed, "{accumulate:?} {closeness}: off by {off}");
        }
    }
}

/// B12: norm and factor of a unit are bitwise the same whatever the other units and its slot.
#[test]
fn a_units_norm_does_not_depend_on_the_others() {
    let (world, units) = (world(), units());
    let squares = |units: &[&UnitExamples]| {
        let passed = world.pass(units);
        norms::squares(&passed.captures.unwrap(), &passed.units).unwrap()
    };
    let together = squares(&units.iter().collect::<Vec<_>>());
    let mut turned = squares(&units.iter().rev().collect::<Vec<_>>());
    turned.reverse();
    assert_eq!(together, turned);
    for (unit, square) in units.iter().zip(&together).filter(|(u, _)| !u.records.is_empty()) {
        assert_eq!(squares(&[unit]), [*square]);
    }
}

/// B8: how a sample is cut into micro-batches changes the data part by less than 1e-5.
#[test]
fn the_size_of_micro_batches_changes_nothing_that_matters() {
    let (world, units) = (world(), units());
    let (whole, _) = world.sum(&units.iter().collect::<Vec<_>>());
    for size in [1, 2, 4] {
        let mut sum = vec![0.0; whole.len()];
        for part in units.chunks(size) {
            sum.iter_mut().zip(world.sum(&part.iter().collect::<Vec<_>>()).0).for_each(|(s, x)| *s += x);
        }
        assert!(sum.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

/// B14: nothing of one step is left for the next.
#[test]
fn two_steps_are_two_fresh_steps() {
    let (first, second, units) = (world(), world(), units());
    let (a, b): (Vec<_>, Vec<_>) = (units[..3].iter().collect(), units[3..].iter().collect());
    let one_after_the_other = [first.sum(&a).0, first.sum(&b).0];
    assert_eq!(one_after_the_other, [second.sum(&a).0, world().sum(&b).0]);
}

/// Both ways clip alike, up to the room that the exact one leaves for rounding.
#[test]
fn the_exact_way_and_book_keeping_agree() {
    let (world, units) = (world(), units());
    let all: Vec<&UnitExamples> = units.iter().collect();
    let mut exact = vec![0.0f64; world.weights.flat().len()];
    unit_gradients(world.work(), &all, &mut |blocks, _| {
        let norm = blocks.iter().flat_map(|b| b.values).map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        for b in blocks {
            exact[b.offset..].iter_mut().zip(b.values).for_each(|(sum, &x)| *sum += f64::from(x) / (norm + 0.01));
        }
        Ok(())
    })
    .unwrap();
    let (sum, _) = world.sum(&all);
    let difference: Vec<f64> = exact.iter().zip(&sum).map(|(a, b)| a - b).collect();
    assert!(length(&difference) < 2e-3 * length(&exact), "{} of {}", length(&difference), length(&exact));
}

/// The worker's stack and its pool of one thread change nothing.
#[test]
fn a_sum_on_a_worker_is_the_same_sum() {
    let (world, units) = (world(), units());
    let all: Vec<&UnitExamples> = units.iter().collect();
    let workers = Workers::start(std::num::NonZeroUsize::MIN).unwrap();
    assert_eq!(workers.run(|| world.sum(&all).0), world.sum(&all).0);
}
