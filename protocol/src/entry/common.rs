//! Common fields of an entry that say who acted, which program wrote and how it ended (audit.md A16): closed types and what the log itself
//! knows, no free text (A23). Knows no history.

use crate::ids::Sha256;
use serde::{Deserialize, Serialize};

/// Who acted: the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// The server itself.
    Server,
    /// The institution that the entry names.
    Institution,
    /// The institution that the entry names, as a decryptor.
    Decryptor,
    /// An administrator.
    Administrator,
    /// Somebody who is not enrolled.
    Stranger,
}

/// Who has the role, as far as the log knows: whoever reads the log can find both out again from what stands before the entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The URI of its TLS certificate (transport-storage.md T1); nothing where it has none that the log admitted.
    pub uri: Option<String>,
    /// SHA-256 of its key's subject public key info: the TLS key of an institution, the signing key of the server or an administrator.
    pub spki: Option<Sha256>,
}

/// `actor` as it is written.
#[derive(Serialize)]
pub(super) struct Party<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uri: Option<&'a str>,
    pub(super) role: Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spki: Option<Sha256>,
}

/// `actor` as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatedParty {
    uri: Option<String>,
    role: Actor,
    spki: Option<Sha256>,
}

impl StatedParty {
    /// The role, and who has it.
    pub(super) fn parts(self) -> (Actor, Identity) {
        (self.role, Identity { uri: self.uri, spki: self.spki })
    }
}

/// The program that wrote the entry. The same from one start of the server's process to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// How the program was compiled: profile, processor and system. Which program it is, the hash in `process.started` says.
    pub build: String,
    /// When the process began, in milliseconds since 1970 by its own clock.
    pub boot_ms: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done.
    Ok,
    /// The peer's fault.
    Rejected,
    /// Ours.
    Failed,
}
