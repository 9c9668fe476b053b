//! Files that institution and server keep for themselves, as they find them after a crash, a restore or somebody's hand; and what they are
//! shown before they know by whom: certificates, requests on the server's own socket.

use client::doors as institution;
use privacy::ledger::{Entry, PrivacyLedger};
use protocol::codec;
use protocol::ids::PlanDigest;
use protocol::messages::{frame, unframe};
use protocol::statement::Payload as _;
use server::admin::{AdminReply, AdminRequest};
use server::doors as server_files;

/// What a decoder would write again.
type Door = fn(&[u8]) -> Option<Vec<u8>>;

/// The plan that kept audits are of.
pub const AUDITED: PlanDigest = PlanDigest([7; 32]);

/// The institution's files. Texts have many spellings: what is written again is read as the same; the others have one.
pub fn institutions(bytes: &[u8]) {
    let texts: [Door; 3] = [institution::status, institution::identity, institution::release];
    for read in texts {
        if let Some(written) = read(bytes) {
            assert_eq!(read(&written).as_ref(), Some(&written));
        }
    }
    let binary: [Door; 2] = [institution::spool, institution::prekey];
    for read in binary {
        assert!(read(bytes).is_none_or(|written| written == bytes));
    }
    if let Some((whole, written)) = institution::records(bytes) {
        assert_eq!(bytes.get(..whole), Some(written.as_slice()), "only a torn last record may be left out");
    }
    if let Some((whole, lines)) = institution::site_log(bytes) {
        let ends = bytes.iter().take(whole).filter(|b| **b == b'\n').count();
        assert_eq!((lines, bytes[whole..].contains(&b'\n')), (ends as u64, false));
    }
    let _said = institution::prepared(bytes);
    if let Some(least) = institution::audit(bytes, &AUDITED) {
        assert!(least.to_f64() >= 0.0 && institution::audit(bytes, &PlanDigest([8; 32])).is_none());
    }
    assert!(!institution::prefix(bytes) || (!bytes.is_empty() && bytes.len().is_multiple_of(32)));
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(institution::round_name(text).is_none_or(|name| name == text));
    }
}

/// The server's files, and its own socket.
pub fn servers(bytes: &[u8]) {
    let binary: [Door; 2] = [server_files::pending, server_files::invitation];
    for read in binary {
        assert!(read(bytes).is_none_or(|written| written == bytes));
    }
    if let Some((_, payload)) = server_files::bundle(bytes) {
        assert!(payload.len() < bytes.len(), "a payload stands in its bundle");
    }
    if let Some(public) = server_files::release_key(bytes) {
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    }
    macro_rules! each { ($($message:ty),*) => {$(
        if let Ok(message) = unframe::<$message>(bytes) {
            assert_eq!(&frame(&message)[4..], bytes);
        }
    )*} }
    each!(AdminRequest, AdminReply);
}

/// Certificates and signing requests of strangers: both sides find the same key, and nothing follows it.
pub fn certificates(bytes: &[u8]) {
    let (theirs, ours) = (server_files::certificate(bytes), institution::certificate(bytes));
    assert_eq!(theirs.as_ref().map(|(key, _)| *key), ours);
    let asked = server_files::signing_request(bytes);
    assert!(ours.is_none() || asked.is_none(), "a certificate is no request");
    if ours.is_some() || asked.is_some() {
        let longer = [bytes, &[0]].concat();
        assert!(institution::certificate(&longer).is_none() && server_files::signing_request(&longer).is_none());
    }
}

/// A privacy ledger: what is read is its whole records, and they are read alike without what was torn behind them.
pub fn ledgers(bytes: &[u8]) {
    if let Ok(entry) = codec::decode::<Entry>(bytes, Entry::LIMIT) {
        assert_eq!(codec::encode(&entry), bytes);
    }
    let Ok(loaded) = PrivacyLedger::load(bytes) else { return };
    assert_eq!((loaded.torn, loaded.ledger.entries()), (loaded.valid_len < bytes.len(), loaded.entries.len()));
    let Ok(whole) = PrivacyLedger::load(&bytes[..loaded.valid_len]) else { unreachable!("whole records are a ledger") };
    assert!(!whole.torn && whole.entries == loaded.entries && whole.ledger.head() == loaded.ledger.head());
}
