//! Entries as bytes in one append-only file: framed, versioned, chained (privacy.md D59, D67). Knows no file handle and no budget rule.
//!
//! Record: length u32 LE · its complement u32 LE · body · hash; body: version byte · canonical CBOR of a statement whose payload is the
//! canonical CBOR of the entry; hash: SHA-256(domain ‖ version byte ‖ payload), which the next entry names. The complement keeps a flipped
//! bit in a length from looking like a torn write that would hide the entries behind it. The signature is the institution's: who rewrites a
//! ledger and all its hashes still needs its key.

use super::entry::Entry;
use super::machine::PrivacyLedger;
use protocol::codec::{self, DecodeError};
use protocol::hash::sha256;
use protocol::ids::{PublicKey, Sha256};
use protocol::statement::{Payload as _, Statement, StatementError};

/// First byte of every body.
const VERSION: u8 = 2;
/// What the hash of an entry starts with.
const DOMAIN: &[u8] = b"concordat/ledger/v2\0";
/// Longest body. A reservation takes about 600 bytes, a registration about 2,000; a repair names rounds.
const MAX_BODY: usize = Entry::LIMIT + 256;
const FRAME: usize = 8;
const HASH: usize = 32;

/// A ledger read back from its bytes.
pub struct Loaded {
    /// The ledger as it stands.
    pub ledger: PrivacyLedger,
    /// Its entries, in order.
    pub entries: Vec<Entry>,
    /// Bytes that hold whole records. What lies behind them is a torn write and must be cut off before the next append.
    pub valid_len: usize,
    /// Whether there was a torn write at the end: it was never answered by `recorded`, so nothing was drawn on it.
    pub torn: bool,
}

/// Bytes that are no ledger. Nothing may be reserved until a person has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No whole first record.
    #[error("the ledger has no first entry")]
    Empty,
    /// A frame or a hash that does not hold.
    #[error("the record at byte {offset} is damaged")]
    Damaged {
        /// Where the record starts.
        offset: usize,
    },
    /// A format of another version.
    #[error("the record at byte {offset} has version {got}")]
    Version {
        /// Where the record starts.
        offset: usize,
        /// The version byte.
        got: u8,
    },
    /// A body that is no entry.
    #[error("the record at byte {offset} is no entry")]
    Entry {
        /// Where the record starts.
        offset: usize,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A record that its institution did not sign.
    #[error("the record at byte {offset} is not signed by the ledger's institution")]
    Signature {
        /// Where the record starts.
        offset: usize,
        /// What is wrong with the statement.
        #[source]
        source: StatementError,
    },
    /// An entry that does not follow the one before it.
    #[error("entry {counter} does not continue the chain")]
    Chain {
        /// The counter it should have.
        counter: u64,
    },
    /// A signature by another key than the institution's, or by one that it had replaced before.
    #[error("entry {counter} is signed by a key that is not the ledger's institution's")]
    Stranger {
        /// Its counter.
        counter: u64,
    },
    /// An entry that breaks a rule of the ledger.
    #[error("entry {counter} contradicts the entries before it")]
    Contradiction {
        /// Its counter.
        counter: u64,
    },
}

/// What the next entry names this one by.
pub(super) fn hash(entry: &Entry) -> Sha256 {
    hash_payload(&codec::encode(entry))
}

fn hash_payload(payload: &[u8]) -> Sha256 {
    Sha256(sha256(&[DOMAIN, &[VERSION], payload]))
}

/// The record of a signed entry.
pub(super) fn write(statement: &Statement) -> Vec<u8> {
    let mut body = vec![VERSION];
    body.extend(codec::encode(statement));
    let len = u32::try_from(body.len()).expect("an entry is far shorter than 4 GiB");
    [len.to_le_bytes().as_slice(), &(!len).to_le_bytes(), &body, &hash_payload(&statement.payload).0].concat()
}

/// One step of reading.
pub(super) enum Read {
    /// A whole record of `len` bytes.
    Whole { entry: Box<Entry>, key: PublicKey, hash: Sha256, len: usize },
    /// Fewer bytes than a record: the write was cut short.
    Torn,
}

/// Reads the record at the start of `rest`, which lies at `offset` of the file and is not empty.
pub(super) fn read(rest: &[u8], offset: usize) -> Result<Read, LoadError> {
    let damaged = LoadError::Damaged { offset };
    // Some file systems extend a file with zeros before the data arrives.
    if rest.len() < FRAME || rest.iter().all(|&b| b == 0) {
        return Ok(Read::Torn);
    }
    let number = |at: usize| <[u8; 4]>::try_from(&rest[at..at + 4]).map(u32::from_le_bytes).expect("four bytes");
    let (len, complement) = (number(0), number(4));
    let body_len = usize::try_from(len).map_err(|_| damaged)?;
    if len != !complement || !(1..=MAX_BODY).contains(&body_len) {
        return Err(damaged);
    }
    let whole = FRAME + body_len + HASH;
    if rest.len() < whole {
        return Ok(Read::Torn);
    }
    let (body, stored) = rest[FRAME..whole].split_at(body_len);
    if body[0] != VERSION {
        return Err(LoadError::Version { offset, got: body[0] });
    }
    let statement: Statement = codec::decode(&body[1..], MAX_BODY).map_err(|source| LoadError::Entry { offset, source })?;
    let hash = hash_payload(&statement.payload);
    if hash.0 != stored {
        return Err(damaged);
    }
    let entry = statement.verify::<Entry>().map_err(|source| LoadError::Signature { offset, source })?;
    Ok(Read::Whole { entry: Box::new(entry), key: statement.key, hash, len: whole })
}
