//! What this machine computes gradients with, by its settings or a command's flags. Only `auto` falls back on the processor, and says so aloud;
//! whoever asks for a GPU gets a GPU or an error (training.md M11, M15). Knows no plan and no record.

use crate::agent::chain;
use crate::config::Config;
use std::num::NonZeroUsize;
use std::sync::Arc;
use train::device::{DeviceError, Found, Multiply, Wanted};
use train::direct::Precision;
use train::workers::Workers;

/// Why there is nothing to compute with. The institution's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The system gave no thread.
    #[error("the system gave no thread")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The device that was asked for.
    #[error("the device {asked} cannot be used; \"auto\" falls back on the processor, and a GPU needs a program with the feature cuda")]
    Device {
        /// As asked for.
        asked: Wanted,
        /// Why not.
        #[source]
        source: DeviceError,
    },
}

/// Workers, and in words what they compute on.
pub(crate) struct Started {
    pub(crate) workers: Workers,
    pub(crate) on: String,
}

/// Starts the workers of the settings.
///
/// # Errors
/// [`MachineError`].
pub(crate) fn workers(config: &Config) -> Result<Workers, MachineError> {
    let started = start(config.device, config.precision, config.threads)?;
    tracing::info!(on = %started.on, "computing gradients");
    Ok(match config.max_pass_records {
        Some(most) => started.workers.reading_at_most(most),
        None => started.workers,
    })
}

/// Starts one worker for each GPU that is wanted and found, or `threads` on the processor.
///
/// # Errors
/// [`MachineError`].
pub(crate) fn start(wanted: Wanted, precision: Precision, threads: NonZeroUsize) -> Result<Started, MachineError> {
    let found = wanted.find(precision).map_err(|source| MachineError::Device { asked: wanted, source })?;
    let processor = |why: &str| format!("the processor, {threads} threads{why}");
    match found {
        Found::Processor(None) => Ok(Started { workers: Workers::start(threads)?, on: processor("") }),
        Found::Processor(Some(error)) => {
            let on = processor(&format!(" (auto: {})", chain(&error)));
            Ok(Started { workers: Workers::start(threads)?, on })
        }
        Found::Gpus(gpus) => {
            let on = format!("{} GPU{}, {}", gpus.len(), if gpus.len() == 1 { "" } else { "s" }, floats(precision));
            let gpus = gpus.into_iter().map(|gpu| -> Arc<dyn Multiply> { Arc::new(gpu) }).collect();
            Ok(Started { workers: Workers::start_on(gpus)?, on })
        }
    }
}

fn floats(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "32-bit floats",
        Precision::Bf16 => "factors of products in bfloat16, weights, sums, norms, softmax and losses in 32 bits",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

    #[test]
    fn the_processor_computes_where_nothing_else_is_asked_for() {
        let config = |text: &str| Config::parse(text).unwrap();
        assert_eq!(workers(&config("threads = 3")).unwrap().count(), 3);
        assert_eq!(start(Wanted::Cpu, Precision::F32, TWO).unwrap().on, "the processor, 2 threads");
    }

    /// A build without the feature `cuda`, or a machine without a GPU, trains all the same where that is allowed, and says why.
    #[test]
    fn without_a_gpu_the_processor_computes_only_if_that_is_allowed() {
        let auto = start(Wanted::Auto, Precision::Bf16, TWO).unwrap();
        match start(Wanted::Cuda, Precision::Bf16, TWO) {
            Ok(gpus) => assert!(gpus.on.contains("GPU") && auto.on == gpus.on),
            Err(error) => {
                assert!(matches!(error, MachineError::Device { asked: Wanted::Cuda, .. }) && chain(&error).contains("auto"));
                assert!(auto.workers.count() == 2 && auto.on.starts_with("the processor, 2 threads (auto: no GPU can be used"));
            }
        }
        assert!(start(Wanted::CudaAt(4096), Precision::F32, TWO).is_err(), "no machine has this one");
    }
}
