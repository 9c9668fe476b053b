//! Edges: places where a test ends the server's process, to see that nothing that was said or paid is lost (transport-storage.md F1, F2,
//! S16). Nothing is here unless the feature `crash-edges` asks for it, and release builds refuse that.

#[cfg(all(feature = "crash-edges", not(debug_assertions)))]
compile_error!("the feature `crash-edges` is for tests only and must not be part of a release build (transport-storage.md S16)");

#[cfg(feature = "crash-edges")]
mod watched {
    use std::path::Path;
    use std::sync::OnceLock;

    /// What is called at every edge: the step that was just taken, and the file or fact that it was taken on.
    pub type Watch = fn(step: &str, on: &Path);

    static WATCH: OnceLock<Watch> = OnceLock::new();

    /// Watches this process's edges from now on. The first watch stays.
    pub fn watch(watch: Watch) {
        WATCH.get_or_init(|| watch);
    }

    pub(crate) fn reached(step: &str, on: impl AsRef<Path>) {
        if let Some(watch) = WATCH.get() {
            watch(step, on.as_ref());
        }
    }
}

#[cfg(feature = "crash-edges")]
pub(crate) use watched::reached;
#[cfg(feature = "crash-edges")]
pub use watched::{Watch, watch};

#[cfg(not(feature = "crash-edges"))]
#[inline]
pub(crate) fn reached(_step: &str, _on: impl AsRef<std::path::Path>) {}
