//! What this machine computes gradients with, by its settings. An accelerator that was asked for and is not there is said aloud, and the
//! processor computes (training.md M11, M15). Knows no plan and no record.

use crate::agent::chain;
use crate::config::{Config, Device};
use std::num::NonZeroUsize;
use std::sync::Arc;
use train::device::{Engine, Multiply};
use train::direct::Precision;
use train::workers::Workers;

/// Starts the workers of the settings.
///
/// # Errors
/// The operating system's, if it gives no thread.
pub(crate) fn workers(config: &Config) -> Result<Workers, rayon::ThreadPoolBuildError> {
    let workers = match config.device {
        Device::Cpu => Workers::start(config.threads)?,
        Device::Cuda => on_gpus(Engine::gpus(Precision::F32), config.threads)?,
        Device::CudaBf16 => on_gpus(Engine::gpus(Precision::Bf16), config.threads)?,
    };
    Ok(match config.max_pass_records {
        Some(most) => workers.reading_at_most(most),
        None => workers,
    })
}

/// One worker for each GPU that was found; without any, `threads` on the processor.
fn on_gpus<G: Multiply + 'static, E: std::error::Error + 'static>(
    found: Result<Vec<G>, E>,
    threads: NonZeroUsize,
) -> Result<Workers, rayon::ThreadPoolBuildError> {
    match found {
        Ok(gpus) if !gpus.is_empty() => {
            tracing::info!(gpus = gpus.len(), "each GPU multiplies the matrices of its part of a step");
            Workers::start_on(gpus.into_iter().map(|gpu| -> Arc<dyn Multiply> { Arc::new(gpu) }).collect())
        }
        Ok(_) => {
            tracing::warn!(threads = threads.get(), "there is no GPU: the processor computes");
            Workers::start(threads)
        }
        Err(error) => {
            tracing::warn!(threads = threads.get(), error = %chain(&error), "no GPU can be used: the processor computes");
            Workers::start(threads)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A build without the feature `cuda`, or a machine without a GPU, trains all the same.
    #[test]
    fn without_a_gpu_the_processor_computes() {
        let config = |text: &str| Config::parse(text).unwrap();
        assert_eq!(workers(&config("threads = 3")).unwrap().count(), 3);
        let missing = || Err::<Vec<Engine>, _>(std::io::Error::other("no driver"));
        assert_eq!(on_gpus(missing(), NonZeroUsize::new(3).unwrap()).unwrap().count(), 3);
        assert_eq!(on_gpus(Ok::<Vec<Engine>, std::io::Error>(Vec::new()), NonZeroUsize::new(2).unwrap()).unwrap().count(), 2);
        for device in ["cuda", "cuda-bf16"] {
            assert!(workers(&config(&format!("threads = 2\ndevice = \"{device}\""))).unwrap().count() > 0);
        }
    }
}
