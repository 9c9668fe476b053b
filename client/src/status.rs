//! What the institution's people see on one screen (operations.md O17): a small file that the agent rewrites. Holds nothing secret.

use crate::files::{self, Item, StoreError};
use crate::home::Home;
use serde::{Deserialize, Serialize};

const MAX_FILE: usize = 256 * 1024;
/// Alarms that are shown; the log of the process has them all.
const MAX_ALARMS: usize = 32;

/// Where the institution stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Federation.
    pub federation: String,
    /// Institution.
    pub institution: String,
    /// Its id.
    pub client: String,
    /// Where the server listens.
    pub server: String,
    /// Whether the link is up.
    pub linked: bool,
    /// Entries mirrored.
    pub log_size: u64,
    /// Entries under a quorum's cosignatures.
    pub witnessed_size: u64,
    /// Largest tree that we cosigned.
    pub cosigned_size: u64,
    /// The task, if there is one.
    pub task: Option<String>,
    /// The round, if there is one.
    pub round: Option<u64>,
    /// What we are doing in it, or why not.
    pub duty: String,
    /// Where the last acceptance stands in the log.
    pub last_receipt: Option<u64>,
    /// Upper bound on ε over all tasks.
    pub epsilon: Option<String>,
    /// The institution's cap.
    pub epsilon_cap: Option<String>,
    /// When the TLS certificate runs out: milliseconds since 1970. It is renewed before, while the link is up.
    #[serde(default)]
    pub certificate_until_ms: u64,
    /// What somebody should look at.
    pub alarms: Vec<String>,
    /// Milliseconds since 1970.
    pub updated_ms: u64,
}

impl Status {
    /// Adds an alarm once.
    pub(crate) fn alarm(&mut self, text: &str) {
        if self.alarms.len() < MAX_ALARMS && !self.alarms.iter().any(|a| a == text) {
            self.alarms.push(text.to_owned());
        }
    }

    /// Rewrites the file.
    pub(crate) fn store(&self, home: &Home) -> Result<(), StoreError> {
        files::replace(&home.status(), &self.to_bytes()?, Item::Status)
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec_pretty(self).map_err(|_| StoreError::Damaged(Item::Status))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`StoreError`]; absent before the first `run`.
    pub(crate) fn load(home: &Home) -> Result<Self, StoreError> {
        Self::parse(&files::read(&home.status(), MAX_FILE, Item::Status)?)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes).map_err(|_| StoreError::Damaged(Item::Status))
    }
}
