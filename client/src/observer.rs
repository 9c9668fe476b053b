//! What somebody in the same process may watch of the rounds. `concordat-client` itself watches nothing and has no switch for it.

use crate::status::Training;
use protocol::decimal::Decimal;
use protocol::ids::{GroupId, RoundId, ShardId};
use std::sync::{Arc, Mutex, PoisonError};

/// A part of this institution's work in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Noised local steps, or the noised sum of a plan that counts.
    Train,
    /// Masking, packing, share blobs, spool.
    Seal,
    /// From the first byte to the receipt.
    Upload,
}

impl Phase {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Seal => "seal",
            Self::Upload => "upload",
        }
    }
}

/// Watches one institution.
///
/// # Privacy
/// [`Observer::integers`] sees a private update in the clear. It exists so that a demonstration whose institutions are all its own can
/// compare the opened sum with a plain one; an institution that trusts nobody passes [`Silent`].
pub trait Observer: Send {
    /// A phase took so long.
    fn phase(&mut self, _round: RoundId, _phase: Phase, _seconds: f64) {}
    /// The integers that are about to be sealed for a group.
    fn integers(&mut self, _round: RoundId, _group: GroupId, _shards: &[(ShardId, &[i32])]) {}
    /// Upper bound on the task's ε after this round's reservation.
    fn epsilon(&mut self, _round: RoundId, _epsilon: &Decimal) {}
    /// UDP payload bytes of a round, out and in.
    fn bytes(&mut self, _round: RoundId, _up: u64, _down: u64) {}
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

/// The observer as the agent's threads share it, and how far the one that trains is.
#[derive(Clone)]
pub(crate) struct Shared {
    observer: Arc<Mutex<Box<dyn Observer>>>,
    training: Arc<Mutex<Option<Training>>>,
}

impl Shared {
    pub(crate) fn new(observer: Box<dyn Observer>) -> Self {
        Self { observer: Arc::new(Mutex::new(observer)), training: Arc::default() }
    }

    /// Notes how far local training is; none once it is over.
    pub(crate) fn trained(&self, training: Option<Training>) {
        *self.training.lock().unwrap_or_else(PoisonError::into_inner) = training;
    }

    /// How far local training is.
    pub(crate) fn training(&self) -> Option<Training> {
        *self.training.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the observer something. One that panicked before is asked again: it owns nothing of ours.
    pub(crate) fn tell(&self, say: impl FnOnce(&mut dyn Observer)) {
        say(self.observer.lock().unwrap_or_else(PoisonError::into_inner).as_mut());
    }
}
