//! Per-unit gradients against the naive loop: one record at a time, ordinary autodiff, stock operations only (privacy.md D42).

use super::naive::{Naive, agree};
use crate::batch::{Dataset, Record, UnitExamples};
use crate::model::{ParameterTable, Transformer, TransformerWeights, Weights, initial};
use crate::testing::{data, plan, small_config};
use crate::workers::{Work, unit_gradients};
use candle_core::{Device, Result, Tensor};
use privacy::mechanism::Mechanism;

/// Loss of the encoder on one record, padded to the longest length with a mask.
fn loss(naive: &Naive, record: &Record) -> Result<Tensor> {
    let config = small_config();
    let (n, t) = (record.tokens.len().min(config.max_tokens as usize), config.max_tokens as usize);
    let real: Vec<f64> = (0..t).map(|i| f64::from(u8::from(i < n))).collect();
    let mask = Tensor::from_vec(real.iter().map(|r| (r - 1.0) * 1e9).collect::<Vec<_>>(), (1, 1, t), &Device::Cpu)?;
    let mut x = naive.embed(record, n, t)?;
    for i in 0..config.layers {
        x = naive.block(&format!("encoder.layers.{i}"), &x, &mask)?;
    }
    let x = naive.norm("encoder.norm", &x)?;
    let real = Tensor::from_vec(real, (t, 1), &Device::Cpu)?;
    let pooled = (x.broadcast_mul(&real)?.sum_keepdim(0)? / n.max(1) as f64)?;
    let logits = naive.linear("classifier", &pooled)?.flatten_all()?;
    logits.exp()?.sum_all()?.log()? - logits.get(record.class as usize)?
}

fn mechanism(table: &ParameterTable) -> Mechanism {
    let plan = plan(small_config(), 1, "1", "0.5");
    Mechanism::new(&plan.privacy, table.len() as u64, 10).unwrap()
}

/// Weights with every gain, shift and bias away from its first value, so that no term of a gradient is zero by chance.
fn weights() -> Weights {
    let start = initial(&small_config(), 11).unwrap();
    let moved = start.flat().iter().enumerate().map(|(i, w)| w + 0.1 * (i as f32 * 0.37).sin()).collect();
    Weights::new(&small_config(), moved).unwrap()
}

fn ours(weights: &Weights, units: &[&UnitExamples], micro_batch: usize) -> Vec<Vec<f32>> {
    let all = weights.table().iter().map(|p| p.name.clone()).collect();
    let model = Transformer::load(&TransformerWeights::part_of(weights, all).unwrap()).unwrap();
    let mechanism = mechanism(weights.table());
    let work = Work {
        objective: &model,
        table: weights.table(),
        mechanism: &mechanism,
        max_tokens: weights.config().max_tokens as usize,
        micro_batch,
        max_records: 4,
        of_unit: protocol::plan::UnitObjective::Mean,
    };
    let mut all = Vec::new();
    unit_gradients(work, units, &mut |blocks, _| {
        let mut flat = vec![0.0; weights.table().len()];
        for b in blocks {
            flat[b.offset..b.offset + b.values.len()].copy_from_slice(b.values);
        }
        all.push(flat);
        Ok(())
    })
    .unwrap();
    all
}

#[test]
fn every_tensor_of_every_unit_agrees_with_the_naive_loop() {
    let (weights, data) = (weights(), data(9));
    let naive = Naive::new(small_config().heads, 1.0, &[(weights.table(), weights.flat())]);
    let units: Vec<&UnitExamples> = data.units.iter().collect();
    for (unit, ours) in data.units.iter().zip(ours(&weights, &units, 3)) {
        let theirs = naive.gradient(weights.table(), &unit.records, loss);
        agree(weights.table(), |i| f64::from(ours[i]), &theirs);
        for p in weights.table().iter() {
            assert!(unit.records.is_empty() || theirs[p.range()].iter().any(|&g| g != 0.0), "{} has no gradient at all", p.name);
        }
    }
}

#[test]
fn a_units_vector_is_bitwise_the_same_whatever_else_is_in_the_batch() {
    let (weights, data) = (weights(), data(8));
    let alone: Vec<Vec<f32>> = data.units.iter().flat_map(|u| ours(&weights, &[u], 1)).collect();
    let forward: Vec<&UnitExamples> = data.units.iter().collect();
    let backward: Vec<&UnitExamples> = data.units.iter().rev().collect();
    for micro_batch in [1, 2, 5, 64] {
        assert_eq!(ours(&weights, &forward, micro_batch), alone);
        let mut turned = ours(&weights, &backward, micro_batch);
        turned.reverse();
        assert_eq!(turned, alone);
    }
}

#[test]
fn no_token_sees_another_record_or_what_lies_beyond_the_longest_length() {
    let (weights, config) = (weights(), small_config());
    let record = |tokens: Vec<u32>| Record { tokens, class: 1, labels: Vec::new() };
    let long = record((0..config.max_tokens).map(|i| i % 7).collect());
    let mut longer = long.clone();
    longer.tokens.extend([9, 9, 9]);
    let data = Dataset { units: [long, longer, record(vec![3, 1])].map(|r| UnitExamples { records: vec![r] }).to_vec() };
    let all = ours(&weights, &data.units.iter().collect::<Vec<_>>(), 3);
    assert_eq!(all[0], all[1]);
    assert_ne!(all[0], all[2]);
}

#[test]
fn a_record_that_is_not_finite_spoils_only_its_own_unit() {
    let mut flat = weights().flat().to_vec();
    let width = small_config().width as usize;
    flat[5 * width] = f32::MAX; // token 5: its square overflows inside the first normalisation
    flat[5 * width + 1] = -f32::MAX;
    let weights = Weights::new(&small_config(), flat).unwrap();
    let unit = |tokens: Vec<u32>| UnitExamples { records: vec![Record { tokens, class: 0, labels: Vec::new() }] };
    let (good, bad) = (unit(vec![1, 2]), unit(vec![5, 2]));
    let mixed = ours(&weights, &[&good, &bad, &good], 3);
    let alone = ours(&weights, &[&good], 3);
    assert_eq!((&mixed[0], &mixed[2]), (&alone[0], &alone[0]));
    assert!(alone[0].iter().all(|g| g.is_finite()));
}
