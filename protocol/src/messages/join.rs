//! What travels on the enrolment protocol (transport-storage.md section 5). Knows no stream.

use crate::ids::{ClientId, LeafIndex, Sha256};
use crate::reject::Rejection;
use crate::statement::Statement;
use minicbor::bytes::ByteVec;
use minicbor::{CborLen, Decode, Encode};

/// What a newcomer asks on the enrolment protocol.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub enum JoinMessage {
    /// Who are you?
    #[n(0)]
    Start {},
    /// Admit me.
    #[n(1)]
    Request {
        /// The token's secret: proves that the invitation reached me.
        #[n(0)]
        secret: [u8; 32],
        /// A signed [`crate::trust::JoinRequest`].
        #[n(1)]
        statement: Statement,
        /// PKCS#10 request in DER.
        #[n(2)]
        csr: ByteVec,
    },
    /// Am I admitted yet?
    #[n(2)]
    Poll {
        /// The token's secret.
        #[n(0)]
        secret: [u8; 32],
        /// Who asks.
        #[n(1)]
        institution: ClientId,
    },
    /// My certificate has run out: give me another one.
    #[n(3)]
    Renew {
        /// A signed [`crate::renewal::Renewal`].
        #[n(0)]
        statement: Statement,
        /// PKCS#10 request in DER.
        #[n(1)]
        csr: ByteVec,
    },
}

/// The server's answers to a [`JoinMessage`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, CborLen)]
pub enum JoinReply {
    /// The trust document that the log began with, what administrators signed to change it, and a nonce.
    #[n(0)]
    Trust {
        /// Exact bytes.
        #[n(0)]
        trust: ByteVec,
        /// Fresh for this connection.
        #[n(1)]
        nonce: Sha256,
        /// Words of administrators for each later trust document, as many as put it in force, in order ([`crate::trust::TrustChain`]).
        #[n(2)]
        changes: Vec<Statement>,
    },
    /// Recorded; administrators decide.
    #[n(1)]
    Pending {},
    /// Admitted.
    #[n(2)]
    Admitted {
        /// TLS chain in DER, leaf first.
        #[n(0)]
        chain: Vec<ByteVec>,
        /// Where `member.joined` stands.
        #[n(1)]
        index: LeafIndex,
        /// Its exact bytes.
        #[n(2)]
        entry: ByteVec,
        /// Exact bytes of the entries in which other administrators admitted it before, where the trust document asks for several.
        #[n(3)]
        others: Vec<ByteVec>,
    },
    /// No.
    #[n(3)]
    Rejected {
        /// Why.
        #[n(0)]
        reason: Rejection,
    },
    /// Another certificate.
    #[n(4)]
    Renewed {
        /// In DER.
        #[n(0)]
        leaf: ByteVec,
    },
}
