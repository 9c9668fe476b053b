//! The witness key on its way: the present one and the next are both held until a tree was cosigned under a policy that names the next (audit.md A12).

use super::Agent;
use crate::keys::{Keys, KeysError, adopt_witness};
use std::sync::Arc;

impl Agent {
    /// Lets the old witness key go once no tree is left that it could cosign: a witness never goes back to a smaller one.
    pub(super) fn retire_witness(&mut self) -> Result<(), KeysError> {
        if self.keys.is_next_named(self.mirror.policy_at(self.witness.cosigned().0)) {
            adopt_witness(&self.home)?;
            self.keys = Arc::new(Keys::load(&self.home)?);
            tracing::info!("the next witness key cosigns from here on; the one before it is removed");
        }
        Ok(())
    }
}
