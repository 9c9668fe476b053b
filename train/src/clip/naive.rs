//! The oracle of per-unit gradients: one record at a time, in 64 bits, ordinary autodiff, stock operations only (privacy.md D42).

use crate::batch::Record;
use crate::model::ParameterTable;
use candle_core::{D, DType, Device, Result, Tensor, Var};
use std::collections::BTreeMap;

/// A model written again with stock operations and one variable per parameter, frozen or not.
pub(super) struct Naive {
    vars: BTreeMap<String, Var>,
    heads: usize,
    /// alpha / r of adapters.
    scale: f64,
}

impl Naive {
    pub(super) fn new(heads: u32, scale: f64, tables: &[(&ParameterTable, &[f32])]) -> Self {
        let vars = tables.iter().flat_map(|(table, flat)| {
            table.iter().map(|p| {
                let values = Tensor::from_slice(&flat[p.range()], p.shape.as_slice(), &Device::Cpu).unwrap();
                (p.name.clone(), Var::from_tensor(&values.to_dtype(DType::F64).unwrap()).unwrap())
            })
        });
        Self { vars: vars.collect(), heads: heads as usize, scale }
    }
    pub(super) fn var(&self, name: &str) -> &Tensor {
        self.vars[name].as_tensor()
    }
    /// The first `n` tokens of a record, then padding up to `t`.
    pub(super) fn embed(&self, record: &Record, n: usize, t: usize) -> Result<Tensor> {
        let ids: Vec<u32> = (0..t).map(|i| record.tokens.get(i).copied().filter(|_| i < n).unwrap_or(0)).collect();
        let tokens = self.var("embeddings.tokens.weight").index_select(&Tensor::from_vec(ids, t, &Device::Cpu)?, 0)?;
        tokens + self.var("embeddings.positions.weight").narrow(0, 0, t)?
    }
    /// With a shift and an adapter where the layer has them.
    pub(super) fn linear(&self, path: &str, x: &Tensor) -> Result<Tensor> {
        let mut y = x.matmul(&self.var(&format!("{path}.weight")).t()?)?;
        if let Some(shift) = self.vars.get(&format!("{path}.bias")) {
            y = y.broadcast_add(shift)?;
        }
        // Of nested ranks there are several of each, under names that differ alike.
        for (name, a) in self.vars.iter().filter(|(name, _)| name.starts_with(&format!("{path}.lora_A."))) {
            let b = self.var(&name.replace(".lora_A.", ".lora_B."));
            y = (y + (x.matmul(&a.t()?)?.matmul(&b.t()?)? * self.scale)?)?;
        }
        Ok(y)
    }
    /// LayerNorm where there is a shift, else RMSNorm.
    pub(super) fn norm(&self, path: &str, x: &Tensor) -> Result<Tensor> {
        let shift = self.vars.get(&format!("{path}.bias"));
        let x = if shift.is_some() { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x.clone() };
        let x = x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?)?;
        let x = x.broadcast_mul(self.var(&format!("{path}.weight")))?;
        if let Some(shift) = shift { x.broadcast_add(shift) } else { Ok(x) }
    }
    fn attention(&self, path: &str, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let ((t, c), h) = (x.dims2()?, self.heads);
        let qkv = self.linear(&format!("{path}.qkv"), x)?.reshape((t, 3, h, c / h))?.permute((1, 2, 0, 3))?; // (3, H, T, d)
        let (q, k, v) = (qkv.get(0)?.contiguous()?, qkv.get(1)?.contiguous()?, qkv.get(2)?.contiguous()?);
        let scores = (q.matmul(&k.t()?.contiguous()?)? / ((c / h) as f64).sqrt())?.broadcast_add(mask)?;
        let e = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        self.linear(&format!("{path}.output"), &p.matmul(&v)?.permute((1, 0, 2))?.reshape((t, c))?)
    }
    /// One block; what the mask forbids is far below every score.
    pub(super) fn block(&self, path: &str, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let mixed = self.attention(&format!("{path}.attention"), &self.norm(&format!("{path}.attention_norm"), x)?, mask)?;
        let x = (x + mixed)?;
        let up = self.linear(&format!("{path}.feed_forward.up"), &self.norm(&format!("{path}.feed_forward_norm"), &x)?)?;
        x + self.linear(&format!("{path}.feed_forward.down"), &up.gelu()?)?
    }
    /// Flat gradient of the mean of the records' losses.
    pub(super) fn gradient(&self, table: &ParameterTable, records: &[Record], loss: impl Fn(&Self, &Record) -> Result<Tensor>) -> Vec<f64> {
        let mut flat = vec![0.0; table.len()];
        for record in records {
            let grads = loss(self, record).unwrap().backward().unwrap();
            for p in table.iter() {
                // A record of one token predicts nothing: its loss reaches no parameter.
                let Some(g) = grads.get(self.var(&p.name)) else { continue };
                let g = g.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                flat[p.range()].iter_mut().zip(g).for_each(|(f, g)| *f += g / records.len() as f64);
            }
        }
        flat
    }
}

/// Asserts that two flat gradients agree in every tensor: 1e-4 of the tensor's length, and 1e-7 for what is nearly zero.
pub(super) fn agree(table: &ParameterTable, ours: impl Fn(usize) -> f64, theirs: &[f64]) {
    for p in table.iter() {
        let difference: f64 = p.range().map(|i| (ours(i) - theirs[i]).powi(2)).sum::<f64>().sqrt();
        let size: f64 = theirs[p.range()].iter().map(|b| b * b).sum::<f64>().sqrt();
        assert!(difference <= 1e-4 * size + 1e-7, "{}: {difference} of {size}", p.name);
    }
}
