//! Signed statements (audit.md A17, crypto.md C35): DSSE over exact bytes. Verified first, decoded after, never encoded again.

use crate::codec::{self, DecodeError};
use crate::ids::{ClientId, PublicKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::{CborLen, Decode, Encode};

/// Longest payload that stands inside a log entry (A17).
pub const MAX_PAYLOAD: usize = 40 * 1024;

macro_rules! statement_kinds {
    ($($(#[$doc:meta])* $variant:ident = $n:literal, $name:literal;)*) => {
        /// What a statement says; its type string is `application/vnd.concordat.<name>.v1+cbor`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, CborLen)]
        #[cbor(index_only)]
        pub enum StatementKind { $($(#[$doc])* #[n($n)] $variant,)* }
        impl StatementKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The name in the type string.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// The type string that is signed with the payload.
            pub fn media_type(self) -> &'static str {
                match self { $(Self::$variant => concat!("application/vnd.concordat.", $name, ".v1+cbor"),)* }
            }
        }
    };
}

statement_kinds! {
    /// An institution asks to join, with its public keys.
    JoinRequest = 0, "join-request";
    /// An administrator admits an institution.
    Membership = 1, "membership";
    /// An institution declares a dataset.
    Dataset = 2, "dataset";
    /// An institution declares a privacy cap.
    Budget = 3, "budget";
    /// An administrator approves a plan.
    Plan = 4, "plan";
    /// A decryptor publishes prekeys.
    Prekeys = 5, "prekeys";
    /// The server publishes a round's manifest.
    Manifest = 6, "manifest";
    /// A decryptor endorses a manifest.
    Endorsement = 7, "endorsement";
    /// A client's update.
    Header = 8, "header";
    /// A decryptor signs one exact set.
    Set = 9, "set";
    /// A decryptor's summed key share.
    Opening = 10, "opening";
    /// A client takes no part in a round.
    Decline = 11, "decline";
    /// The server states an opened sum.
    SumResult = 12, "sum-result";
    /// An administrator activates a witness policy.
    Policy = 13, "policy";
    /// A decryptor reveals its number for the random groups of a round.
    Nonce = 14, "nonce";
    /// An institution raised its ledger to what the log shows.
    Repair = 15, "ledger-repair";
    /// An entry of an institution's own privacy ledger; never on the wire.
    LedgerEntry = 16, "ledger-entry";
    /// An institution paid for a scalar release.
    ReleaseSpend = 17, "release-spend";
    /// An institution whose TLS certificate has run out asks for another one.
    Renewal = 18, "renewal";
    /// An institution paid for a round that took no update of it.
    Spend = 19, "round-spend";
    /// An institution describes its prepared records.
    DataManifest = 20, "data-manifest";
    /// An institution withdraws a dataset.
    DatasetWithdrawal = 21, "dataset-withdrawal";
    /// An institution's privacy ledger cannot pay.
    Exhausted = 22, "budget-exhausted";
    /// Administrators release a model.
    Release = 30, "release";
    /// An institution declares its site policy.
    SitePolicy = 23, "site-policy";
    /// An institution anchors its site log.
    SiteAnchor = 31, "site-anchor";
    /// Administrators withdraw a model.
    Withdrawal = 32, "withdrawal";
    /// Somebody examined a part of the log.
    Review = 33, "review";
    /// A new statement key signs that it takes the place of the one so far; stands inside the next kind only.
    StatementKeyChange = 60, "statement-key-change";
    /// An institution goes on with another statement key.
    StatementKeyRotation = 61, "statement-key-rotation";
    /// An institution goes on with another witness key.
    WitnessKeyRotation = 62, "witness-key-rotation";
    /// Administrators suspend, resume or revoke a membership.
    Standing = 40, "standing";
    /// An institution leaves.
    Departure = 41, "departure";
    /// An institution goes on with another TLS key.
    Rotation = 42, "key-rotation";
    /// Administrators revoke a key of an institution.
    KeyRevocation = 43, "key-revocation";
    /// Administrators put another trust document in force.
    TrustChange = 50, "trust-change";
}

impl StatementKind {
    /// The kind with this type string.
    pub fn from_media_type(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.media_type() == text)
    }
}

/// Exact payload bytes with one signature. Nothing is believed before [`Statement::verify`].
#[derive(Clone, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Statement {
    /// What it says.
    #[n(0)]
    pub kind: StatementKind,
    /// Canonical CBOR of the matching type.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// Who signed.
    #[n(2)]
    pub key: PublicKey,
    /// Ed25519 over the DSSE pre-authentication encoding.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Statement({:?}, {} bytes, by {:?})", self.kind, self.payload.len(), self.key)
    }
}

/// Why a statement is not believed. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Another kind of statement than the place asks for.
    #[error("statement is {got:?}, expected {expected:?}")]
    WrongKind {
        /// What it is.
        got: StatementKind,
        /// What it should be.
        expected: StatementKind,
    },
    /// Signed by another key.
    #[error("statement is signed by {got:?}, expected {expected:?}")]
    WrongKey {
        /// Who signed.
        got: PublicKey,
        /// Who should have.
        expected: PublicKey,
    },
    /// The signature does not hold.
    #[error("signature does not verify")]
    BadSignature,
    /// The payload is not what its kind says.
    #[error("payload does not decode")]
    BadPayload(#[source] DecodeError),
}

/// A payload with its kind, so that a payload cannot be decoded as something else.
pub trait Payload: Encode<()> + for<'b> Decode<'b, ()> {
    /// The kind of statement that carries it.
    const KIND: StatementKind;
    /// Longest encoding.
    const LIMIT: usize = MAX_PAYLOAD;
}

/// `DSSEv1 SP len(type) SP type SP len(payload) SP payload`.
pub fn dsse_bytes(kind: StatementKind, payload: &[u8]) -> Vec<u8> {
    let media = kind.media_type();
    let mut out = format!("DSSEv1 {} {media} {} ", media.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

impl Statement {
    /// Signs `value`.
    pub fn sign<P: Payload>(value: &P, key: &SigningKey) -> Self {
        Self::of(P::KIND, codec::encode(value), key)
    }

    /// The same words, to the byte, signed by this key.
    #[must_use]
    pub fn signed_again(&self, key: &SigningKey) -> Self {
        Self::of(self.kind, self.payload.clone(), key)
    }

    fn of(kind: StatementKind, payload: Vec<u8>, key: &SigningKey) -> Self {
        let signature = key.sign(&dsse_bytes(kind, &payload)).to_bytes();
        Self { kind, payload, key: PublicKey(key.verifying_key().to_bytes()), signature }
    }

    /// Who signed, by the key alone: the institution, if the key is the first that it ever had. Whose key it is after a rotation knows the
    /// history ([`crate::history::History::speaker`]).
    pub fn signer(&self) -> ClientId {
        ClientId::of(&self.key)
    }

    /// Checks the signature alone, by the strict rule (audit.md A8).
    ///
    /// # Errors
    /// [`StatementError::BadSignature`].
    pub fn check_signature(&self) -> Result<(), StatementError> {
        let key = VerifyingKey::from_bytes(&self.key.0).map_err(|_| StatementError::BadSignature)?;
        key.verify_strict(&dsse_bytes(self.kind, &self.payload), &Signature::from_bytes(&self.signature))
            .map_err(|_| StatementError::BadSignature)
    }

    /// Checks kind and signature, then decodes.
    ///
    /// # Errors
    /// [`StatementError`], the first rule broken.
    pub fn verify<P: Payload>(&self) -> Result<P, StatementError> {
        if self.kind != P::KIND {
            return Err(StatementError::WrongKind { got: self.kind, expected: P::KIND });
        }
        self.check_signature()?;
        codec::decode(&self.payload, P::LIMIT).map_err(StatementError::BadPayload)
    }

    /// The statement with the knowledge that its signature holds, so that it is not checked again (audit.md A40).
    ///
    /// # Errors
    /// As [`Self::check_signature`].
    pub fn checked(self) -> Result<Checked, StatementError> {
        self.checked_by(&mut |s| s.check_signature().is_ok())
    }

    /// As [`Self::checked`], where `holds` knows the verdict.
    ///
    /// # Security
    /// What `holds` says is believed: it must be the verdict of [`Self::check_signature`], however it was come by (audit.md A8).
    ///
    /// # Errors
    /// [`StatementError::BadSignature`].
    pub fn checked_by(self, holds: &mut dyn FnMut(&Self) -> bool) -> Result<Checked, StatementError> {
        let signer = self.signer();
        if holds(&self) { Ok(Checked { statement: self, signer }) } else { Err(StatementError::BadSignature) }
    }

    /// As [`Statement::verify`], and signed by `expected`.
    ///
    /// # Errors
    /// [`StatementError`], the first rule broken.
    pub fn verify_by<P: Payload>(&self, expected: &PublicKey) -> Result<P, StatementError> {
        if self.key != *expected {
            return Err(StatementError::WrongKey { got: self.key, expected: *expected });
        }
        self.verify()
    }
}
/// A statement whose signature holds: only [`Statement::checked_by`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    statement: Statement,
    signer: ClientId,
}

impl std::ops::Deref for Checked {
    type Target = Statement;

    fn deref(&self) -> &Statement {
        &self.statement
    }
}

impl Checked {
    /// The same as the word of `who`, who has this key by the log that the statement stands in.
    pub(crate) fn said_by(self, who: ClientId) -> Self {
        Self { signer: who, ..self }
    }

    /// Who says it: the institution that has the key where the statement stands in a log, else whoever the key names by itself.
    pub fn signer(&self) -> ClientId {
        self.signer
    }

    /// Compares the kind, then decodes.
    ///
    /// # Errors
    /// [`StatementError`], the first rule broken.
    pub fn read<P: Payload>(&self) -> Result<P, StatementError> {
        if self.kind != P::KIND {
            return Err(StatementError::WrongKind { got: self.kind, expected: P::KIND });
        }
        codec::decode(&self.payload, P::LIMIT).map_err(StatementError::BadPayload)
    }

    /// As [`Self::read`], and signed by `expected`.
    ///
    /// # Errors
    /// [`StatementError`], the first rule broken.
    pub fn read_by<P: Payload>(&self, expected: &PublicKey) -> Result<P, StatementError> {
        if self.key != *expected {
            return Err(StatementError::WrongKey { got: self.key, expected: *expected });
        }
        self.read()
    }
}
