//! Integer noise and the streams it is drawn from (privacy.md D21, D24 to D28). Knows no data: nothing here takes a value to be noised.

mod bucket;
mod cumulative;
mod discrete;
mod exact;
#[cfg(feature = "opendp")]
pub mod giant;
mod key;
mod sampler;
#[cfg(any(test, feature = "test-doors"))]
mod seeded;

pub use key::{Canary, Dither, EntropyError, EntropySource, Noise, Purpose, Quantiser, Sample, StepContext, Stream};
pub(crate) use sampler::DISTANCE_BITS;
pub use sampler::Sampler;
#[cfg(any(test, feature = "test-doors"))]
pub use seeded::SeededEntropy;

#[cfg(test)]
mod catalogue_tests;
