//! Local training: the Transformer, gradients of single units, noised steps, shards, and what the server does with a mean.
//! Knows no cipher, socket, clock or ledger file, and draws no noise itself: it hands gradients to `privacy` and gets private means back.
//!
//! The way of one round: [`snapshot::from_bytes`] -> [`round::local_round`] -> a `privacy::delta::Delta` at each institution;
//! [`combine::combine`] -> [`strategy::advance`] -> [`snapshot::to_bytes`] at the server.

pub mod audit;
pub mod batch;
pub mod capture;
mod clip;
pub mod combine;
pub mod count;
pub mod device;
pub mod direct;
pub mod eval;
pub mod fit;
#[cfg(all(test, feature = "cuda"))]
mod gpu_tests;
pub mod hf;
mod kernels;
pub mod mask;
pub mod measure;
pub mod model;
mod ops;
pub mod optim;
pub mod rehearsal;
pub mod round;
pub mod schedule;
pub mod shard;
#[cfg(test)]
mod site_tests;
pub mod slots;
pub mod snapshot;
mod step;
pub mod strategy;
pub mod tags;
#[cfg(test)]
mod testing;
pub mod workers;
