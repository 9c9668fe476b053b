//! What an account rests on beside the executed integers (privacy.md D59): neighbours, mode, noise, path, cohort, costs at every order.
//! Fixed for a schedule. Knows no file and no budget.

use super::filter::{self, Nats};
use crate::accountant::rdp::orders;
use crate::coalition::Coalition;
use crate::mechanism::Executed;
use minicbor::{CborLen, Decode, Encode};
use protocol::codec;
use protocol::hash::sha256;
use protocol::ids::Sha256;
use protocol::plan::{Mode, NoiseKind, Plan};

/// What the hash of a basis starts with.
const DOMAIN: &[u8] = b"concordat/ledger/basis/v1\0";

/// Which two datasets a promise cannot tell apart (D2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
#[cbor(index_only)]
pub enum Neighbours {
    /// One has one unit more.
    #[n(0)]
    AddOrRemoveOne,
}

/// How the sum over a sample becomes integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
#[cbor(index_only)]
pub enum SumPath {
    /// Every unit's gradient is rounded and checked by itself: Δ_grid = 2^g, ν = 0, β = 0 (D17).
    #[n(0)]
    Exact,
    /// The clipped sum is rounded once per step; Δ_grid stands with the executed integers, ν and β follow from them (D18, D19).
    #[n(1)]
    Sum,
}

/// What noise that institutions add together rests on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct JointBasis {
    /// c: institutions with which the one that looks may collude.
    #[n(0)]
    pub colluding: u16,
    /// h: guaranteed shares.
    #[n(1)]
    pub shares: u16,
    /// RDP of one round against a coalition, at the orders of D48. Written down, not charged (D61).
    #[n(2)]
    pub coalition: Vec<Nats>,
}

/// The basis. In mode `local` the own cost is the only one: there is no h, no c and no coalition figure (D6, D8).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Basis {
    /// Neighbours.
    #[n(0)]
    pub neighbours: Neighbours,
    /// Where noise is added.
    #[n(1)]
    pub mode: Mode,
    /// What is drawn.
    #[n(2)]
    pub noise: NoiseKind,
    /// How sums become integers.
    #[n(3)]
    pub path: SumPath,
    /// Bits b of one quantised value, per group in the plan's order.
    #[n(4)]
    pub bits: Vec<u8>,
    /// n_min of an opened sum.
    #[n(5)]
    pub cohort_min: u16,
    /// RDP of one round at the orders of D48, in their order; the largest value where the series does not converge.
    #[n(6)]
    pub own: Vec<Nats>,
    /// In modes `distributed` and `hybrid`.
    #[n(7)]
    pub joint: Option<JointBasis>,
}

impl Basis {
    /// Of a plan whose mechanism executes these integers.
    pub(super) fn of(plan: &Plan, executed: &Executed, steps_per_round: u64) -> Self {
        Self {
            neighbours: Neighbours::AddOrRemoveOne,
            mode: plan.privacy.mode,
            noise: executed.noise,
            path: if executed.path.is_some() { SumPath::Sum } else { SumPath::Exact },
            bits: plan.groups.iter().map(|g| g.bits).collect(),
            cohort_min: plan.cohort_min,
            own: own_costs(executed, steps_per_round),
            joint: joint(executed, steps_per_round),
        }
    }

    /// What reservations name it by.
    pub fn hash(&self) -> Sha256 {
        Sha256(sha256(&[DOMAIN, &codec::encode(self)]))
    }
}

fn joint(executed: &Executed, steps: u64) -> Option<JointBasis> {
    let (joint, coalition) = (executed.joint?, Coalition::of(executed)?);
    let costs = orders().map(|alpha| filter::scaled(coalition.step_rdp(alpha), steps)).collect();
    Some(JointBasis { colluding: joint.colluding, shares: coalition.shares().get(), coalition: costs })
}

/// RDP of `steps` steps at every order of D48.
fn own_costs(executed: &Executed, steps: u64) -> Vec<Nats> {
    orders().map(|alpha| filter::own_cost(executed, steps, alpha)).collect()
}
