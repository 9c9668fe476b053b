//! Leaving a federation by the institution's own word (audit.md A19): said on a connection of its own, and seen in the mirror before it counts
//! as done. Knows no round: whatever was under way goes on without this institution.

use crate::clock;
use crate::files::{Item, Lock, StoreError};
use crate::home::Home;
use crate::identity::Identity;
use crate::keys::{Keys, KeysError};
use crate::link::{Link, LinkError};
use crate::mirror::{Mirror, MirrorError};
use crate::sync::{self, SyncError};
use crate::wire::WireError;
use privacy::noise::EntropyError;
use protocol::history::History;
use protocol::ids::{ClientId, LeafIndex};
use protocol::membership::{Barred, Departure, Standing, StandingReason};
use protocol::reject::Rejection;
use protocol::statement::Statement;
use std::path::Path;

/// Why the institution has not left, or does not know it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// A file; the directory may be in use by a running client.
    #[error("the client's directory cannot be used")]
    Store(#[from] StoreError),
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
    /// The line broke, or the server showed something else. Run it again: it is said once.
    #[error("it is not known whether the institution has left")]
    Interrupted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log does not show that this institution was admitted.
    #[error("the log does not show this institution as a member")]
    NotMember,
    /// The server refuses.
    #[error("the server refuses the departure: {0}")]
    Rejected(Rejection),
    /// The receipt is not what the log has.
    #[error("the server's receipt is not the entry that the log has")]
    FalseReceipt,
}

impl From<WireError> for LeaveError {
    fn from(e: WireError) -> Self {
        Self::Interrupted(Box::new(e))
    }
}

impl From<SyncError> for LeaveError {
    fn from(e: SyncError) -> Self {
        match e.lasting() {
            Ok(e) => Self::Mirror(e),
            Err(e) => Self::Interrupted(Box::new(e)),
        }
    }
}

/// A departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Where its entry stands.
    pub index: LeafIndex,
    /// Whether this institution's own mirror shows it. If not, an earlier call was interrupted, and the server's word is all there is: it lets
    /// nobody who has left read on.
    pub is_mirrored: bool,
}

/// Leaves the federation of `dir`. Whoever has left already is told where.
///
/// # Errors
/// [`LeaveError`]; after [`LeaveError::Interrupted`] the same command finds out what became of it.
pub async fn leave(dir: &Path, reason: StandingReason) -> Result<Left, LeaveError> {
    let home = Home::new(dir);
    let identity = Identity::load(&home)?;
    let _lock = Lock::take(&home.lock(), Item::Identity)?;
    let (keys, mut mirror) = (Keys::load(&home)?, Mirror::open(&home)?);
    let hello = sync::hello(clock::boot()?, &mirror)?;
    let link = match Link::open(&home, &identity, &keys, &hello).await {
        Ok(link) => link,
        Err(LinkError::Barred(barred)) if matches!(barred.standing, Standing::Left(_)) => {
            return Ok(Left { index: barred.since, is_mirrored: shows(mirror.history(), keys.client(), barred) });
        }
        Err(e) => return Err(e.into()),
    };
    let left = say(&home, &link, &keys, &mut mirror, reason).await;
    link.close().await;
    Ok(Left { index: left?, is_mirrored: true })
}

/// Whether the log, as far as it is mirrored, says the same as the server.
fn shows(history: &History, who: ClientId, said: Barred) -> bool {
    history.barred(who) == Some(said)
}

/// The institution's word that it leaves, by the statement key that the log has for it: in the middle of a change of that key it may be the next.
fn departure(home: &Home, keys: &Keys, history: &History, reason: StandingReason) -> Result<Statement, LeaveError> {
    let member = history.members().get(&keys.client()).ok_or(LeaveError::NotMember)?;
    let next = if member.key == keys.public() { None } else { Keys::load_next(home)? };
    Ok(next.as_ref().unwrap_or(keys).sign(&Departure { since: member.since, reason }))
}

async fn say(home: &Home, link: &Link, keys: &Keys, mirror: &mut Mirror, reason: StandingReason) -> Result<LeafIndex, LeaveError> {
    let wire = link.wire();
    sync::catch_up(mirror, &wire, link.welcome.1).await?;
    let statement = departure(home, keys, mirror.history(), reason)?;
    let (index, entry) = match wire.declare(statement).await {
        Err(WireError::Rejected(reason)) => return Err(LeaveError::Rejected(reason)),
        said => said?,
    };
    if sync::shows(mirror, &wire, index, &entry).await? { Ok(index) } else { Err(LeaveError::FalseReceipt) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::next_statement;
    use crate::testing::{Case, case};
    use ed25519_dalek::SigningKey;
    use protocol::entry::Facts;
    use protocol::ids::PublicKey;
    use protocol::membership::KeyPurpose;
    use protocol::rotation::{StatementKeyChange, StatementKeyRotation, keyid};

    #[test]
    fn a_departure_is_shown_by_the_mirror_and_not_by_the_servers_word() {
        let (mut c, person) = (case(), SigningKey::from_bytes(&[21; 32]));
        let who = c.log.admit(&person);
        c.follow();
        let (since, reason) = (c.mirror.history().members()[&who].since, StandingReason::Request);
        let told = Barred { standing: Standing::Left(reason), since: LeafIndex(c.mirror.size()) };
        assert!(c.mirror.history().is_active(who) && !shows(c.mirror.history(), who, told));
        c.log.hear(&person, &Departure { since, reason }, Facts::MemberLeft { since, reason });
        c.follow();
        assert!(shows(c.mirror.history(), who, told));
        assert!(!shows(c.mirror.history(), who, Barred { since, ..told }), "by another entry");
    }

    #[test]
    fn in_the_middle_of_a_change_of_the_statement_key_it_leaves_by_the_key_that_the_log_has() {
        let mut c = case();
        let keys = Keys::load_or_make(&c.home, "fed/hospital-a").ok().unwrap();
        let seed: [u8; 32] = std::fs::read(c.home.key("institution.seed")).unwrap().try_into().unwrap();
        let (first, next) = (SigningKey::from_bytes(&seed), next_statement(&c.home).ok().unwrap());
        let who = c.log.admit(&first);
        c.follow();
        let signer = |c: &Case| departure(&c.home, &keys, c.mirror.history(), StandingReason::Request).unwrap().key;
        assert_eq!(signer(&c), keys.public(), "the log does not have the next one");
        let (old, new) = (keys.public(), PublicKey(next.verifying_key().to_bytes()));
        let said = StatementKeyRotation::new(&StatementKeyChange { federation: "fed".into(), institution: who, old, new }, &next);
        let facts = Facts::KeyRotated { purpose: KeyPurpose::Statement, old: keyid(&old), new: keyid(&new) };
        c.log.hear(&first, &said, facts);
        c.follow();
        assert_eq!(signer(&c), new);
    }
}
