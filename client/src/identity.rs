//! Who this institution is and where its server listens, as `join` wrote it down. Knows no secret.

use crate::files::{self, Item, StoreError};
use crate::home::Home;
use protocol::ids::ClientId;
use protocol::trust::is_name;
use serde::{Deserialize, Serialize};

const MAX_FILE: usize = 16 * 1024;

/// The institution's place in its federation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Format version, 1.
    pub v: u8,
    /// Federation.
    pub federation: String,
    /// Institution.
    pub institution: String,
    /// Its id.
    pub client: ClientId,
    /// Where the server listens: `host:port`.
    pub server: String,
}

impl Identity {
    /// Reads it.
    ///
    /// # Errors
    /// [`StoreError`]; absent before `join` is done.
    pub(crate) fn load(home: &Home) -> Result<Self, StoreError> {
        Self::parse(&files::read(&home.identity(), MAX_FILE, Item::Identity)?)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        let it: Self = serde_json::from_slice(bytes).map_err(|_| StoreError::Damaged(Item::Identity))?;
        let sound = it.v == 1 && is_name(&it.federation) && is_name(&it.institution);
        if sound { Ok(it) } else { Err(StoreError::Damaged(Item::Identity)) }
    }

    /// Writes it.
    pub(crate) fn store(&self, home: &Home) -> Result<(), StoreError> {
        files::replace(&home.identity(), &self.to_bytes()?, Item::Identity)
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec_pretty(self).map_err(|_| StoreError::Damaged(Item::Identity))
    }

    /// Name of the witness key (A8): the federation and the institution.
    pub(crate) fn witness_name(federation: &str, institution: &str) -> String {
        format!("{federation}/{institution}")
    }
}
