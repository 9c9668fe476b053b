//! Bytes that a peer, a log or an administrator may send to the protocol room.

use protocol::codec;
use protocol::data_manifest::{DataManifest, LegalBasis, Licence, Month, Purpose};
use protocol::dealing::NonceReveal;
use protocol::decimal::Decimal;
use protocol::decryptor::Record;
use protocol::entry::LogEntry;
use protocol::exhausted::BudgetExhausted;
use protocol::history::History;
use protocol::ids::{ClientId, ManifestDigest, Position, PublicKey, Sha256, TaskId};
use protocol::manifest::{Decline, Endorsement, Header, Manifest, OpeningPayload, Prekeys, SetPayload, SumResult};
use protocol::membership::{Barred, DatasetWithdrawal, Departure, KeyRevocation, StandingChange};
use protocol::messages::{ChunkHeader, ClientMessage, JoinMessage, JoinReply, Request, Response, ServerMessage, frame, unframe};
use protocol::plan::{GateCode, Plan, PlanApproval};
use protocol::release::{Release, Review, SiteAnchor, Withdrawal};
use protocol::renewal::{Renewal, Rotation};
use protocol::rotation::{StatementKeyChange, StatementKeyRotation, WitnessKeyRotation};
use protocol::site_policy::SitePolicyDeclaration;
use protocol::statement::{Payload, Statement, StatementKind};
use protocol::trust::{
    BudgetDeclaration, DatasetDeclaration, JoinRequest, LedgerRepair, Membership, PolicyApproval, ReleaseSpend, RoundSpend, Token,
    TrustChain, TrustChange, TrustDocument,
};

/// Frames of every stream (without the length in front), and the header of a chunk stream.
pub fn messages(bytes: &[u8]) {
    macro_rules! each { ($($message:ty),*) => {$(
        if let Ok(message) = unframe::<$message>(bytes) {
            assert_eq!(&frame(&message)[4..], bytes);
        }
    )*} }
    each!(Request, Response, ClientMessage, ServerMessage, JoinMessage, JoinReply);
    if let Some(barred) = Barred::from_wire(bytes) {
        assert_eq!(barred.to_wire().as_bytes(), bytes);
    }
    if let Ok(bytes) = <&[u8; ChunkHeader::LEN]>::try_from(bytes)
        && let Ok(header) = ChunkHeader::parse(bytes)
    {
        assert_eq!(header.to_bytes(), *bytes);
    }
}

fn payload<P: Payload>(bytes: &[u8]) -> Option<P> {
    let value = codec::decode::<P>(bytes, P::LIMIT).ok()?;
    assert_eq!(codec::encode(&value), bytes);
    Some(value)
}

/// Statements as they travel, every kind of payload, and a decryptor's own records.
pub fn statements(bytes: &[u8]) {
    macro_rules! each { ($($kind:ty),*) => {$( let _known = payload::<$kind>(bytes); )*} }
    each!(JoinRequest, Membership, DatasetDeclaration, DataManifest, BudgetDeclaration, LedgerRepair, PlanApproval, PolicyApproval);
    each!(StatementKeyChange, WitnessKeyRotation, BudgetExhausted, SitePolicyDeclaration);
    each!(Release, Withdrawal, Review, SiteAnchor, ReleaseSpend, RoundSpend, StandingChange, Departure, DatasetWithdrawal, Renewal);
    each!(Prekeys, Endorsement, NonceReveal, SetPayload, OpeningPayload, SumResult, Decline, Rotation, KeyRevocation, TrustChange);
    if let Some(manifest) = payload::<Manifest>(bytes) {
        let sizes = manifest.groups.iter().filter_map(|g| g.polynomials().ok()).count();
        assert!(sizes <= manifest.groups.len());
        let known = manifest.committee.first().and_then(|m| manifest.position(m.institution)).and_then(|p| manifest.decryptor(p));
        assert!(known.is_some() || manifest.committee.is_empty());
        assert!(manifest.decryptor(Position(0)).is_none());
    }
    if let Some(header) = payload::<Header>(bytes) {
        assert_eq!(header.core.digest(), header.core.clone().digest());
    }
    if let Some(rotation) = payload::<StatementKeyRotation>(bytes) {
        assert!(rotation.change().is_ok_and(|c| c.new == rotation.proof.key) || rotation.change().is_err());
    }
    if let Ok(statement) = codec::decode::<Statement>(bytes, 1 << 20) {
        assert_eq!(codec::encode(&statement), bytes);
        // Without its key nobody makes a valid one out of a broken one; that it does not panic is the point.
        let believed = statement.verify::<Manifest>().is_ok();
        assert!(!believed || statement.check_signature().is_ok());
    }
    if let Ok(record) = codec::decode::<Record>(bytes, 1 << 20) {
        assert_eq!(codec::encode(&record), bytes);
        drop(protocol::decryptor::Decryptor::restore(ClientId([0; 32]), &[record]));
    }
}

/// Lines of the log, also folded into an empty history as a mirror does before it objects.
pub fn entries(bytes: &[u8]) {
    let known = PublicKey([0; 32]);
    if let Ok(entry) = LogEntry::parse(bytes) {
        assert_eq!(entry.to_bytes(), bytes);
        if let Some(stmt) = &entry.stmt {
            let statement = stmt.with_key(known);
            assert!(statement.is_err() || stmt.payload_bytes().is_ok());
        }
    }
    let trust = TrustDocument {
        v: 1,
        federation: "fuzz".into(),
        log_vkey: "fuzz+00000000+AA==".into(),
        root_ca: Sha256([0; 32]),
        administrators: vec![known],
        threshold: 1,
        server: known,
        previous: None,
    };
    let mut history = History::new(trust);
    let _violations = history.apply(bytes);
    assert_eq!(history.size(), 1);
}

/// Plans, and the group table of one that can run.
pub fn plans(bytes: &[u8]) {
    let Ok(plan) = codec::decode::<Plan>(bytes, 1 << 20) else { return };
    assert_eq!(codec::encode(&plan), bytes);
    if plan.check().is_ok() {
        let parts = vec![Vec::new(); usize::from(plan.robust().random_groups)];
        let groups = Manifest::groups_of(&plan, protocol::ids::RoundId(1), &parts).unwrap_or_default();
        // In a plan with tiers a group below its minimum is left out; here nobody is ready.
        let expected = if plan.tiers.is_some() { 0 } else { plan.groups.len() * parts.len() };
        assert_eq!(groups.len(), expected);
        for group in &groups {
            assert!(group.polynomials().is_ok(), "a plan that passes its check has groups that can be sealed");
            assert_eq!(group.packing.value_range().end(), &-group.packing.value_range().start());
        }
    }
}

/// One-line texts: decimals, ids, codes, months, trust documents, invitations.
pub fn texts(bytes: &[u8]) {
    if let Ok(document) = TrustDocument::parse(bytes) {
        assert_eq!(document.to_bytes(), bytes);
        let (hash, said) = (TrustDocument::hash(bytes), TrustChange { document: bytes.to_vec() });
        assert!(said.next(&document, hash).is_err(), "no document takes its own place");
        assert!(TrustChain::new(document).reaches(hash));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(decimal) = text.parse::<Decimal>() {
        assert_eq!(decimal.to_string().parse(), Ok(decimal));
        assert_eq!(codec::decode::<Decimal>(&codec::encode(&decimal), 32), Ok(decimal));
        assert!(decimal.to_f64() >= 0.0);
    }
    if let Ok(decimal) = codec::decode::<Decimal>(bytes, 32) {
        assert_eq!(codec::encode(&decimal), bytes);
    }
    if let Ok(token) = Token::parse(text) {
        assert_eq!(Token::parse(&token.to_line()), Ok(token));
    }
    macro_rules! each { ($($id:ty),*) => {$(
        if let Ok(id) = text.parse::<$id>() {
            assert_eq!(id.to_string(), text);
        }
    )*} }
    each!(Sha256, TaskId, ManifestDigest);
    if let Ok(code) = text.parse::<GateCode>() {
        assert_eq!(code.name(), text);
    }
    macro_rules! codes { ($($code:ty),*) => {$( assert!(<$code>::from_name(text).is_none_or(|code| code.name() == text)); )*} }
    codes!(Licence, Purpose, LegalBasis);
    assert!(StatementKind::from_media_type(text).is_none_or(|kind| kind.media_type() == text));
    assert!(Month::parse(text).is_none() || text.len() == "2026-01".len());
}
