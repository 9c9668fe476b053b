//! The published checkpoint that a plan's model begins from, as this institution has it: compared with the plan once per task, before anything
//! is paid. Knows no connection.

use protocol::ids::Sha256;
use protocol::plan::Plan;
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

/// A checkpoint that is the plan's.
pub(crate) struct Foundation {
    pub(crate) base: Base,
    /// What the plan leaves to it.
    pub(crate) outside: Arc<Outside>,
}

impl Foundation {
    /// The checkpoint of a plan, its digests compared; nothing for a plan that begins from random weights.
    ///
    /// # Errors
    /// [`NoFoundation`].
    pub(crate) fn of_plan(plan: &Plan, directory: Option<&Path>) -> Result<Option<Self>, NoFoundation> {
        let Some(named) = &plan.model.base else { return Ok(None) };
        let directory = directory.ok_or(NoFoundation::NotSet(named.weights))?;
        let unfit = |e| NoFoundation::Unfit(Box::new(e));
        let base = Base::open(directory).map_err(unfit)?;
        let outside = Arc::new(base.outside(&plan.model).map_err(unfit)?);
        Ok(Some(Self { base, outside }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::plan::{Asks, BaseModel};

    #[test]
    fn a_plan_with_a_checkpoint_needs_it_and_says_which() {
        let mut plan = crate::testing::plan();
        assert!(Foundation::of_plan(&plan, None).unwrap().is_none());
        let (weights, tokenizer) = (Sha256([7; 32]), Sha256([8; 32]));
        plan.model.base = Some(BaseModel { config: "{}".into(), weights, tokenizer, frozen: Vec::new(), asks: Asks::Class });
        let error = Foundation::of_plan(&plan, None).err().unwrap().to_string();
        assert!(error.contains(&weights.to_string()) && error.contains("client.toml"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let unfit = || match Foundation::of_plan(&plan, Some(empty.path())) {
            Err(NoFoundation::Unfit(e)) => *e,
            Err(e) => panic!("{e}"),
            Ok(_) => panic!("a checkpoint that is none"),
        };
        assert!(matches!(unfit(), BaseError::Checkpoint(_)));
        let nowhere = Foundation::of_plan(&plan, Some(&empty.path().join("CANARY"))).err().unwrap();
        let text = crate::agent::chain(&nowhere);
        assert!(text.contains("config.json") && !text.contains("CANARY"), "{text}");
        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::write(empty.path().join(file), "{}").unwrap();
        }
        assert!(matches!(unfit(), BaseError::Differs { file: "model.safetensors", .. }));
    }
}
