//! Names of things: newtypes that cannot stand in for one another.

use minicbor::{CborLen, Decode, Encode};
use serde::{Deserialize, Serialize};

/// A string that is not the lower-case hexadecimal form of the id it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hex digits, got {got} characters")]
pub struct BadHex {
    /// Digits that the id has.
    pub expected: usize,
    /// Characters that were given.
    pub got: usize,
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], BadHex> {
    let bad = || BadHex { expected: 2 * N, got: text.chars().count() };
    // One spelling only (audit.md A6): upper case would be a second name of the same thing.
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(bad());
    }
    let mut out = [0u8; N];
    hex::decode_to_slice(text, &mut out).map_err(|_| bad())?;
    Ok(out)
}

/// Lower-case hexadecimal digits of `bytes` in `room`, which is twice as long: entries are full of ids, and none of them asks for memory.
fn digits<'a>(bytes: &[u8], room: &'a mut [u8]) -> &'a str {
    let written = hex::encode_to_slice(bytes, room).is_ok();
    std::str::from_utf8(room).ok().filter(|_| written).expect("twice as many digits as bytes, all of them ASCII")
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, CborLen)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(with = "minicbor::bytes")] pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;
            /// All bytes in lower-case hexadecimal.
            pub fn to_hex(self) -> String { hex::encode(self.0) }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // Eight digits tell ids apart; more would only fill the line.
                write!(f, concat!(stringify!($name), "({}…)"), hex::encode(&self.0[..4]))
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(digits(&self.0, &mut [0; 2 * $len])) }
        }
        impl std::str::FromStr for $name {
            type Err = BadHex;
            fn from_str(text: &str) -> Result<Self, BadHex> { parse_hex(text).map(Self) }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(digits(&self.0, &mut [0; 2 * $len]))
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Digits;
                impl serde::de::Visitor<'_> for Digits {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, "a string of {} lower-case hex digits", 2 * $len)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                d.deserialize_str(Digits)
            }
        }
    };
}

bytes_id!(/// An institution: SHA-256 of its public statement key.
    ClientId, 32);
bytes_id!(/// One long-lived training job; random, made by the administrator who proposes it.
    TaskId, 16);
bytes_id!(/// SHA-256 of a plan's canonical bytes.
    PlanDigest, 32);
bytes_id!(/// H(`manifest`; statement payload), crypto.md C36.
    ManifestDigest, 32);
bytes_id!(/// SHA-256 of a snapshot's bytes: weights as safetensors, or what a task that counts knows.
    SnapshotDigest, 32);
bytes_id!(/// H(`core`; core bytes): the part of a header that share blobs are bound to.
    CoreDigest, 32);
bytes_id!(/// H(`header`; statement payload).
    HeaderDigest, 32);
bytes_id!(/// H(`body`; count, BLAKE3 addresses in order).
    BodyRoot, 32);
bytes_id!(/// H(`set`; manifest digest, group, count, header digests ascending).
    SetDigest, 32);
bytes_id!(/// H(`certificate`; `set` payload).
    CertificateDigest, 32);
bytes_id!(/// H(`sum`; manifest digest, group, count, block addresses).
    SumRoot, 32);
bytes_id!(/// H(`key-sum`; S as 4096 i32 LE).
    KeySumDigest, 32);
bytes_id!(/// H(`values`; manifest digest, group, BLAKE3 of each shard's values).
    ValueDigest, 32);
bytes_id!(/// BLAKE3 address of a chunk or a share blob (transport-storage.md T30).
    Address, 32);
bytes_id!(/// Any other SHA-256: artefacts, public keys, entries, configurations.
    Sha256, 32);
bytes_id!(/// Ed25519 public key of an institution, decryptor, administrator or server.
    PublicKey, 32);
bytes_id!(/// First 16 bytes of SHA-256(header bytes): one upload (T32).
    UploadId, 16);
bytes_id!(/// Id of an enrolment token; not the secret in it.
    TokenId, 16);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $ty:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, CborLen, Serialize, Deserialize)]
        #[cbor(transparent)]
        #[serde(transparent)]
        pub struct $name(pub $ty);
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{}", self.0) }
        }
    };
}

number_id!(/// Position of a round within one task. Starts at 1 and is never reused.
    RoundId, u64);
number_id!(/// One sum of one round: an ordered list of shards and the institutions that may contribute to it.
    GroupId, u32);
number_id!(/// A contiguous coordinate block of the model, as the plan's shard table numbers it.
    ShardId, u32);
number_id!(/// A decryptor's place 1..=c in the manifest's committee list; also its Shamir abscissa.
    Position, u8);
number_id!(/// Zero-based position of an entry in the log (RFC 9162, section 2.1).
    LeafIndex, u64);
number_id!(/// Ties an [`Action`](crate::round) to the event that answers it.
    Ticket, u64);

impl RoundId {
    /// The first round of a task.
    pub const FIRST: Self = Self(1);
    /// The round after this one, or `None` when the counter is exhausted.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl ClientId {
    /// The institution that holds the secret half of `key`.
    pub fn of(key: &PublicKey) -> Self {
        Self(crate::hash::sha256(&[&key.0]))
    }
    /// Eight hex digits, for people.
    pub fn short(self) -> String {
        hex::encode(&self.0[..4])
    }
}
