//! What travels on the wire (transport-storage.md section 5): frames, requests, answers, pushes. Knows no stream.

mod chunk;
mod join;

pub use chunk::{ChunkHeader, ChunkKind};
pub use join::{JoinMessage, JoinReply};

use crate::codec::{self, DecodeError};
use crate::ids::{
    Address, GroupId, HeaderDigest, LeafIndex, ManifestDigest, PlanDigest, RoundId, Sha256, SnapshotDigest, TaskId, UploadId,
};
use crate::reject::Rejection;
use crate::statement::Statement;
use crate::time::Time;
use minicbor::bytes::ByteVec;
use minicbor::{CborLen, Decode, Encode};

/// Application protocol of members.
pub const ALPN: &[u8] = b"concordat/1";
/// Application protocol of enrolment.
pub const ALPN_JOIN: &[u8] = b"concordat-join/1";
/// Close code of a connection under a TLS key that no member has, any more or yet.
pub const CLOSE_NOT_ENROLLED: u32 = 1;
/// Close code of a connection of somebody whose membership does not hold; the reason is [`crate::membership::Barred`] as it is on the wire.
pub const CLOSE_BARRED: u32 = 4;
/// First byte of every frame's content.
pub const WIRE_VERSION: u8 = 1;
/// Longest frame (T28): a manifest with its endorsements is about 40 KiB; a page of log entries is cut to fit.
pub const MAX_FRAME: usize = 1 << 20;
/// Longest chunk: 256 polynomials of 64-bit values.
pub const MAX_CHUNK: usize = 8 << 20;
/// Longest frame on the enrolment protocol (T25).
pub const MAX_JOIN_FRAME: usize = 64 << 10;
/// Longest answer to a newcomer's first question: a federation's trust documents with the words that changed them, a few hundred of them.
pub const MAX_TRUST_FRAME: usize = MAX_FRAME;

/// What a client asks on a stream of its own.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub enum Request {
    /// May I upload this update, and what of it do you hold?
    #[n(0)]
    Begin {
        /// Signed header.
        #[n(0)]
        header: Statement,
        /// BLAKE3 addresses of the chunks in order; give the header's body root.
        #[n(1)]
        chunks: Vec<Address>,
    },
    /// All is sent: accept it.
    #[n(1)]
    Commit {
        /// The upload.
        #[n(0)]
        upload: UploadId,
    },
    /// Entries `from..to` of the log; the answer may stop early.
    #[n(2)]
    Log {
        /// First index.
        #[n(0)]
        from: u64,
        /// One past the last.
        #[n(1)]
        to: u64,
    },
    /// An artefact by its SHA-256.
    #[n(3)]
    Artefact {
        /// Which.
        #[n(0)]
        hash: Sha256,
    },
    /// A snapshot's bytes; they follow the answer on the same stream.
    #[n(4)]
    Snapshot {
        /// Which.
        #[n(0)]
        digest: SnapshotDigest,
    },
    /// A share blob addressed to the asking decryptor.
    #[n(5)]
    Blob {
        /// Which.
        #[n(0)]
        address: Address,
    },
    /// The latest published checkpoint.
    #[n(6)]
    Checkpoint {},
    /// A statement for the log that belongs to no round: a dataset, a cap, prekeys.
    #[n(7)]
    Declare {
        /// The statement.
        #[n(0)]
        statement: Statement,
    },
    /// What the tree of `new` entries begins with: as bytes the root of its first `old` ones, and the hashes of the consistency proof.
    #[n(8)]
    Consistency {
        /// Size of the older tree.
        #[n(0)]
        old: u64,
        /// Size of the newer one.
        #[n(1)]
        new: u64,
    },
    /// Another TLS certificate over the key of this connection: as bytes, in DER.
    #[n(9)]
    Renew {
        /// PKCS#10 request in DER.
        #[n(0)]
        csr: ByteVec,
    },
    /// The first note larger than a tree by which one key of the log handed over to the next, with the signatures of both (audit.md A14).
    #[n(10)]
    Handover {
        /// Size of that tree.
        #[n(0)]
        after: u64,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub enum Response {
    /// No, for this reason.
    #[n(0)]
    Rejected {
        /// Why.
        #[n(0)]
        reason: Rejection,
    },
    /// Go on; these parts are durable here already.
    #[n(1)]
    Have {
        /// The upload's id.
        #[n(0)]
        upload: UploadId,
        /// Indices of chunks still to send.
        #[n(1)]
        chunks: Vec<u32>,
        /// Positions of share blobs still to send.
        #[n(2)]
        blobs: Vec<u32>,
    },
    /// The entry is durable in the log.
    #[n(2)]
    Receipt {
        /// Its index.
        #[n(0)]
        index: LeafIndex,
        /// Its exact bytes.
        #[n(1)]
        entry: ByteVec,
    },
    /// Entries from the asked index on.
    #[n(3)]
    Entries {
        /// Exact bytes of each.
        #[n(0)]
        entries: Vec<ByteVec>,
    },
    /// Bytes.
    #[n(4)]
    Bytes {
        /// The bytes.
        #[n(0)]
        bytes: ByteVec,
    },
    /// So many raw bytes follow on this stream.
    #[n(5)]
    Stream {
        /// How many.
        #[n(0)]
        length: u64,
    },
}

/// What a client says on its control stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub enum ClientMessage {
    /// First message of a connection.
    #[n(0)]
    Hello {
        /// Random id of this process.
        #[n(0)]
        boot: [u8; 16],
        /// Program version.
        #[n(1)]
        software: String,
        /// The note of the largest tree that this client has mirrored, signed by the log, or nothing where it has none yet: at least the
        /// tree that it cosigned last (A32). Numbers alone would let any member accuse the server of a rollback.
        #[n(2)]
        note: ByteVec,
        /// The notes that it has by which the log's keys handed over: a server that an old backup brought back does not know the key of `note`,
        /// and the key that signed the handover it knows.
        #[n(3)]
        handovers: Vec<ByteVec>,
    },
    /// Takes part in the round.
    #[n(1)]
    Ready {
        /// Task.
        #[n(0)]
        task: TaskId,
        /// Round.
        #[n(1)]
        round: RoundId,
    },
    /// Takes no part; a signed [`crate::manifest::Decline`].
    #[n(2)]
    Declined {
        /// The statement.
        #[n(0)]
        statement: Statement,
    },
    /// Endorses a manifest.
    #[n(3)]
    Endorsed {
        /// The statement.
        #[n(0)]
        statement: Statement,
    },
    /// As a decryptor: what became of a member's blob.
    #[n(4)]
    BlobReport {
        /// The manifest.
        #[n(0)]
        manifest: ManifestDigest,
        /// The group.
        #[n(1)]
        group: GroupId,
        /// The update.
        #[n(2)]
        header: HeaderDigest,
        /// None when the share is held, else why not.
        #[n(3)]
        trouble: Option<Rejection>,
    },
    /// Signs a set.
    #[n(5)]
    SetSigned {
        /// The statement.
        #[n(0)]
        statement: Statement,
    },
    /// Posts an opening.
    #[n(6)]
    Opened {
        /// The statement.
        #[n(0)]
        statement: Statement,
    },
    /// As a decryptor: reveals its number for the random groups.
    #[n(9)]
    Revealed {
        /// The statement.
        #[n(0)]
        statement: Statement,
    },
    /// As a witness: the cosignature line for a tree size, or the size it has instead.
    #[n(7)]
    Cosigned {
        /// Size of the tree that was asked.
        #[n(0)]
        size: u64,
        /// Signature line of the note, with its line feed.
        #[n(1)]
        line: String,
    },
    /// As a decryptor: refuses to endorse, sign or open.
    #[n(8)]
    Refused {
        /// The manifest.
        #[n(0)]
        manifest: ManifestDigest,
        /// The group, if it is about one.
        #[n(1)]
        group: Option<GroupId>,
        /// Why.
        #[n(2)]
        reason: Rejection,
    },
}

/// What the server says on a client's control stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub enum ServerMessage {
    /// Answer to `Hello`.
    #[n(0)]
    Welcome {
        /// The server's clock.
        #[n(0)]
        now: Time,
        /// Entries in the log.
        #[n(1)]
        log_size: u64,
    },
    /// A task is open: decryptors publish prekeys for it.
    #[n(1)]
    TaskOpened {
        /// Task.
        #[n(0)]
        task: TaskId,
        /// Its plan, an artefact.
        #[n(1)]
        plan: PlanDigest,
    },
    /// A round begins: who takes part?
    #[n(2)]
    RoundOpened {
        /// Task.
        #[n(0)]
        task: TaskId,
        /// Round.
        #[n(1)]
        round: RoundId,
        /// Plan.
        #[n(2)]
        plan: PlanDigest,
        /// Weights that it starts from.
        #[n(3)]
        snapshot: SnapshotDigest,
    },
    /// To the committee: the join list is logged; please reveal your number.
    #[n(13)]
    Reveal {
        /// Task.
        #[n(0)]
        task: TaskId,
        /// Round.
        #[n(1)]
        round: RoundId,
        /// Entries that must be mirrored: `round.joined` is among them.
        #[n(2)]
        log_size: u64,
    },
    /// To the committee: please endorse.
    #[n(3)]
    Endorse {
        /// Signed manifest.
        #[n(0)]
        manifest: Statement,
        /// Entries that must be mirrored to judge it.
        #[n(1)]
        log_size: u64,
        /// The checkpoint that the manifest names: it covers the end of the round before.
        #[n(2)]
        checkpoint: ByteVec,
    },
    /// To eligible clients: train, seal, send.
    #[n(4)]
    Report {
        /// Signed manifest.
        #[n(0)]
        manifest: Statement,
        /// At least Q endorsements.
        #[n(1)]
        endorsements: Vec<Statement>,
        /// Entries that must be mirrored to judge it.
        #[n(2)]
        log_size: u64,
    },
    /// To the committee: an accepted update has a blob for you.
    #[n(5)]
    BlobReady {
        /// Signed header.
        #[n(0)]
        header: Statement,
        /// Where its acceptance stands.
        #[n(1)]
        index: LeafIndex,
    },
    /// To the committee: please sign this set.
    #[n(6)]
    SignSet {
        /// Canonical bytes of a [`crate::manifest::SetPayload`].
        #[n(0)]
        payload: ByteVec,
        /// Its members, ascending.
        #[n(1)]
        headers: Vec<HeaderDigest>,
        /// Entries that must be mirrored: `set.proposed` is among them.
        #[n(2)]
        log_size: u64,
    },
    /// To the committee: the set is certified and under a quorum checkpoint; please open.
    #[n(7)]
    Certified {
        /// Members, ascending.
        #[n(0)]
        headers: Vec<HeaderDigest>,
        /// At least Q signed sets.
        #[n(1)]
        statements: Vec<Statement>,
        /// Where `set.certified` stands.
        #[n(2)]
        index: LeafIndex,
        /// The checkpoint that covers it.
        #[n(3)]
        checkpoint: ByteVec,
    },
    /// The round is over.
    #[n(8)]
    RoundEnded {
        /// Task.
        #[n(0)]
        task: TaskId,
        /// Round.
        #[n(1)]
        round: RoundId,
        /// New weights, or none if it was abandoned.
        #[n(2)]
        snapshot: Option<SnapshotDigest>,
        /// Entries that must be mirrored to see the end.
        #[n(3)]
        log_size: u64,
    },
    /// To witnesses: please cosign (`add-checkpoint` of tlog-witness).
    #[n(9)]
    Cosign {
        /// Note text with the log's signature.
        #[n(0)]
        note: ByteVec,
    },
    /// The task is over.
    #[n(10)]
    TaskEnded {
        /// Task.
        #[n(0)]
        task: TaskId,
        /// Last weights.
        #[n(1)]
        snapshot: SnapshotDigest,
    },
    /// A part of an upload is durable on the server's disk.
    #[n(12)]
    Ack {
        /// The upload.
        #[n(0)]
        upload: UploadId,
        /// The part's address.
        #[n(1)]
        address: Address,
    },
    /// Something this client said was refused.
    #[n(11)]
    Refused {
        /// Why.
        #[n(0)]
        reason: Rejection,
    },
}

/// Id of the upload that this header statement begins (T32).
pub fn upload_id(header: &Statement) -> UploadId {
    let hash = crate::hash::sha256(&[&header.payload]);
    let mut id = [0u8; 16];
    id.copy_from_slice(&hash[..16]);
    UploadId(id)
}

/// A message as a frame: u32 length, version byte, CBOR.
///
/// # Panics
/// Never for a message that fits in memory: it would need 4 GiB.
pub fn frame<T: Encode<()>>(message: &T) -> Vec<u8> {
    let body = codec::encode(message);
    let length = u32::try_from(body.len() + 1).expect("messages are far below 4 GiB");
    let mut out = Vec::with_capacity(body.len() + 5);
    out.extend_from_slice(&length.to_le_bytes());
    out.push(WIRE_VERSION);
    out.extend_from_slice(&body);
    out
}

/// Decodes a frame's content (version byte and CBOR).
///
/// # Errors
/// [`DecodeError`]; a wrong version is [`DecodeError::Malformed`].
pub fn unframe<T: for<'b> Decode<'b, ()> + Encode<()>>(content: &[u8]) -> Result<T, DecodeError> {
    match content.split_first() {
        Some((&WIRE_VERSION, body)) => codec::decode(body, MAX_FRAME),
        Some(_) | None => Err(DecodeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unframe::<Request>(&bytes).is_ok();
            let _ = unframe::<Response>(&bytes).is_ok();
            let _ = unframe::<ClientMessage>(&bytes).is_ok();
            let _ = unframe::<ServerMessage>(&bytes).is_ok();
            let _ = unframe::<JoinMessage>(&bytes).is_ok();
            let _ = unframe::<JoinReply>(&bytes).is_ok();
        }
    }

    #[test]
    fn a_message_comes_back_from_its_frame() {
        let message = ClientMessage::BlobReport {
            manifest: ManifestDigest([1; 32]),
            group: GroupId(3),
            header: HeaderDigest([2; 32]),
            trouble: Some(Rejection::BadShares),
        };
        let bytes = frame(&message);
        assert_eq!(unframe::<ClientMessage>(&bytes[4..]).unwrap(), message);
        assert!(unframe::<ClientMessage>(&bytes[5..]).is_err());
    }
}
