//! Per-unit gradients against the naive loop: one record at a time, ordinary autodiff, stock operations only (privacy.md D42).

use crate::batch::{Dataset, Record, UnitExamples};
use crate::model::{Encoder, ParameterTable, Weights, initial};
use crate::testing::{data, plan, small_config};
use crate::workers::{Work, unit_gradients};
use candle_core::{D, Device, Result, Tensor, Var};
use privacy::mechanism::Mechanism;
use std::collections::BTreeMap;

/// The same model, written again with stock operations and one variable per parameter, padded to the longest length with a mask.
struct Naive<'a> {
    vars: BTreeMap<String, Var>,
    weights: &'a Weights,
}

impl<'a> Naive<'a> {
    fn new(weights: &'a Weights) -> Self {
        let var = |p: &crate::model::parameters::Parameter| {
            let values = Tensor::from_slice(&weights.flat()[p.range()], p.shape.as_slice(), &Device::Cpu).unwrap();
            // In f64, so that the difference measured is ours.
            (p.name.clone(), Var::from_tensor(&values.to_dtype(candle_core::DType::F64).unwrap()).unwrap())
        };
        Self { vars: weights.table().iter().map(var).collect(), weights }
    }
    fn var(&self, name: &str) -> &Tensor {
        self.vars[name].as_tensor()
    }
    fn linear(&self, path: &str, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.var(&format!("{path}.weight")).t()?)?.broadcast_add(self.var(&format!("{path}.bias")))
    }
    fn norm(&self, path: &str, x: &Tensor) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let x = x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?)?;
        x.broadcast_mul(self.var(&format!("{path}.weight")))?.broadcast_add(self.var(&format!("{path}.bias")))
    }
    fn attention(&self, path: &str, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (t, c) = x.dims2()?;
        let h = usize::try_from(self.weights.config().heads).unwrap();
        let qkv = self.linear(&format!("{path}.qkv"), x)?.reshape((t, 3, h, c / h))?.permute((1, 2, 0, 3))?; // (3, H, T, d)
        let (q, k, v) = (qkv.get(0)?.contiguous()?, qkv.get(1)?.contiguous()?, qkv.get(2)?.contiguous()?);
        let scores = (q.matmul(&k.t()?.contiguous()?)? / ((c / h) as f64).sqrt())?.broadcast_add(mask)?;
        let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        self.linear(&format!("{path}.output"), &p.matmul(&v)?.permute((1, 0, 2))?.reshape((t, c))?)
    }
    fn loss(&self, record: &Record) -> Result<Tensor> {
        let config = self.weights.config();
        let (n, t) = (record.tokens.len().min(config.max_tokens as usize), config.max_tokens as usize);
        let real: Vec<f64> = (0..t).map(|i| f64::from(u8::from(i < n))).collect();
        let mask = Tensor::from_vec(real.iter().map(|r| (r - 1.0) * 1e9).collect::<Vec<_>>(), (1, 1, t), &Device::Cpu)?;
        let ids: Vec<u32> = (0..t).map(|i| record.tokens.get(i).copied().filter(|_| i < n).unwrap_or(0)).collect();
        let ids = Tensor::from_vec(ids, t, &Device::Cpu)?;
        let mut x = (self.var("embeddings.tokens.weight").index_select(&ids, 0)? + self.var("embeddings.positions.weight"))?;
        for i in 0..config.layers {
            let path = format!("encoder.layers.{i}");
            let mixed = self.attention(&format!("{path}.attention"), &self.norm(&format!("{path}.attention_norm"), &x)?, &mask)?;
            x = (x + mixed)?;
            let up = self.linear(&format!("{path}.feed_forward.up"), &self.norm(&format!("{path}.feed_forward_norm"), &x)?)?;
            x = (x + self.linear(&format!("{path}.feed_forward.down"), &up.gelu()?)?)?;
        }
        let x = self.norm("encoder.norm", &x)?;
        let real = Tensor::from_vec(real, (t, 1), &Device::Cpu)?;
        let pooled = (x.broadcast_mul(&real)?.sum_keepdim(0)? / n.max(1) as f64)?;
        let logits = self.linear("classifier", &pooled)?.flatten_all()?;
        logits.exp()?.sum_all()?.log()? - logits.get(record.class as usize)?
    }
    /// Flat gradient of the mean of the records' losses.
    fn gradient(&self, records: &[Record]) -> Vec<f64> {
        let mut flat = vec![0.0; self.weights.table().len()];
        for record in records {
            let grads = self.loss(record).unwrap().backward().unwrap();
            for p in self.weights.table().iter() {
                let g = grads.get(self.vars[&p.name].as_tensor()).expect("stock operations reach every parameter");
                let g = g.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                flat[p.range()].iter_mut().zip(g).for_each(|(f, g)| *f += g / records.len() as f64);
            }
        }
        flat
    }
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
    let (mechanism, encoder) = (mechanism(weights.table()), Encoder::load(weights).unwrap());
    let work = Work { weights, encoder: &encoder, mechanism: &mechanism, micro_batch, max_records: 4 };
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
    let naive = Naive::new(&weights);
    let units: Vec<&UnitExamples> = data.units.iter().collect();
    for (unit, ours) in data.units.iter().zip(ours(&weights, &units, 3)) {
        let theirs = naive.gradient(&unit.records);
        for p in weights.table().iter() {
            let (a, b) = (&ours[p.range()], &theirs[p.range()]);
            let difference: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt();
            let size: f64 = b.iter().map(|b| b * b).sum::<f64>().sqrt();
            assert!(difference <= 1e-4 * size + 1e-7, "{}: {difference} of {size}", p.name);
            assert!(size > 0.0 || unit.records.is_empty(), "{} has no gradient at all", p.name);
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
    let record = |tokens: Vec<u32>| Record { tokens, class: 1 };
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
    let unit = |tokens: Vec<u32>| UnitExamples { records: vec![Record { tokens, class: 0 }] };
    let (good, bad) = (unit(vec![1, 2]), unit(vec![5, 2]));
    let mixed = ours(&weights, &[&good, &bad, &good], 3);
    let alone = ours(&weights, &[&good], 3);
    assert_eq!((&mixed[0], &mixed[2]), (&alone[0], &alone[0]));
    assert!(alone[0].iter().all(|g| g.is_finite()));
}
