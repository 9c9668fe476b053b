//! Who may speak in a federation: the trust document, membership, datasets and caps (audit.md A14, transport-storage.md T10, T11).

mod change;

pub use change::{BadChain, BadSuccessor, TrustChain, TrustChange};

use crate::codec;
use crate::decimal::Decimal;
use crate::hash::sha256;
use crate::ids::{ClientId, LeafIndex, PublicKey, RoundId, Sha256, TaskId, TokenId};
use crate::manifest::BudgetSpend;
use crate::plan::Unit;
use crate::statement::{Payload, StatementKind};
use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// The root of trust: one JSON line, named by its SHA-256 in every token and, a federation's first one, in entry 0. Each later one names the one
/// that it takes the place of, so that whoever pins one pins all before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustDocument {
    /// Format version, 1.
    pub v: u8,
    /// Federation name: `[a-z0-9-]{1,63}`.
    pub federation: String,
    /// Verifier key of the log, as C2SP signed-note writes it.
    pub log_vkey: String,
    /// SHA-256 of the root CA's subject public key info.
    pub root_ca: Sha256,
    /// Administrators' statement keys.
    pub administrators: Vec<PublicKey>,
    /// How many administrators must sign (m).
    pub threshold: u16,
    /// The server's statement key.
    pub server: PublicKey,
    /// SHA-256 of the document that this one takes the place of; nothing in a federation's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Sha256>,
}

/// Bytes that are no trust document.
#[derive(Debug, thiserror::Error)]
#[error("not a trust document of this version in its one spelling")]
pub struct BadTrust;

impl TrustDocument {
    /// Longest trust document.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// The one line, without a line feed.
    ///
    /// # Panics
    /// Never: every field is plain.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields always serialise")
    }

    /// Parses the one spelling.
    ///
    /// # Errors
    /// [`BadTrust`] for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadTrust> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(BadTrust);
        }
        let doc: Self = serde_json::from_slice(bytes).map_err(|_| BadTrust)?;
        let threshold = usize::from(doc.threshold);
        // A key that stands twice would count once, and a threshold that counts it twice would never be met.
        let distinct = doc.administrators.iter().collect::<std::collections::BTreeSet<_>>().len() == doc.administrators.len();
        let sound = doc.v == 1 && is_name(&doc.federation) && threshold >= 1 && threshold <= doc.administrators.len() && distinct;
        if sound && doc.to_bytes() == bytes { Ok(doc) } else { Err(BadTrust) }
    }

    /// SHA-256 of the exact bytes.
    pub fn hash(bytes: &[u8]) -> Sha256 {
        Sha256(sha256(&[bytes]))
    }
}

/// Six groups of four hexadecimal digits that two people can compare by telephone.
pub fn fingerprint(hash: &Sha256) -> String {
    hash.0[..12].chunks(2).map(hex::encode).collect::<Vec<_>>().join("-")
}

/// Names of federations and institutions: `[a-z0-9-]{1,63}` (T1).
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// An institution asks to join. Signed by its own new statement key, which proves possession.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct JoinRequest {
    /// Token that invited it.
    #[n(0)]
    pub token: TokenId,
    /// Trust document that it was shown.
    #[n(1)]
    pub trust: Sha256,
    /// The server's nonce of this connection.
    #[n(2)]
    pub nonce: Sha256,
    /// Name of the institution.
    #[n(3)]
    pub name: String,
    /// Statement key.
    #[n(4)]
    pub institution_key: PublicKey,
    /// Verifier key of its witness, as tlog-policy writes it.
    #[n(5)]
    pub witness_vkey: String,
    /// SHA-256 of the TLS key's subject public key info.
    #[n(6)]
    pub tls_key: Sha256,
}

impl Payload for JoinRequest {
    const KIND: StatementKind = StatementKind::JoinRequest;
}

/// An administrator admits exactly this request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Membership {
    /// SHA-256 of the join request's payload.
    #[n(0)]
    pub request: Sha256,
    /// The institution.
    #[n(1)]
    pub institution: ClientId,
    /// Its name.
    #[n(2)]
    pub name: String,
    /// Its statement key.
    #[n(3)]
    pub institution_key: PublicKey,
    /// Its witness.
    #[n(4)]
    pub witness_vkey: String,
    /// Its TLS key.
    #[n(5)]
    pub tls_key: Sha256,
}

impl Payload for Membership {
    const KIND: StatementKind = StatementKind::Membership;
}

impl Membership {
    /// The membership that admits `request` as it was signed.
    pub fn of(request: &JoinRequest) -> Self {
        Self {
            request: Sha256(sha256(&[&codec::encode(request)])),
            institution: ClientId::of(&request.institution_key),
            name: request.name.clone(),
            institution_key: request.institution_key,
            witness_vkey: request.witness_vkey.clone(),
            tls_key: request.tls_key,
        }
    }
}

/// Administrators put a witness policy in force. It names the one that it replaces, so that what was signed once has effect at most once:
/// after another activation these bytes are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct PolicyApproval {
    /// SHA-256 of the policy text.
    #[n(0)]
    pub policy: Sha256,
    /// What is in force when it is signed; nothing before the first policy.
    #[n(1)]
    pub replaces: Option<PolicyInForce>,
}

/// A witness policy where it was put in force: the same text may be in force more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct PolicyInForce {
    /// SHA-256 of its text.
    #[n(0)]
    pub policy: Sha256,
    /// The entry that put it in force.
    #[n(1)]
    pub entry: LeafIndex,
}

impl Payload for PolicyApproval {
    const KIND: StatementKind = StatementKind::Policy;
}

/// An institution declares a dataset: no name, no exact size (privacy.md D4, audit.md A18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct DatasetDeclaration {
    /// Opaque id of the lineage: a hash of its name with a nonce that stays with the institution, unless it tells both
    /// ([`crate::sidecar`]).
    #[n(0)]
    pub dataset: Sha256,
    /// Whose data one unit is.
    #[n(1)]
    pub unit: Unit,
    /// Declared number of units, two significant digits.
    #[n(2)]
    pub declared_units: u64,
}

impl Payload for DatasetDeclaration {
    const KIND: StatementKind = StatementKind::Dataset;
}

/// An institution's signed cap on the privacy spent from one dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct BudgetDeclaration {
    /// The dataset.
    #[n(0)]
    pub dataset: Sha256,
    /// Most ε that may ever be spent.
    #[n(1)]
    pub epsilon_cap: Decimal,
    /// At this δ.
    #[n(2)]
    pub delta: Decimal,
    /// Nothing: the cap is of own cost. Else it is of what the guaranteed shares of noise leave to a coalition, where their bound is published,
    /// and this is the most own ε of any one task (privacy.md D61). Which of the two never changes.
    #[n(3)]
    pub own_epsilon_cap: Option<Decimal>,
}

impl Payload for BudgetDeclaration {
    const KIND: StatementKind = StatementKind::Budget;
}

impl BudgetDeclaration {
    /// Most own ε that a header may state.
    pub fn most_own(&self) -> Decimal {
        self.own_epsilon_cap.unwrap_or(self.epsilon_cap)
    }
}

/// An institution raised its ledger to what the log shows, after the ledger was rolled back or copied (privacy.md D65).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct LedgerRepair {
    /// The dataset.
    #[n(0)]
    pub dataset: Sha256,
    /// Entries of the log that were looked at: every spend among them is in the ledger from now on.
    #[n(1)]
    pub log_size: u64,
    /// Upper bound on ε of everything that the ledger now counts, over all tasks; none where no decimal holds it.
    #[n(2)]
    pub epsilon: Option<Decimal>,
    /// Counter of the ledger entry that repairs; above every counter that those spends state.
    #[n(3)]
    pub ledger_counter: u64,
    /// Hash of that entry.
    #[n(4)]
    pub ledger_head: Sha256,
}

impl Payload for LedgerRepair {
    const KIND: StatementKind = StatementKind::Repair;
}

/// An institution paid for a scalar release from a dataset's records, beside every task (privacy.md D28, D65): the cost and where it stands in
/// its ledger. Nothing about what was asked or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct ReleaseSpend {
    /// The dataset.
    #[n(0)]
    pub dataset: Sha256,
    /// Whose data one unit is.
    #[n(1)]
    pub unit: Unit,
    /// Upper bound on its zero-concentrated divergence.
    #[n(2)]
    pub rho: Decimal,
    /// Counter of the ledger entry that pays.
    #[n(3)]
    pub ledger_counter: u64,
    /// Hash of that entry.
    #[n(4)]
    pub ledger_head: Sha256,
}

impl Payload for ReleaseSpend {
    const KIND: StatementKind = StatementKind::ReleaseSpend;
}

/// An institution paid for a round that is over and took no update of it (audit.md A21): what a header would have stated. There is no refund.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct RoundSpend {
    /// The task.
    #[n(0)]
    pub task: TaskId,
    /// The round.
    #[n(1)]
    pub round: RoundId,
    /// What was paid, and where it stands in the ledger.
    #[n(2)]
    pub spend: BudgetSpend,
}

impl Payload for RoundSpend {
    const KIND: StatementKind = StatementKind::Spend;
}

/// `n` with two significant digits, rounded down (privacy.md D4).
pub fn two_digits(n: u64) -> u64 {
    let mut unit = 1u64;
    while n / unit >= 100 {
        unit *= 10;
    }
    n / unit * unit
}

/// An invitation: one line that an administrator sends to an institution (T10).
#[derive(Clone, PartialEq, Eq, Encode, Decode, CborLen)]
pub struct Token {
    /// Where the server listens.
    #[n(0)]
    pub address: String,
    /// SHA-256 of the root CA's subject public key info.
    #[n(1)]
    pub root_ca: Sha256,
    /// Hash of the trust document.
    #[n(2)]
    pub trust: Sha256,
    /// Its id, which the log may know.
    #[n(3)]
    pub id: TokenId,
    /// Its secret, which the log never knows.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub secret: [u8; 32],
    /// Name of the invited institution.
    #[n(5)]
    pub institution: String,
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an enrolment token: expected cj1. followed by base64url")]
pub struct BadToken;

impl Token {
    const PREFIX: &'static str = "cj1.";

    /// The line to send. It carries the secret: show it once, store it nowhere.
    pub fn to_line(&self) -> String {
        use base64::Engine as _;
        format!("{}{}", Self::PREFIX, base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(codec::encode(self)))
    }

    /// Parses a line.
    ///
    /// # Errors
    /// [`BadToken`] for anything else.
    pub fn parse(line: &str) -> Result<Self, BadToken> {
        use base64::Engine as _;
        let text = line.trim().strip_prefix(Self::PREFIX).filter(|t| t.len() <= 2048).ok_or(BadToken)?;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|_| BadToken)?;
        let token: Self = codec::decode(&bytes, 1536).map_err(|_| BadToken)?;
        if is_name(&token.institution) { Ok(token) } else { Err(BadToken) }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({:?}, for {})", self.id, self.institution)
    }
}
