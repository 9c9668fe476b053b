//! The institution as a witness (audit.md A24 to A26): mirrored, stored, compared and set, and only then signed. Knows no entry.

use crate::files::{self, Item, StoreError};
use crate::home::Home;
use crate::keys::Keys;
use crate::mirror::{LogNote, Mirror, MirrorError};
use audit::cosign::CosignError;
use audit::note::write_lines;
use audit::witness::{AddCheckpoint, Refusal, WitnessState, decide};
use protocol::ids::Sha256;

const MAX_STATE: usize = 256;

/// Why nothing was cosigned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// The state.
    #[error("the witness state could not be read or written")]
    Store(#[from] StoreError),
    /// The mirror.
    #[error("the mirror does not follow")]
    Mirror(#[from] MirrorError),
    /// The rules of a witness forbid it.
    #[error("the note may not be cosigned")]
    Refused(#[source] Refusal),
    /// The key or the clock.
    #[error("the cosignature could not be made")]
    Cosign(#[from] CosignError),
}

/// A witness of one log.
pub(crate) struct Witness {
    home: Home,
    state: WitnessState,
}

impl Witness {
    /// Reads the state and compares it with the mirror: what was cosigned must be in it.
    pub(crate) fn open(home: &Home, mirror: &Mirror) -> Result<Self, WitnessError> {
        let damaged = || StoreError::Damaged(Item::WitnessState);
        let state = match files::read_if_there(&home.witness_state(), MAX_STATE, Item::WitnessState)? {
            None => WitnessState::new(),
            Some(bytes) => String::from_utf8(bytes).ok().and_then(|t| t.parse().ok()).ok_or_else(damaged)?,
        };
        let head = state.head;
        if head.size > mirror.size() || mirror.root_at(head.size)? != head.root {
            return Err(MirrorError::Edge.into());
        }
        Ok(Self { home: home.clone(), state })
    }

    /// Size and root of the largest tree cosigned.
    pub(crate) fn cosigned(&self) -> (u64, Sha256) {
        (self.state.head.size, Sha256(self.state.head.root.0))
    }

    /// Cosigns a note whose tree is mirrored and stored, and answers its signature line; for an older note the size cosigned instead.
    ///
    /// The new state is durable before the signature exists. The key is the one that the policy of the note's size names (A12); the time does not
    /// fall from one key to the next, because the state is the witness's and not the key's (A10).
    pub(crate) fn cosign(&mut self, mirror: &Mirror, keys: &Keys, note: &LogNote, now_s: u64) -> Result<(u64, String), WitnessError> {
        let (old, new) = (self.state.head.size, note.head().size);
        if new < old {
            return Ok((old, String::new()));
        }
        if new > mirror.size() || mirror.root_at(new)? != note.head().root {
            return Err(MirrorError::Edge.into());
        }
        let request = AddCheckpoint { old_size: old, consistency: mirror.consistency(old, new)?, note: note.note().clone() };
        let advance = decide(&self.state, mirror.log_keys(), &request.encode(), now_s).map_err(WitnessError::Refused)?;
        files::replace(&self.home.witness_state(), advance.next_state().to_string().as_bytes(), Item::WitnessState)?;
        self.state = *advance.next_state();
        let key = keys.witness_for(mirror.policy_at(new));
        Ok((new, write_lines(&[advance.cosign(key)?])))
    }
}
