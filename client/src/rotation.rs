//! Another statement key or witness key, by the institution's own word (audit.md A12, A17): kept before it is said, said on a connection of its own,
//! and in use when the mirror shows its entry. Knows no round but that one may be under way.

use crate::clock;
use crate::home::Home;
use crate::identity::Identity;
use crate::keys::{Keys, KeysError, adopt_statement, forget_next_witness, next_statement, next_witness, pending_witness};
use crate::link::{Link, LinkError};
use crate::mirror::{Mirror, MirrorError};
use crate::renewal::{Certificate, ComeBackError};
use crate::sync::{self, SyncError};
use crate::wire::WireError;
use privacy::noise::EntropyError;
use protocol::history::Member;
use protocol::ids::{LeafIndex, PublicKey};
use protocol::reject::Rejection;
use protocol::rotation::{StatementKeyChange, StatementKeyRotation, WitnessKeyRotation, witness_id};
use protocol::statement::Payload;
use std::time::Duration;

/// Pause before the server is asked again whether the round is over.
const AGAIN: Duration = Duration::from_secs(5);
/// Times that it is asked: for an hour. Asking holds the next round back.
const TRIES: u32 = 720;

/// Why the key is not replaced, or it is not known whether it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateError {
    /// The keys.
    #[error("the keys cannot be used")]
    Keys(#[from] KeysError),
    /// The mirror.
    #[error("the mirror of the log does not hold")]
    Mirror(#[from] MirrorError),
    /// No randomness.
    #[error("the source of entropy failed")]
    Entropy(#[from] EntropyError),
    /// No link, or the membership does not hold.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The line broke, or the server showed something else.
    #[error("it is not known whether the log has the new key")]
    Interrupted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The certificate has run out, and there is no other.
    #[error("the TLS certificate does not hold and is not renewed")]
    Certificate(#[from] ComeBackError),
    /// The log does not show that this institution was admitted.
    #[error("the log does not show this institution as a member")]
    NotMember,
    /// The server refuses.
    #[error("the server refuses the new key: {0}")]
    Rejected(Rejection),
    /// Rounds went on for as long as was waited.
    #[error("a round that this institution is on the roster of is still under way")]
    InRound,
    /// The receipt is not what the log has.
    #[error("the server's receipt is not the entry that the log has")]
    FalseReceipt,
}

impl From<WireError> for RotateError {
    fn from(e: WireError) -> Self {
        Self::Interrupted(Box::new(e))
    }
}

impl From<SyncError> for RotateError {
    fn from(e: SyncError) -> Self {
        match e.lasting() {
            Ok(e) => Self::Mirror(e),
            Err(e) => Self::Interrupted(Box::new(e)),
        }
    }
}

/// What became of a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotated {
    /// The log has it by this entry.
    By(LeafIndex),
    /// The log had it already: an earlier call was interrupted, or the witness key waits for a policy.
    Already,
}

/// Replaces the statement key, between two rounds; `waits` is told once where one is under way. The directory must be this process's alone.
///
/// # Errors
/// [`RotateError`]; called again, it goes on with the same new key.
pub(crate) async fn statement_key(home: &Home, identity: &Identity, waits: impl FnMut()) -> Result<Rotated, RotateError> {
    let mut desk = Desk::open(home, identity).await?;
    let done = desk.statement_key(waits).await;
    desk.link.close().await;
    done
}

/// Announces the next witness key, which cosigns when a policy names it.
///
/// # Errors
/// [`RotateError`]; called again, it goes on with the same new key.
pub(crate) async fn witness_key(home: &Home, identity: &Identity) -> Result<Rotated, RotateError> {
    let mut desk = Desk::open(home, identity).await?;
    let done = desk.witness_key().await;
    desk.link.close().await;
    done
}

/// Gets a certificate that holds where the one that is there has run out: `run`, which sees to that otherwise, does not begin in the middle of a
/// change of the statement key.
async fn certify(home: &Home, identity: &Identity, keys: &Keys) -> Result<(), ComeBackError> {
    let (mut certificate, now) = (Certificate::load(home)?, clock::now());
    if certificate.holds(now) { Ok(()) } else { certificate.come_back(home, identity, keys, now).await }
}

/// A connection to speak on, with the mirror brought up to the server's log.
struct Desk<'a> {
    home: &'a Home,
    identity: &'a Identity,
    keys: Keys,
    mirror: Mirror,
    link: Link,
}

impl<'a> Desk<'a> {
    async fn open(home: &'a Home, identity: &'a Identity) -> Result<Self, RotateError> {
        let (keys, mut mirror) = (Keys::load(home)?, Mirror::open(home)?);
        certify(home, identity, &keys).await?;
        let link = Link::open(home, identity, &keys, &sync::hello(clock::boot()?, &mirror)?).await?;
        sync::catch_up(&mut mirror, &link.wire(), link.welcome.1).await?;
        Ok(Self { home, identity, keys, mirror, link })
    }

    fn member(&self) -> Result<&Member, RotateError> {
        self.mirror.history().members().get(&self.keys.client()).ok_or(RotateError::NotMember)
    }

    async fn statement_key(&mut self, waits: impl FnMut()) -> Result<Rotated, RotateError> {
        let next = next_statement(self.home)?;
        let new = PublicKey(next.verifying_key().to_bytes());
        let known = self.member()?.key;
        let done = if known == new {
            Rotated::Already
        } else {
            let (federation, institution) = (self.identity.federation.clone(), self.keys.client());
            let change = StatementKeyChange { federation, institution, old: self.keys.public(), new };
            Rotated::By(self.declare(&StatementKeyRotation::new(&change, &next), waits).await?)
        };
        adopt_statement(self.home)?;
        Ok(done)
    }

    async fn witness_key(&mut self) -> Result<Rotated, RotateError> {
        let (old, institution) = (self.member()?.witness(), self.keys.client());
        if let Some(pending) = pending_witness(self.home)? {
            let (known, id) = (self.member()?, witness_id(&pending.verifier().to_string()));
            if known.cosigns(id) {
                return Ok(Rotated::Already);
            }
            if known.has_had(id) {
                forget_next_witness(self.home)?;
            }
        }
        let new = next_witness(self.home, self.keys.witness())?.verifier().to_string();
        let said = WitnessKeyRotation { federation: self.identity.federation.clone(), institution, old, new };
        Ok(Rotated::By(self.declare(&said, || ()).await?))
    }

    /// Says it, asks again while a round is under way, and looks for the entry in the mirror.
    async fn declare<P: Payload>(&mut self, said: &P, mut waits: impl FnMut()) -> Result<LeafIndex, RotateError> {
        for tried in 0..TRIES {
            // Whatever the server says meanwhile is about rounds, which this process takes no part in.
            while self.link.inbox.try_recv().is_ok() {}
            match self.link.wire().declare(self.keys.sign(said)).await {
                Err(WireError::Rejected(Rejection::InRound)) => {
                    if tried == 0 {
                        waits();
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Err(WireError::Rejected(reason)) => return Err(RotateError::Rejected(reason)),
                told => {
                    let (index, entry) = told?;
                    let shown = sync::shows(&mut self.mirror, &self.link.wire(), index, &entry).await?;
                    return if shown { Ok(index) } else { Err(RotateError::FalseReceipt) };
                }
            }
        }
        Err(RotateError::InRound)
    }
}
