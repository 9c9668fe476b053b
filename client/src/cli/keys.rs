//! `keys`: the institution's own keys. Parses, calls, prints.

use super::answer::{Answer, Failure, say};
use super::{alone, join_failure, not_joined, runtime};
use crate::home::Home;
use crate::identity::Identity;
use crate::keys::{Keys, KeysError, next_tls};
use crate::link::LinkError;
use crate::renewal::{Certificate, CertificateError, ComeBackError};
use crate::rotation::{RotateError, Rotated, statement_key, witness_key};
use clap::Subcommand;
use protocol::membership::KeyPurpose;

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum KeysVerb {
    /// Take a new key: for connections, for statements, or for cosignatures
    ///
    /// Signed with the institution's statement key and entered in the log. Not while concordat-client run goes on. tls: from then on the old key
    /// opens no connection; certificates are renewed by themselves, this is for a TLS key that somebody else may have. statement: the old key and
    /// the new one both sign the change, from which on the new key speaks for the institution and the old one for nobody; what was said before
    /// stays valid. It happens between two rounds: this command waits. If the statement key may be in other hands already, ask the
    /// administrators to suspend or revoke the membership. witness: both keys are kept until a policy names the new one, which the
    /// administrators activate; run goes on with it by itself.
    Rotate {
        /// What the key is for: tls, statement or witness
        #[arg(long, value_name = "PURPOSE", default_value = "tls", value_parser = purpose)]
        purpose: KeyPurpose,
    },
}

fn purpose(text: &str) -> Result<KeyPurpose, &'static str> {
    KeyPurpose::from_name(text).ok_or("tls, statement or witness")
}

pub(super) fn run(home: &Home, verb: KeysVerb) -> Result<Answer, Failure> {
    match verb {
        KeysVerb::Rotate { purpose: KeyPurpose::Tls } => rotate(home),
        KeysVerb::Rotate { purpose: KeyPurpose::Statement } => rotate_statement(home),
        KeysVerb::Rotate { purpose: KeyPurpose::Witness } => rotate_witness(home),
    }
}

fn rotate_statement(home: &Home) -> Result<Answer, Failure> {
    let identity = Identity::load(home).map_err(|e| not_joined(&e))?;
    let _lock = alone(home)?;
    let waits = || say("a round is under way: the key changes when it is over");
    let done = runtime()?.block_on(statement_key(home, &identity, waits)).map_err(|e| rotation_failure(&e))?;
    Ok(Answer::table([
        ("statement key", told(done)),
        ("next", "concordat-client run goes on with it; what was signed before stays valid".to_owned()),
    ]))
}

fn rotate_witness(home: &Home) -> Result<Answer, Failure> {
    let identity = Identity::load(home).map_err(|e| not_joined(&e))?;
    let _lock = alone(home)?;
    let done = runtime()?.block_on(witness_key(home, &identity)).map_err(|e| rotation_failure(&e))?;
    Ok(Answer::table([
        ("witness key", told(done)),
        ("next", "the administrators give concordat-server policy activate; until then run cosigns with the old key".to_owned()),
    ]))
}

fn told(done: Rotated) -> String {
    match done {
        Rotated::By(index) => format!("replaced by entry {index}"),
        Rotated::Already => "replaced before, by an entry that the log has".to_owned(),
    }
}

fn rotation_failure(error: &RotateError) -> Failure {
    const AGAIN: &str = "run the same command again: it goes on with the same new key";
    match error {
        RotateError::Certificate(error) => failure(error),
        RotateError::Keys(_) | RotateError::Entropy(_) => Failure::trouble("bad_directory", error),
        RotateError::Link(LinkError::Barred(_)) => Failure::refused("membership_over", error),
        RotateError::Link(LinkError::NoMember) => {
            Failure::refused("not_enrolled", error).hint("if the TLS key was revoked, give concordat-client keys rotate first")
        }
        RotateError::Link(_) | RotateError::Interrupted(_) => Failure::unreachable("not_reachable", error).hint(AGAIN),
        RotateError::InRound => Failure::unfinished("in_round", error).hint(AGAIN),
        RotateError::Rejected(reason) => Failure::refused(reason.name(), error),
        RotateError::NotMember => Failure::refused("not_enrolled", error),
        RotateError::Mirror(_) | RotateError::FalseReceipt => Failure::refused("log_contradicts", error),
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
