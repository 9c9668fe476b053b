//! A log of any size, written entry by entry: one federation, a few institutions, caps declared again and again, denials in between. Its
//! keys come from constants; it is a load, not a federation.

use super::{Progress, Size};
use audit::checkpoint::Checkpoint;
use audit::cosign::cosign;
use audit::key::{KeyType, SignerKey};
use audit::policy::{Policy, Witness};
use audit::reader::{CHECKPOINT_PATH, note_path, policy_path};
use audit::writer::{LogWriter, TileFile};
use ed25519_dalek::SigningKey;
use protocol::codec;
use protocol::entry::{Actor, Decision, Draft, Facts, LogEntry, Origin, Right, Ruling, Stamp};
use protocol::hash::sha256;
use protocol::history::History;
use protocol::ids::{ClientId, PublicKey, Sha256, TokenId};
use protocol::plan::Unit;
use protocol::statement::{Payload, Statement};
use protocol::trust::{BudgetDeclaration, DatasetDeclaration, JoinRequest, Membership, PolicyApproval, TrustDocument};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

const FEDERATION: &str = "bench";
/// Institutions that take turns with statements.
const INSTITUTIONS: u8 = 5;

/// Why a log could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// The disk.
    #[error("a file of the log could not be written")]
    Write(#[from] std::io::Error),
    /// Numbers that no log has.
    #[error("a log of {0} entries holds no such numbers: expected at least {min} entries, of which at most half carry statements, and 1 to 64 witnesses", min = MIN_ENTRIES)]
    Size(u64),
    /// A key, note or policy that our own numbers do not allow: a bug of ours.
    #[error("the made-up keys or notes are refused")]
    Refused,
}

/// Fewer entries would not hold the institutions.
const MIN_ENTRIES: u64 = 100;

/// A log that was made.
pub(super) struct Made {
    pub(super) trust: Sha256,
    pub(super) bytes: u64,
    pub(super) statements: u64,
    pub(super) seconds: f64,
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}
fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

struct Maker<'a> {
    dir: &'a Path,
    size: Size,
    writer: LogWriter,
    log: SignerKey,
    witnesses: Vec<SignerKey>,
    policy: Option<Policy>,
    batch: Vec<Vec<u8>>,
    /// The newest partial tile of each place.
    partial: BTreeMap<String, TileFile>,
    seq: u64,
    bytes: u64,
    statements: u64,
    padding: String,
    /// What the entries say: the common fields of the next one follow from it.
    history: History,
}

impl Maker<'_> {
    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), MakeError> {
        let full = self.dir.join(path);
        if let Some(parent) = full.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(std::fs::write(full, bytes)?)
    }

    fn stamp(&self, draft: &Draft, build: String) -> Stamp {
        let (seconds, micros) = (self.seq / 1_000_000, self.seq % 1_000_000);
        let (minutes, hours, days) = (seconds / 60 % 60, seconds / 3600 % 24, seconds / 86_400 % 28);
        let id = format!("018f0000-0000-7000-8000-{:012x}", self.seq);
        let ts = format!("2026-01-{:02}T{hours:02}:{minutes:02}:{:02}.{micros:06}Z", days + 1, seconds % 60);
        let origin = Origin { name: "concordat-audit-bench".to_owned(), version: "0.1.0".to_owned(), build, boot_ms: 0 };
        self.history.stamp(draft, id, ts, origin)
    }

    /// Puts an entry into the batch; one without a statement is made as long as the others.
    fn push(&mut self, draft: &Draft) {
        let build = if draft.statement.is_some() { String::new() } else { self.padding.clone() };
        let entry = LogEntry::new(self.stamp(draft, build), draft);
        let bytes = entry.to_bytes();
        // Our own signatures need no check.
        self.history.apply_judged(&bytes, Ok(&entry), &mut |_| true);
        self.statements += u64::from(draft.statement.is_some());
        self.bytes += bytes.len() as u64;
        self.seq += 1;
        self.batch.push(bytes);
    }

    fn said<P: Payload>(&mut self, actor: Actor, who: Option<ClientId>, key: &SigningKey, value: &P, facts: Facts) {
        self.push(&Draft::said(actor, who, Statement::sign(value, key), facts));
    }

    /// Appends the batch. A partial tile gives way to the next one and to the full one in the end (A3), so only what stands last is written.
    fn flush(&mut self) -> Result<(), MakeError> {
        let files = self.writer.append(&self.batch).map_err(|_| MakeError::Refused)?;
        self.batch.clear();
        for file in files {
            let place = file.path.full().to_string();
            if file.path.is_full() {
                self.partial.remove(&place);
                self.write(&place, &file.bytes)?;
            } else {
                self.partial.insert(place, file);
            }
        }
        self.publish()
    }

    /// Writes the right edge.
    fn finish(&mut self) -> Result<(), MakeError> {
        for file in std::mem::take(&mut self.partial).into_values() {
            self.write(&file.path.to_string(), &file.bytes)?;
        }
        Ok(())
    }

    /// A note of the present size with every witness's cosignature.
    fn publish(&self) -> Result<(), MakeError> {
        let checkpoint = Checkpoint { origin: Checkpoint::origin_of(FEDERATION), head: self.writer.head() };
        let mut note = checkpoint.sign(&self.log).map_err(|_| MakeError::Refused)?;
        for witness in self.witnesses.iter().filter(|_| self.policy.is_some()) {
            let line = cosign(witness, 1_700_000_000 + self.writer.size(), note.text()).map_err(|_| MakeError::Refused)?;
            note.add(&[line]).map_err(|_| MakeError::Refused)?;
        }
        self.write(&note_path(self.writer.size()), &note.encode())?;
        self.write(CHECKPOINT_PATH, &note.encode())
    }

    /// Everybody joins and declares a dataset and a cap; a policy comes into force.
    fn found(&mut self, trust: &[u8]) -> Result<(), MakeError> {
        let hash = TrustDocument::hash(trust);
        self.push(&Draft::server(Facts::FederationCreated { trust: hash }));
        for n in 0..INSTITUTIONS {
            let (own, who) = (key(100 + n), ClientId::of(&public(&key(100 + n))));
            let token = TokenId([n; 16]);
            self.push(&Draft::server(Facts::MemberInvited { token }));
            let witness = self.witnesses.get(usize::from(n) % self.witnesses.len()).ok_or(MakeError::Refused)?;
            let request = JoinRequest {
                token,
                trust: hash,
                nonce: Sha256([9; 32]),
                name: format!("institution-{n}"),
                institution_key: public(&own),
                witness_vkey: witness.verifier().to_string(),
                tls_key: Sha256([2; 32]),
            };
            let id = Sha256(sha256(&[&codec::encode(&request)]));
            self.said(Actor::Institution, Some(who), &own, &request, Facts::MemberJoinRequested { token, request: id });
            self.said(Actor::Administrator, Some(who), &key(1), &Membership::of(&request), Facts::MemberJoined { request: id });
            let declaration = DatasetDeclaration { dataset: dataset(n), unit: Unit::Record, declared_units: 12_000 };
            self.said(Actor::Institution, Some(who), &own, &declaration, Facts::DatasetDeclared { dataset: dataset(n) });
        }
        let witness = |k: &SignerKey| Witness { name: k.verifier().name().to_owned(), key: k.verifier().clone() };
        let witnesses: Vec<Witness> = self.witnesses.iter().map(witness).collect();
        let quorum = audit::policy::default_quorum(witnesses.len());
        let policy = Policy::compose(self.log.verifier(), &witnesses, Some(quorum)).map_err(|_| MakeError::Refused)?;
        let hash = Sha256(sha256(&[policy.text().as_bytes()]));
        let said = PolicyApproval { policy: hash, replaces: None };
        self.said(Actor::Administrator, None, &key(1), &said, Facts::PolicyActivated { old: None, policy: hash });
        self.write(&policy_path(self.seq), policy.text().as_bytes())?;
        self.policy = Some(policy);
        Ok(())
    }

    /// One institution declares its cap again.
    fn declare(&mut self) -> Result<(), MakeError> {
        let n = u8::try_from(self.seq % u64::from(INSTITUTIONS)).map_err(|_| MakeError::Refused)?;
        let (own, epsilon_cap) = (key(100 + n), "8".parse().map_err(|_| MakeError::Refused)?);
        let delta = "0.000001".parse().map_err(|_| MakeError::Refused)?;
        let cap = BudgetDeclaration { dataset: dataset(n), epsilon_cap, delta, own_epsilon_cap: None };
        let who = ClientId::of(&public(&own));
        self.said(Actor::Institution, Some(who), &own, &cap, Facts::BudgetDeclared { dataset: dataset(n), epsilon_cap });
        Ok(())
    }

    /// Whether the entry to come carries a statement, so that they stand evenly.
    fn is_statement(&self) -> bool {
        let due = |seq: u64| u128::from(seq) * u128::from(self.size.statements) / u128::from(self.size.entries);
        due(self.seq + 1) > due(self.seq) && self.statements < self.size.statements
    }
}

fn dataset(n: u8) -> Sha256 {
    Sha256([50 + n; 32])
}

fn signer(name: &str, kind: KeyType, n: u8) -> Result<SignerKey, MakeError> {
    SignerKey::new(name, kind, &[n; 32]).map_err(|_| MakeError::Refused)
}

/// Somebody was denied a right.
fn denial() -> Draft {
    Draft::decided(Actor::Stranger, Decision::new(Ruling::Deny, Right::StatusRead))
}

/// The padding that makes an entry without a statement as long as it should be, if six digits number it.
fn padded(maker: &Maker<'_>) -> String {
    let draft = denial();
    let bare = LogEntry::new(maker.stamp(&draft, String::new()), &draft).to_bytes().len();
    "x".repeat(maker.size.entry_bytes.saturating_sub(bare + 6))
}

/// Makes a log of this size in `dir`.
pub(super) fn make(dir: &Path, size: Size, progress: Progress<'_>) -> Result<Made, MakeError> {
    let fits = size.entries >= MIN_ENTRIES && size.statements <= size.entries / 2 && (1..=64).contains(&size.witnesses) && size.notes > 0;
    if !fits || size.notes > size.entries / 100 {
        return Err(MakeError::Size(size.entries));
    }
    let begun = Instant::now();
    let log = signer(&Checkpoint::origin_of(FEDERATION), KeyType::Note, 3)?;
    let witnesses = (0..size.witnesses).map(|n| signer(&format!("w{n}"), KeyType::Cosignature, 20 + n)).collect::<Result<Vec<_>, _>>()?;
    let document = TrustDocument {
        v: 1,
        federation: FEDERATION.to_owned(),
        log_vkey: log.verifier().to_string(),
        root_ca: Sha256([4; 32]),
        administrators: vec![public(&key(1))],
        threshold: 1,
        server: public(&key(2)),
        previous: None,
    };
    let trust = document.to_bytes();
    let (writer, batch, partial, padding) = (LogWriter::new(), Vec::new(), BTreeMap::new(), String::new());
    let history = History::new(document);
    let mut maker =
        Maker { dir, size, writer, log, witnesses, policy: None, batch, partial, seq: 0, bytes: 0, statements: 0, padding, history };
    maker.padding = padded(&maker);
    maker.write("trust.json", &trust)?;
    maker.found(&trust)?;
    for n in 1..=size.notes {
        let until = u64::try_from(u128::from(size.entries) * u128::from(n) / u128::from(size.notes)).map_err(|_| MakeError::Refused)?;
        while maker.seq < until {
            if maker.is_statement() {
                maker.declare()?;
            } else {
                maker.push(&denial());
            }
        }
        maker.flush()?;
        progress(maker.seq, size.entries);
    }
    maker.finish()?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Made { trust: TrustDocument::hash(&trust), bytes: maker.bytes, statements: maker.statements, seconds })
}
