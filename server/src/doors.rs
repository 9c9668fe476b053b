//! Doors for fuzz bodies (crypto.md C45): the server's decoders of its own files and of what newcomers show, as functions from bytes to what
//! would be written again; nothing where they refuse. Behind the feature `test-doors`, which release builds refuse. Open no file.

#[cfg(not(debug_assertions))]
compile_error!("the feature `test-doors` is for tests only and must not be part of a release build");

use crate::identity;
use crate::log::Pending;
use crate::model_signing::{self, ReleaseKey};
use crate::store::Invitation;
use protocol::codec;
use protocol::ids::Sha256;

/// A batch of the log that waits for its commit.
pub fn pending(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(codec::encode(&Pending::parse(bytes).ok()?))
}

/// An invitation in the index.
pub fn invitation(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(codec::encode(&Invitation::parse(bytes).ok()?))
}

/// Seeds for [`pending`] and [`invitation`]: both types stay inside.
pub fn stored() -> [Vec<u8>; 2] {
    let invitation = Invitation { mac: Sha256([2; 32]), institution: "site-one".to_owned(), expires_s: 9, used_by: None };
    [codec::encode(&Pending::example()), codec::encode(&invitation)]
}

/// The public half of a release key.
pub fn release_key(bytes: &[u8]) -> Option<String> {
    ReleaseKey::parse(bytes).ok().map(|key| key.public_pem())
}

/// The name of the model in a bundle, and the payload that says so.
pub fn bundle(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    model_signing::payload_of(bytes)
}

/// The hash of a certificate's key, and the federation, institution and role that it is for, where it is for one.
pub fn certificate(der: &[u8]) -> Option<(Sha256, Option<[String; 3]>)> {
    let name = identity::peer_name(der).ok().map(|n| [n.federation, n.institution, n.role]);
    Some((identity::spki_hash(der).ok()?, name))
}

/// The hash of the key in a signing request.
pub fn signing_request(der: &[u8]) -> Option<Sha256> {
    identity::csr_key_hash(der).ok()
}
