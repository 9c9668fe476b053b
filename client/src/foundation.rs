//! The published checkpoint that a plan's model begins from, as this institution has it: compared with the plan once per task, before anything
//! is paid. Knows no connection.

use protocol::ids::Sha256;
use protocol::plan::{BaseModel, Plan};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use train::hf::base::{Base, BaseError};
use train::model::Outside;

/// Why a plan's checkpoint is not at hand. The operator's to mend. It stands in the client's log too, so no path does (audit.md A22).
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoFoundation {
    /// The settings name no directory.
    #[error(
        "the plan's model begins from a published checkpoint: get the one whose model.safetensors has the SHA-256 {0} (of several files: of what sha256sum prints of model.safetensors.index.json and of each of them), and set base = \"its directory\" in client.toml"
    )]
    NotSet(Sha256),
    /// The directory is not what the plan names.
    #[error("the directory that `base` in client.toml names does not hold what the plan's model begins from")]
    Unfit(#[source] Box<BaseError>),
}

/// The disk of the client's directory is too small, or cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("no copy of it can be made in the client's directory, whose disk needs as much room again")]
struct NoCopy(#[source] io::Error);

/// A copy without a name: nobody else can change it or cut it off while it is mapped, and it is gone when this program is, however that ends.
fn copied(mut file: File, own: &Path) -> io::Result<File> {
    // Only what kind of error it was: the system's words may hold a path.
    let failed = |e: io::Error| io::Error::new(e.kind(), NoCopy(e.kind().into()));
    let mut copy = tempfile::tempfile_in(own).map_err(failed)?;
    io::copy(&mut file, &mut copy).map_err(failed)?;
    Ok(copy)
}

/// A checkpoint that is the plan's.
pub(crate) struct Foundation {
    pub(crate) base: Base,
    /// What the plan leaves to it.
    pub(crate) outside: Arc<Outside>,
}

impl Foundation {
    /// The checkpoint of a plan, its digests compared; nothing for a plan that begins from random weights. What the plan leaves to it is read
    /// in place from a copy in `own`, the client's directory; without one it is copied into memory.
    ///
    /// # Errors
    /// [`NoFoundation`].
    pub(crate) fn of_plan(plan: &Plan, directory: Option<&Path>, own: Option<&Path>) -> Result<Option<Self>, NoFoundation> {
        Self::opened(plan, directory, |directory, named| match own {
            Some(own) if !named.frozen.is_empty() => Base::hold(directory, &mut |file| copied(file, own)),
            Some(_) | None => Base::open(directory),
        })
    }

    /// The same for a process that only tries a plan out: what the plan leaves to the checkpoint is read in place in the files themselves,
    /// without a copy. Nothing that is learnt comes of it, and if somebody shortens a file meanwhile, that process ends without an answer.
    ///
    /// # Errors
    /// As [`Self::of_plan`].
    pub(crate) fn to_try(plan: &Plan, directory: Option<&Path>) -> Result<Option<Self>, NoFoundation> {
        Self::opened(plan, directory, |directory, _| Base::hold(directory, &mut Ok::<File, io::Error>))
    }

    fn opened(
        plan: &Plan,
        directory: Option<&Path>,
        open: impl FnOnce(&Path, &BaseModel) -> Result<Base, BaseError>,
    ) -> Result<Option<Self>, NoFoundation> {
        let Some(named) = &plan.model.base else { return Ok(None) };
        let directory = directory.ok_or(NoFoundation::NotSet(named.weights))?;
        let unfit = |e| NoFoundation::Unfit(Box::new(e));
        let base = open(directory, named).map_err(unfit)?;
        let outside = Arc::new(base.outside(&plan.model).map_err(unfit)?);
        Ok(Some(Self { base, outside }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::plan::Asks;

    #[test]
    fn a_plan_with_a_checkpoint_needs_it_and_says_which() {
        let mut plan = crate::testing::plan();
        assert!(Foundation::of_plan(&plan, None, None).unwrap().is_none());
        let (weights, tokenizer) = (Sha256([7; 32]), Sha256([8; 32]));
        plan.model.base = Some(BaseModel { config: "{}".into(), weights, tokenizer, frozen: Vec::new(), asks: Asks::Class });
        let error = Foundation::of_plan(&plan, None, None).err().unwrap().to_string();
        assert!(error.contains(&weights.to_string()) && error.contains("client.toml"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let unfit = || match Foundation::of_plan(&plan, Some(empty.path()), None) {
            Err(NoFoundation::Unfit(e)) => *e,
            Err(e) => panic!("{e}"),
            Ok(_) => panic!("a checkpoint that is none"),
        };
        assert!(matches!(unfit(), BaseError::Checkpoint(_)));
        let nowhere = Foundation::of_plan(&plan, Some(&empty.path().join("CANARY")), None).err().unwrap();
        let text = crate::agent::chain(&nowhere);
        assert!(text.contains("config.json") && !text.contains("CANARY"), "{text}");
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::write(empty.path().join(file), "{}").unwrap();
        }
        assert!(matches!(unfit(), BaseError::Differs { file: "model.safetensors", .. }));
        assert!(matches!(Foundation::to_try(&plan, None), Err(NoFoundation::NotSet(_))));
        assert!(
            matches!(Foundation::to_try(&plan, Some(empty.path())), Err(NoFoundation::Unfit(e)) if matches!(*e, BaseError::Differs { .. }))
        );
        // A directory that no copy can be made in, and one that takes it and shows nothing of it.
        plan.model.base.as_mut().unwrap().frozen.push("a.weight".into());
        let held = |own: &Path| match Foundation::of_plan(&plan, Some(empty.path()), Some(own)) {
            Err(e) => crate::agent::chain(&e),
            Ok(_) => panic!("a checkpoint that is none"),
        };
        let text = held(&empty.path().join("CANARY"));
        assert!(text.contains("no copy of it can be made") && !text.contains("CANARY"), "{text}");
        let own = tempfile::tempdir().unwrap();
        assert!(held(own.path()).contains("model.safetensors has the SHA-256"));
        assert_eq!(std::fs::read_dir(own.path()).unwrap().count(), 0);
    }
}
