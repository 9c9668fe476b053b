//! Every operation both ways: as a fused kernel and composed of stock operations, the same values and gradients. What is composed here on the
//! processor is what runs on a GPU; the tests of the feature `cuda` ask the same questions there.

use super::activation::{Activation, activation};
use super::attend::{Mask, attend};
use super::attention::{self, attention};
use super::composed::{Way, way};
use super::dropout::{Keys, dropout};
use super::gelu::gelu;
use super::linear::{Linear, linear};
use super::loss::cross_entropy;
use super::neighbours::neighbours;
use super::next_token::next_token_loss;
use super::norm::{Norm, NormKind, norm};
use super::pool::mean_pool;
use super::rotary::{Stretch, rotary};
use super::rows::pick;
use super::testing::wave;
use super::token_loss::token_loss;
use crate::batch::Spans;
use crate::capture::{Reach, Tape};
use crate::device::{self, Engine};
use crate::direct::Precision;
use crate::model::parameters::Loaded;
use candle_core::{Device, Result, Tensor, Var};
use std::sync::Arc;

type Run = dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync;

/// One operation: its inputs, and what it makes of them.
pub(crate) struct Case {
    pub(crate) name: String,
    inputs: Vec<Tensor>,
    run: Box<Run>,
}

/// What an operation makes: values, and gradients of each input under fixed weights.
pub(crate) type Made = (Vec<f32>, Vec<Vec<f32>>);

impl Case {
    fn of(name: &str, inputs: Vec<Tensor>, run: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static) -> Self {
        Self { name: name.to_owned(), inputs, run: Box::new(run) }
    }

    /// Runs it with the inputs on this device.
    pub(crate) fn on(&self, device: &Device) -> Made {
        let plain = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let vars: Vec<Var> = self.inputs.iter().map(|x| Var::from_tensor(&x.to_device(device).unwrap()).unwrap()).collect();
        let inputs: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let y = (self.run)(&inputs).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let weights = wave(y.dims(), 2.5).to_device(device).unwrap();
        let grads = (&y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
        let grad = |x: &Tensor| plain(grads.get(x).unwrap_or_else(|| panic!("{}: no gradient", self.name)));
        (plain(&y), inputs.iter().map(grad).collect())
    }
}

/// Values to 1e-5 and gradients to 1e-4 of their size.
pub(crate) fn agree(name: &str, (values, grads): &Made, (other_values, other_grads): &Made) {
    let near = |what: &str, a: &[f32], b: &[f32], tolerance: f32| {
        assert_eq!(a.len(), b.len(), "{name}: {what}");
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= tolerance * (1.0 + a.abs()), "{name}: {what}: {a} against {b}");
        }
    };
    near("values", values, other_values, 1e-5);
    assert_eq!(grads.len(), other_grads.len(), "{name}");
    grads.iter().zip(other_grads).for_each(|(a, b)| near("gradients", a, b, 1e-4));
}

fn loaded(x: &Tensor, like: &Tensor) -> Result<Loaded> {
    Ok(Loaded { tensor: x.to_device(like.device())?, place: None, lies: None })
}

fn of_rows() -> Vec<Case> {
    let keys: Keys = [[1; 32], [2; 32], [3; 32]].into();
    vec![
        Case::of("dropout", vec![wave(&[5, 3], 0.3)], move |x| dropout(&x[0], 0.4, 3, &keys, &Spans::of([2, 0, 3]))),
        Case::of("three neighbours", vec![wave(&[7, 3], 0.3)], |x| neighbours(&x[0], (3, 1), &Spans::of([2, 0, 4, 1]))),
        Case::of("five earlier ones", vec![wave(&[7, 3], 0.3)], |x| neighbours(&x[0], (5, 4), &Spans::of([2, 0, 4, 1]))),
        Case::of("some rows", vec![wave(&[5, 3], 0.3)], |x| pick(&x[0], [Some(4), Some(0), None, Some(4), Some(1)])),
        Case::of("all rows", vec![wave(&[5, 3], 0.3)], |x| pick(&x[0], (0..5).rev().map(Some))),
        Case::of("no row", vec![wave(&[5, 3], 0.3)], |x| pick(&x[0], [None, None])),
        Case::of("mean", vec![wave(&[6, 3], 0.3)], |x| mean_pool(&x[0], &Spans::of([2, 0, 3, 1]))),
        Case::of("rotary", vec![wave(&[7, 12], 0.3)], |x| rotary(&x[0], 4, (100.0, None), &Spans::of([2, 0, 4, 1]))),
        Case::of("slow rotary", vec![wave(&[7, 12], 0.3)], |x| {
            rotary(&x[0], 4, (100.0, Some(Stretch::Even { factor: 3.0 })), &Spans::of([2, 0, 4, 1]))
        }),
    ]
}

fn of_losses() -> Vec<Case> {
    let answers = vec![None, Some(2), Some(0), None, Some(1), None, None];
    let unasked = vec![None; 7];
    vec![
        Case::of("cross-entropy", vec![wave(&[5, 3], 0.3)], |x| cross_entropy(&x[0], &[0, 2, 1, 1, 0])),
        Case::of("next token", vec![wave(&[7, 5], 0.3)], |x| next_token_loss(&x[0], &Spans::of([3, 0, 1, 3]), &[0, 4, 1, 1, 0, 2, 3])),
        Case::of("token loss", vec![wave(&[7, 3], 0.3)], move |x| token_loss(&x[0], &Spans::of([3, 0, 1, 2, 1]), answers.clone())),
        Case::of("nothing asked", vec![wave(&[7, 3], 0.3)], move |x| token_loss(&x[0], &Spans::of([3, 0, 4]), unasked.clone())),
    ]
}

fn of_layers(reach: Reach) -> Vec<Case> {
    let tape = || if reach == Reach::Record { Tape::on() } else { Tape::off() };
    let linear_case = |shifted: bool| {
        let tape = tape();
        Case::of("linear", vec![wave(&[7, 5], 0.3)], move |x| {
            let (weight, bias) = (loaded(&wave(&[3, 5], 0.1), &x[0])?, loaded(&wave(&[3], 0.2), &x[0])?);
            linear(&x[0], Linear { weight, bias: shifted.then_some(bias), spans: Spans::of([2, 0, 4, 1]), tape: tape.clone() })
        })
    };
    let norm_case = |kind: NormKind| {
        let tape = tape();
        Case::of("norm", vec![wave(&[7, 5], 0.3)], move |x| {
            let (gain, shift) = (loaded(&wave(&[5], 0.4), &x[0])?, loaded(&wave(&[5], 0.9), &x[0])?);
            let shift = (kind == NormKind::Layer).then_some(shift);
            norm(&x[0], Norm { kind, epsilon: 1e-5, gain, shift, spans: Spans::of([2, 0, 4, 1]), tape: tape.clone() })
        })
    };
    vec![linear_case(true), linear_case(false), norm_case(NormKind::Layer), norm_case(NormKind::RootMeanSquare)]
}

fn of_attention(reach: Reach) -> Vec<Case> {
    let mut cases: Vec<Case> = [(Mask::Full, "attend"), (Mask::Causal, "causal attend")]
        .into_iter()
        .map(|(mask, name)| {
            Case::of(name, vec![wave(&[10, 18], 0.3)], move |x| attend(&x[0], 2, mask, (&Spans::of([3, 3, 0, 1, 3]), reach)))
        })
        .collect();
    for (number, op) in attention::tests::cases().into_iter().enumerate() {
        let op = attention::Attention { reach, ..op };
        let q = wave(&[op.asking.rows(), op.heads * op.width], 0.3);
        let kv = wave(&[op.answering.rows(), 2 * op.groups * op.width], 0.8);
        let bias = wave(&[op.pairs().rows(), op.heads], 0.1);
        let (plain, raised) = (op.clone(), op);
        cases.push(Case::of(&format!("attention {number}"), vec![q.clone(), kv.clone()], move |x| {
            attention::attention(&x[0], &x[1], None, plain.clone())
        }));
        cases.push(Case::of(&format!("raised attention {number}"), vec![q, kv, bias], move |x| {
            attention(&x[0], &x[1], Some(&x[2]), raised.clone())
        }));
    }
    cases
}

/// Every operation of this room, over records of many lengths, some of none.
pub(crate) fn cases() -> Vec<Case> {
    let activations = [Activation::GeluTanh, Activation::Gelu, Activation::Silu, Activation::Relu, Activation::Tanh]
        .map(|kind| Case::of(&format!("{kind:?}"), vec![(wave(&[5, 7], 0.35) * 1.1).unwrap()], move |x| activation(&x[0], kind)));
    let mut cases: Vec<Case> = activations.into();
    cases.push(Case::of("gelu", vec![wave(&[5, 7], 0.3)], |x| gelu(&x[0])));
    cases.extend(of_rows().into_iter().chain(of_losses()));
    for reach in [Reach::Record, Reach::Batch] {
        cases.extend(of_layers(reach).into_iter().chain(of_attention(reach)));
    }
    cases
}

/// Runs on a thread whose models live on the processor as if it were another device.
pub(crate) fn elsewhere<T: Send>(precision: Precision, job: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            device::attach(0, Arc::new(Engine::holding_models(precision)));
            job()
        };
        scope.spawn(run).join().unwrap()
    })
}

#[test]
fn every_operation_has_the_same_values_and_gradients_both_ways() {
    for case in cases() {
        let fused = case.on(&Device::Cpu);
        let composed = elsewhere(Precision::F32, || case.on(&Device::Cpu));
        agree(&case.name, &fused, &composed);
    }
}

/// Else the test above compares a thing with itself.
#[test]
fn the_way_is_decided_by_where_numbers_are() {
    let x = wave(&[2, 2], 0.1);
    assert_eq!((way(&x), elsewhere(Precision::F32, || way(&x))), (Way::Fused, Way::Composed));
}

/// A rounded factor is off by 2^-9 of itself at most.
#[test]
fn factors_are_rounded_to_bfloat_and_nothing_else_is() {
    for case in cases() {
        let (fused, rounded) = (case.on(&Device::Cpu), elsewhere(Precision::Bf16, || case.on(&Device::Cpu)));
        let has_products = ["linear", "attend", "attention"].iter().any(|word| case.name.contains(word));
        let apart = fused.0.iter().zip(&rounded.0).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(if has_products { apart < 0.1 } else { apart < 1e-5 }, "{}: {apart}", case.name);
        assert!(case.name != "linear" || apart > 1e-5, "nothing was rounded");
    }
}

/// D19: what becomes of a record is bitwise the same whoever stands beside it, where that is asked for.
#[test]
fn a_record_that_is_composed_alone_is_the_same_beside_others() {
    let rows = wave(&[7, 18], 0.3);
    let run = |x: &Tensor, spans: Spans| {
        let op = Linear { weight: loaded(&wave(&[18, 18], 0.1), x).unwrap(), bias: None, spans: spans.clone(), tape: Tape::on() };
        let y = linear(x, op).unwrap();
        attend(&y, 2, Mask::Causal, (&spans, Reach::Record)).unwrap().to_vec2::<f32>().unwrap()
    };
    elsewhere(Precision::F32, || {
        let together = run(&rows, Spans::of([3, 4]));
        assert_eq!(together[..3], run(&rows.narrow(0, 0, 3).unwrap(), Spans::of([3])));
        assert_eq!(together[3..], run(&rows.narrow(0, 3, 4).unwrap(), Spans::of([4])));
    });
}

/// A number that is none must show, and only in its own record.
#[test]
fn what_is_not_finite_stays_in_its_record() {
    let mut rows = wave(&[4, 6], 0.3).to_vec2::<f32>().unwrap();
    rows[0][2] = f32::NAN;
    let x = Tensor::new(rows, &Device::Cpu).unwrap();
    elsewhere(Precision::F32, || {
        let relu = activation(&x, Activation::Relu).unwrap().to_vec2::<f32>().unwrap();
        assert!(relu[0][2].is_nan() && relu[1..].iter().flatten().all(|v| v.is_finite()));
        let spans = Spans::of([2, 2]);
        let var = Var::from_tensor(&x).unwrap();
        let mixed = attend(&var, 1, Mask::Full, (&spans, Reach::Record)).unwrap();
        let losses = token_loss(&mixed, &spans, vec![Some(0); 4]).unwrap();
        let values = losses.to_vec1::<f32>().unwrap();
        assert!(values[0].is_nan() && values[1].is_finite(), "{values:?}");
        let grads = losses.sum_all().unwrap().backward().unwrap();
        let grad = grads.get(&var).unwrap().to_vec2::<f32>().unwrap();
        assert!(grad[2..].iter().flatten().all(|g| g.is_finite()) && grad[..2].iter().flatten().any(|g| g.is_nan()));
    });
}
