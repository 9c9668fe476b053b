//! Doors for fuzz bodies (crypto.md C45): the client's decoders of its own files and of what a server shows, as functions from bytes to what
//! would be written again; nothing where they refuse. Behind the feature `test-doors`, which release builds refuse. Open no file.

#[cfg(not(debug_assertions))]
compile_error!("the feature `test-doors` is for tests only and must not be part of a release build");

use crate::cli::privacy_audit::parse_kept;
use crate::data_manifest::{self, Said};
use crate::identity::Identity;
use crate::mirror::fork::Prefix;
use crate::release::Stored;
use crate::spool::{SpoolIndex, SpooledGroup};
use crate::status::Status;
use crate::{home, site_log, tls, vault};
use protocol::codec;
use protocol::data_manifest::{LegalBasis, Licence, Purpose};
use protocol::decimal::Decimal;
use protocol::decryptor::Record;
use protocol::ids::{Address, GroupId, ManifestDigest, PlanDigest, RoundId, SetDigest, Sha256, TaskId};
use protocol::manifest::SetPayload;
use protocol::statement::Statement;

/// The status file.
pub fn status(bytes: &[u8]) -> Option<Vec<u8>> {
    Status::parse(bytes).ok()?.to_bytes().ok()
}

/// The identity file.
pub fn identity(bytes: &[u8]) -> Option<Vec<u8>> {
    Identity::parse(bytes).ok()?.to_bytes().ok()
}

/// A file of released values.
pub fn release(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(Stored::parse(bytes)?.to_bytes())
}

/// The index of a spooled update.
pub fn spool(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(codec::encode(&SpoolIndex::parse(bytes).ok()?))
}

/// A decryptor's records: how many bytes the whole ones take, and those bytes as they would be written again.
pub fn records(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (whole, records) = vault::parse_records(bytes).ok()?;
    let written = records.iter().map(vault::frame).collect::<Result<Vec<_>, _>>().ok()?;
    Some((whole, written.concat()))
}

/// Seeds for [`spool`] and [`records`], around any statement: both types stay inside.
pub fn stored(statement: &Statement) -> Option<[Vec<u8>; 2]> {
    let manifest = ManifestDigest([3; 32]);
    let (chunks, blobs) = (vec![Address([1; 32])], vec![Address([2; 32])]);
    let group = SpooledGroup { group: GroupId(2), header: statement.clone(), chunks, blobs };
    let index = codec::encode(&SpoolIndex { manifest, reservation: 4, groups: vec![group] });
    let payload = SetPayload { manifest, group: GroupId(2), set: SetDigest([3; 32]), count: 4, log_size: 9 };
    let records = [
        Record::Endorsed { task: TaskId([1; 16]), round: RoundId(7), manifest: statement.clone() },
        Record::Signed { payload },
        Record::Opened { manifest, group: GroupId(2), opening: statement.clone() },
    ];
    let records = records.iter().map(vault::frame).collect::<Result<Vec<_>, _>>().ok()?;
    Some([index, records.concat()])
}

/// The public half of a prekey and its time.
pub fn prekey(bytes: &[u8]) -> Option<Vec<u8>> {
    let (public, until) = vault::parse_prekey(bytes)?;
    Some(vault::prekey_bytes(&public, until))
}

/// The site log: how many bytes the whole lines take, and how many lines they are.
pub fn site_log(bytes: &[u8]) -> Option<(usize, u64)> {
    let (whole, range, _) = site_log::parse(bytes).ok()?;
    Some((whole, range.size()))
}

/// The manifest that `data prepare` wrote, as what is said about it.
pub fn prepared(bytes: &[u8]) -> Option<Vec<u8>> {
    let (licence, purpose) = (Licence::Internal, Purpose::Training);
    let basis = *LegalBasis::ALL.first()?;
    let said = Said { licence, purpose, basis, period: None, tokenizer: None };
    Some(codec::encode(&data_manifest::parse(bytes, Sha256([1; 32]), &said).ok()?))
}

/// The lower bound on ε in a kept report of this plan's audit.
pub fn audit(bytes: &[u8], plan: &PlanDigest) -> Option<Decimal> {
    parse_kept(bytes, plan).map(|found| found.epsilon_lower)
}

/// Whether bytes are a root and the hashes that show it in a later tree.
pub fn prefix(bytes: &[u8]) -> bool {
    Prefix::parse(bytes).is_some()
}

/// The name of a round's files.
pub fn round_name(text: &str) -> Option<String> {
    home::parse_round_name(text).map(|(task, round)| home::round_name(task, round))
}

/// The hash of a certificate's key, after everything that is asked of a certificate was asked of it.
pub fn certificate(der: &[u8]) -> Option<Sha256> {
    let key = tls::spki_hash(der).ok()?;
    let _servers = tls::check_server(der, "fuzz");
    let _ours = tls::check_issued(&[der.to_vec()], der, key, "fuzz", "site-one");
    Some(key)
}
