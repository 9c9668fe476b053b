//! `keys`: the institution's own keys. Parses, calls, prints.

use super::answer::{Answer, Failure};
use super::{alone, join_failure, not_joined, runtime};
use crate::home::Home;
use crate::identity::Identity;
use crate::keys::{Keys, KeysError, next_tls};
use crate::renewal::{Certificate, CertificateError, ComeBackError};
use clap::Subcommand;

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum KeysVerb {
    /// Take a new TLS key, and a certificate for it
    ///
    /// Signed with the institution's key and entered in the log; from then on the old TLS key opens no connection. Not while concordat-client
    /// run goes on. Certificates are renewed by themselves; this is for a TLS key that somebody else may have. If the institution's own key may be
    /// in other hands, the administrators revoke the membership.
    Rotate,
}

pub(super) fn run(home: &Home, verb: KeysVerb) -> Result<Answer, Failure> {
    match verb {
        KeysVerb::Rotate => rotate(home),
    }
}

fn rotate(home: &Home) -> Result<Answer, Failure> {
    let identity = Identity::load(home).map_err(|e| not_joined(&e))?;
    let _lock = alone(home)?;
    let bad = |e: KeysError| Failure::trouble("bad_directory", &e);
    let keys = Keys::load(home).map_err(bad)?;
    let mut certificate = Certificate::load(home).map_err(|e| certificate_failure(&e))?;
    // The key is on the disk before anybody hears of it; a second try goes on with it.
    let next = next_tls(home).map_err(bad)?;
    runtime()?.block_on(certificate.rotate(home, &identity, &keys, &next)).map_err(|e| failure(&e))?;
    // Reading the keys again puts the new one in the place of the old one.
    Keys::load(home).map_err(bad)?;
    Ok(Answer::words("the TLS key is replaced; concordat-client run goes on with it"))
}

fn failure(error: &ComeBackError) -> Failure {
    match error {
        ComeBackError::Ask(error) => join_failure(error).hint("run the same command again: it goes on with the same new key"),
        ComeBackError::Certificate(error) => certificate_failure(error),
    }
}

fn certificate_failure(error: &CertificateError) -> Failure {
    match error {
        CertificateError::Store(_) => Failure::storage("storage_failed", error),
        CertificateError::Tls(_) | CertificateError::NoLonger | CertificateError::OtherTime => Failure::refused("not_trusted", error),
    }
}
