//! Refusals with stable numbers (transport-storage.md T35). Told to the peer, counted, logged.

use minicbor::{CborLen, Decode, Encode};

macro_rules! rejections {
    ($($(#[$doc:meta])* $variant:ident = $n:literal, $code:literal, $text:literal;)*) => {
        /// A reason that the peer can act on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, CborLen, thiserror::Error)]
        #[cbor(index_only)]
        pub enum Rejection { $($(#[$doc])* #[n($n)] #[error($text)] $variant,)* }
        impl Rejection {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The stable number. A new reason does not compile until it has one.
            pub fn code(self) -> u16 { match self { $(Self::$variant => $n,)* } }
            /// The stable name.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $code,)* } }
        }
    };
}

rejections! {
    /// At or after the deadline.
    Late = 1, "late", "the round is no longer taking updates";
    /// A different update of this client is already known.
    Duplicate = 2, "duplicate", "another update from this client is already known for this round and group";
    /// A round that is not open.
    WrongRound = 3, "wrong_round", "the message names a round that is not open";
    /// A group that the sender is not in.
    WrongGroup = 4, "wrong_group", "the sender is not eligible for this group";
    /// Another manifest.
    WrongManifest = 5, "wrong_manifest", "the message names another manifest than the open one";
    /// Not a member.
    NotEnrolled = 6, "not_enrolled", "the sender is not enrolled";
    /// A member no more.
    Revoked = 7, "revoked", "the sender's membership is suspended, revoked or over";
    /// A signature that does not hold.
    BadSignature = 8, "bad_signature", "a signature does not verify";
    /// A header whose fields contradict the manifest.
    BadHeader = 9, "bad_header", "the header does not fit the manifest";
    /// A chunk that is not what its address says.
    BadChunk = 10, "bad_chunk", "a chunk does not match its address or its length";
    /// Share blobs that decryptors cannot open.
    BadShares = 11, "bad_shares", "share blobs cannot be opened by enough decryptors";
    /// Sealing parameters other than the manifest's.
    BadParameters = 12, "bad_parameters", "parameters differ from those of the manifest";
    /// Too much or too often.
    OverQuota = 13, "over_quota", "the sender is over its limits";
    /// Another protocol version.
    Version = 14, "version", "this protocol version is not spoken here";
    /// A policy forbids it.
    Policy = 15, "policy", "policy forbids this";
    /// The server stops.
    ShuttingDown = 16, "shutting_down", "the server is shutting down; try again later";
    /// Bytes that are no message.
    Malformed = 17, "malformed", "the message cannot be read";
    /// A decryptor refuses: it has signed or endorsed something else.
    AlreadySigned = 18, "already_signed", "another statement was already signed for this round and group";
    /// A decryptor refuses: the certificate or the checkpoint does not hold.
    NotCertified = 19, "not_certified", "the certificate or its checkpoint does not hold";
    /// The cohort is outside the plan's limits.
    Cohort = 20, "cohort", "the set is outside the plan's limits of size or membership";
    /// The privacy budget cannot pay.
    BudgetExhausted = 21, "budget_exhausted", "the privacy budget cannot pay for this round";
    /// Something that the server or the mirror does not have.
    Unknown = 22, "unknown", "the thing asked for is not known here";
    /// The opened weights are not those that the set's members declared.
    BadWeight = 23, "bad_weight", "the opened weights are not those that the members of the set declared";
    /// Openings that give no key sum, or a sum that fails its checks.
    BadSum = 24, "bad_sum", "the openings do not give a sum that passes every check";
    /// The mean of a group is longer than the plan allows.
    NormBound = 25, "norm_bound", "the mean of the group is longer than the plan allows";
    /// Something that must not change within a round.
    InRound = 26, "in_round", "a round is under way in which this must not change; ask again when it is over";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_number_and_name() {
        let codes: std::collections::BTreeSet<_> = Rejection::ALL.iter().map(|r| r.code()).collect();
        let names: std::collections::BTreeSet<_> = Rejection::ALL.iter().map(|r| r.name()).collect();
        assert_eq!((codes.len(), names.len()), (Rejection::ALL.len(), Rejection::ALL.len()));
    }
}
