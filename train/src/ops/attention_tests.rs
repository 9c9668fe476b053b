//! Attention against finite differences, against the fused operation, and against its masks' definitions.

use super::super::testing::{agrees_with_differences, wave};
use super::*;
use crate::ops::attend::{Mask, attend};

pub(in crate::ops) fn op(heads: usize, groups: usize, order: Order, window: Option<Window>, spans: (&[usize], &[usize])) -> Attention {
    let [asking, answering] = [spans.0, spans.1].map(|s| Spans::of(s.iter().copied()));
    Attention { heads, groups, width: 3, scale: 0.6, hearing: Hearing { order, window }, asking, answering, reach: Reach::Record }
}

pub(in crate::ops) fn cases() -> Vec<Attention> {
    let (window, prefix) = (Window { reach: 1, global: 1 }, Order::Prefix([2, 0, 1].into()));
    let same: (&[usize], &[usize]) = (&[3, 0, 2], &[3, 0, 2]);
    vec![
        op(2, 2, Order::Full, None, same),
        op(4, 2, Order::Causal, None, same),
        op(2, 1, prefix, None, same),
        op(2, 2, Order::Full, Some(window), (&[4, 1], &[4, 1])),
        op(2, 2, Order::Causal, Some(window), (&[4, 1], &[4, 1])),
        op(4, 2, Order::Full, None, (&[2, 3, 1], &[4, 0, 2])),
    ]
}

#[test]
fn attention_agrees_with_finite_differences_in_queries_keys_values_and_bias() {
    for op in cases() {
        let q = wave(&[op.asking.rows(), op.heads * 3], 0.3);
        let kv = wave(&[op.answering.rows(), 2 * op.groups * 3], 0.8);
        let bias = wave(&[op.pairs().rows(), op.heads], 0.1);
        agrees_with_differences(&q, |q| attention(q, &kv, None, op.clone()));
        agrees_with_differences(&kv, |kv| attention(&q, kv, None, op.clone()));
        agrees_with_differences(&q, |q| attention(q, &kv, Some(&bias), op.clone()));
        agrees_with_differences(&kv, |kv| attention(&q, kv, Some(&bias), op.clone()));
        agrees_with_differences(&bias, |bias| attention(&q, &kv, Some(bias), op.clone()));
    }
}

#[test]
fn with_as_many_keys_as_queries_it_is_the_fused_operation() {
    let (qkv, spans) = (wave(&[7, 12], 0.4), Spans::of([4, 0, 3]));
    for (order, mask) in [(Order::Full, Mask::Full), (Order::Causal, Mask::Causal)] {
        let hearing = Hearing { order, window: None };
        let (scale, asking, answering) = (0.5f32.sqrt(), spans.clone(), spans.clone());
        let op = Attention { heads: 2, groups: 2, width: 2, scale, hearing, asking, answering, reach: Reach::Record };
        let ours = attention(&qkv.narrow(1, 0, 4).unwrap(), &qkv.narrow(1, 4, 8).unwrap(), None, op).unwrap().to_vec2::<f32>().unwrap();
        let fused = attend(&qkv, 2, mask, (&spans, Reach::Record)).unwrap().to_vec2::<f32>().unwrap();
        assert!(ours.iter().flatten().zip(fused.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[test]
fn masks_are_what_their_names_say() {
    let hears = |order: Order, window, n: usize| -> Vec<String> {
        let hearing = Hearing { order, window };
        (0..n).map(|i| (0..n).map(|j| if hearing.hears(0, i, j) { 'x' } else { '.' }).collect()).collect()
    };
    assert_eq!(hears(Order::Causal, None, 3), ["x..", "xx.", "xxx"]);
    assert_eq!(hears(Order::Prefix([2].into()), None, 4), ["xx..", "xx..", "xxx.", "xxxx"]);
    let window = Some(Window { reach: 1, global: 0 });
    assert_eq!(hears(Order::Full, window, 4), ["xx..", "xxx.", ".xxx", "..xx"]);
    let global = Some(Window { reach: 1, global: 1 });
    assert_eq!(hears(Order::Full, global, 4), ["xxxx", "xxx.", "xxxx", "x.xx"]);
    assert_eq!(hears(Order::Causal, global, 4), ["x...", "xx..", "xxx.", "x.xx"]);
}

#[test]
fn a_query_whom_nobody_answers_gets_zeros() {
    let op = op(2, 2, Order::Full, None, (&[2], &[0]));
    let (q, kv) = (wave(&[2, 6], 0.3), Tensor::zeros((0, 12), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap());
    assert!(attention(&q, &kv, None, op).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|&x| x == 0.0));
}
