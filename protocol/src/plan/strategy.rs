//! What a plan says of the server's step (training.md M17). Knows no weights.

use crate::decimal::Decimal;
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// What the server does with an opened mean (training.md M17). In mode `local` the mean is that of the institutions' changes; in
/// `distributed` and `hybrid` it is minus the mean clipped gradient at the snapshot, so that `fed-avg` is SGD with the rate as its learning
/// rate, `fed-avg-m` the same with momentum, and `fed-adam` Adam.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Strategy {
    /// snapshot + rate * mean.
    #[n(0)]
    FedAvg {
        /// Server learning rate; 1 is plain averaging.
        #[n(0)]
        rate: Decimal,
    },
    /// Momentum over rounds: m = momentum * m + mean; snapshot + rate * m.
    #[n(1)]
    FedAvgM {
        /// Server learning rate.
        #[n(0)]
        rate: Decimal,
        /// Share of the last round's step that is kept.
        #[n(1)]
        momentum: Decimal,
    },
    /// Adam over rounds, without bias correction (Reddi et al. 2021, arXiv 2003.00295): m = momentum * m + (1 - momentum) * mean;
    /// v = decay * v + (1 - decay) * mean²; snapshot + rate * m / (sqrt(v) + floor).
    #[n(2)]
    FedAdam {
        /// Server learning rate.
        #[n(0)]
        rate: Decimal,
        /// Share of the first moment that is kept.
        #[n(1)]
        momentum: Decimal,
        /// Share of the second moment that is kept.
        #[n(2)]
        decay: Decimal,
        /// τ: what keeps small second moments from making large steps; above 0.
        #[n(3)]
        floor: Decimal,
    },
    /// Nesterov's momentum over rounds, as in DiLoCo (Douillard et al. 2023, arXiv 2311.08105): m = momentum * m + mean;
    /// snapshot + rate * (momentum * m + mean).
    #[n(3)]
    FedNesterov {
        /// Server learning rate; 0.7 is a start.
        #[n(0)]
        rate: Decimal,
        /// Share of the last round's step that is kept; 0.9 is a start.
        #[n(1)]
        momentum: Decimal,
    },
    /// Yogi over rounds (Reddi et al. 2021, arXiv 2003.00295): as `fed-adam`, but v moves by (1 - decay) * mean² towards mean², however far away
    /// that is, so that one loud round is not remembered for long.
    #[n(4)]
    FedYogi {
        /// Server learning rate.
        #[n(0)]
        rate: Decimal,
        /// Share of the first moment that is kept.
        #[n(1)]
        momentum: Decimal,
        /// What is left of 1 after the share that the second moment moves by.
        #[n(2)]
        decay: Decimal,
        /// τ: what keeps small second moments from making large steps; above 0.
        #[n(3)]
        floor: Decimal,
    },
}
