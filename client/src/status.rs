//! What the institution's people see on one screen (operations.md O17): a small file that the agent rewrites. Holds nothing secret.

use crate::files::{self, Item, StoreError};
use crate::home::Home;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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
    /// Words of the trust document in force, as administrators read them out.
    #[serde(default)]
    pub trust: Option<String>,
    /// The entry since which it is; 0 for the document that the log begins with.
    #[serde(default)]
    pub trust_since: u64,
    /// The task, if there is one.
    pub task: Option<String>,
    /// The round, if there is one.
    pub round: Option<u64>,
    /// What we are doing in it, or why not.
    pub duty: String,
    /// How far the local steps of the round are, while there are any.
    #[serde(default)]
    pub training: Option<Training>,
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

/// How far a round's local steps are (training.md M16). Stays on this machine: how long steps take says a little about their samples. What a
/// step read, and its loss, are computed from records without noise and are not kept at all (audit.md A22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Steps taken.
    pub step: u64,
    /// Steps of the round.
    pub steps: u64,
    /// How long the others will take if they are like those before.
    pub seconds_left: u64,
}

impl Training {
    /// After `step` of `steps`, which took so long together.
    pub(crate) fn after(step: u64, steps: u64, elapsed: Duration) -> Self {
        let left = u128::from(steps.saturating_sub(step));
        let ms = elapsed.as_millis().saturating_mul(left) / u128::from(step.max(1));
        Self { step, steps, seconds_left: u64::try_from(ms.div_ceil(1000)).unwrap_or(u64::MAX) }
    }
}

impl std::fmt::Display for Training {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "step {} of {}, about {} s left", self.step, self.steps, self.seconds_left)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_was() {
        let left = |step, steps, seconds| Training::after(step, steps, Duration::from_secs(seconds)).seconds_left;
        assert_eq!([left(1, 10, 4), left(5, 10, 30), left(10, 10, 60), left(3, 4, 10)], [36, 30, 0, 4]);
        // Whatever is handed in.
        assert_eq!([left(0, 2, 3), left(7, 5, 3), left(1, u64::MAX, u64::MAX)], [6, 0, u64::MAX]);
        assert_eq!(Training::after(1, 10, Duration::from_secs(4)).to_string(), "step 1 of 10, about 36 s left");
    }

    #[test]
    fn a_status_comes_back_with_and_without_training_under_way() {
        for training in [None, Some(Training { step: 2, steps: 10, seconds_left: 40 })] {
            let status = Status { duty: "training".to_owned(), training, ..Status::default() };
            assert_eq!(Status::parse(&status.to_bytes().unwrap()).unwrap(), status);
        }
    }
}
