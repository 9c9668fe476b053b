//! Which vector instructions the inner loops use: the best that this machine has, found at run time (crypto.md C68). Knows no polynomial.
//!
//! Every set gives the same bytes: `vector_tests.rs::every_set_of_instructions_seals_adds_and_opens_alike`. The transforms of `tfhe-ntt` and the AES
//! of `aes` choose for themselves, by the same rule; [`crate::reference::self_check`] compares what they give with the vectors.

use pulp::{Arch, WithSimd};

/// Runs `work` compiled for the best instructions at hand.
#[inline]
pub(crate) fn dispatch<W: WithSimd>(work: W) -> W::Output {
    #[cfg(test)]
    if let Some(arch) = forced::arch() {
        return arch.dispatch(work);
    }
    Arch::new().dispatch(work)
}

/// Another choice than the machine's, for one thread.
#[cfg(test)]
pub(crate) mod forced {
    use pulp::Arch;
    use std::cell::Cell;

    thread_local! {
        static FORCED: Cell<Option<Arch>> = const { Cell::new(None) };
    }

    pub(super) fn arch() -> Option<Arch> {
        FORCED.get()
    }

    /// Every set of instructions that this machine can run, the plainest first.
    pub(crate) fn all() -> Vec<(&'static str, Arch)> {
        let mut all = vec![("portable", Arch::Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(|v3| ("AVX2", Arch::V3(v3))));
            all.extend(pulp::x86::V4::try_new().map(|v4| ("AVX-512", Arch::V4(v4))));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(pulp::aarch64::Neon::try_new().map(|neon| ("NEON", Arch::Neon(neon))));
        all
    }

    /// `work` on a thread of its own, the only one of its pool, with these instructions.
    pub(crate) fn with<T: Send>(arch: Arch, work: impl FnOnce() -> T + Send) -> T {
        let alone = || {
            FORCED.set(Some(arch));
            rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap().install(work)
        };
        std::thread::scope(|scope| scope.spawn(alone).join().unwrap())
    }
}

#[cfg(test)]
#[path = "vector_tests.rs"]
mod tests;
