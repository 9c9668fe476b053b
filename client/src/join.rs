//! Enrolment from a token (transport-storage.md T10 to T13): pin, compare, make keys, ask, wait, take the certificate.
//! Nothing that the server says is believed that the token's hashes or an administrator's signature do not cover.

use crate::endpoint::{self, Dialled, EndpointError};
use crate::files::{self, Item, Lock, StoreError};
use crate::frames::{self, FrameError};
use crate::home::Home;
use crate::identity::Identity;
use crate::keys::{Keys, KeysError};
use crate::link::store_chain;
use crate::site_policy;
use crate::tls::{self, TlsError};
use minicbor::bytes::ByteVec;
use protocol::codec;
use protocol::entry::{EntryError, Facts, LogEntry};
use protocol::ids::{LeafIndex, PublicKey, Sha256};
use protocol::messages::{ALPN_JOIN, JoinMessage, JoinReply, MAX_JOIN_FRAME, MAX_TRUST_FRAME};
use protocol::reject::Rejection;
use protocol::statement::Statement;
use protocol::trust::{BadChain, BadToken, BadTrust, JoinRequest, Membership, Token, TrustChain, TrustDocument, fingerprint};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Pause between questions whether we are admitted.
const POLL: Duration = Duration::from_secs(1);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(15);
/// What `join` writes as settings: everything has a default.
const EMPTY_SETTINGS: &str = "\
# Settings of the client. Privacy and sealing numbers are not settings: they stand in the signed plan and in site_policy.toml.
# [data]
# path = \"records.jsonl\"
# name = \"what the dataset is called here\"
";

/// Why the institution is not a member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The line is no token.
    #[error("the line is not an enrolment token")]
    Token(#[from] BadToken),
    /// No connection.
    #[error("the server could not be reached")]
    Endpoint(#[from] EndpointError),
    /// The connection broke.
    #[error("the connection to the server was lost")]
    Lost(#[from] quinn::ConnectionError),
    /// A frame.
    #[error("a message did not come through")]
    Frame(#[from] FrameError),
    /// No answer in time.
    #[error("the server did not answer in time")]
    TimedOut,
    /// An answer of another kind.
    #[error("the server's answer does not fit")]
    Unexpected,
    /// TLS.
    #[error("a certificate is not as it should be")]
    Tls(#[from] TlsError),
    /// The chain does not contain the pinned root.
    #[error("the server's chain does not contain the root that the token names")]
    OtherRoot,
    /// The trust document is not the token's, and no chain leads from it to the token's or from the token's on.
    #[error("the server's trust documents are not those of the one that the token names")]
    OtherTrust,
    /// A trust document that the administrators of the one before it did not put in force.
    #[error("the server shows a trust document that the administrators before it did not approve")]
    Chain(#[from] BadChain),
    /// The trust document cannot be read.
    #[error("the trust document cannot be read")]
    Trust(#[from] BadTrust),
    /// The federation refused.
    #[error("the federation refused: {0}")]
    Rejected(Rejection),
    /// The entry of our admission cannot be read.
    #[error("the entry of our admission cannot be read")]
    Entry(#[from] EntryError),
    /// The entry does not admit us, or no administrator signed it.
    #[error("the entry does not say that an administrator admitted exactly our request")]
    NotAdmitted,
    /// The directory belongs to another enrolment.
    #[error("the directory already belongs to another institution or federation")]
    OtherEnrolment,
    /// Keys.
    #[error("the keys cannot be used")]
    Keys(#[from] KeysError),
    /// A file.
    #[error("a file could not be read or written")]
    Store(#[from] StoreError),
    /// Not admitted within the patience given. Run it again: nothing is lost.
    #[error("not yet admitted; run the same command again later")]
    StillPending,
}

/// A membership.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Who we are.
    pub identity: Identity,
    /// Where the admission stands in the log.
    pub index: LeafIndex,
}

/// What there is to show while waiting.
pub enum Waiting<'a> {
    /// Compare these digits with an administrator by another channel.
    Fingerprint(&'a str),
    /// The request is recorded; administrators decide. Compare the digits of the request as well.
    Pending(&'a str),
}

/// Joins the federation that invited with `token`, waiting up to `patience` for the administrators.
///
/// May be run again after an interruption: keys and request are kept.
///
/// # Errors
/// [`JoinError`]; [`JoinError::StillPending`] when patience ends.
pub async fn join(dir: &Path, token: &str, patience: Duration, show: &mut (dyn FnMut(Waiting<'_>) + Send)) -> Result<Joined, JoinError> {
    let (token, home) = (Token::parse(token)?, Home::new(dir));
    if let Some(done) = already(&home, &token)? {
        return Ok(done);
    }
    // A second call at the same time would write over the keys that this one makes.
    let _lock = Lock::take(&home.lock(), Item::Identity)?;
    let (started, mut session, mut shown) = (Instant::now(), Session::open(&token.address, token.root_ca).await?, false);
    let (trust, _) = session.start(token.root_ca, token.trust).await?;
    show(Waiting::Fingerprint(&fingerprint(&token.trust)));
    let keys = Keys::load_or_make(&home, &Identity::witness_name(&trust.first().federation, &token.institution))?;
    let (request, mut reply) = match known_request(&home, &mut session, &token, &keys).await? {
        Some(known) => known,
        None => {
            // A fresh stream with a fresh nonce, which the request is bound to.
            session = Session::open(&token.address, token.root_ca).await?;
            let (_, nonce) = session.start(token.root_ca, token.trust).await?;
            let (request, csr) = make_request(&home, &keys, trust.first(), &token, nonce)?;
            let reply =
                session.ask(&JoinMessage::Request { secret: token.secret, statement: request.clone(), csr: ByteVec::from(csr) }).await?;
            (request, reply)
        }
    };
    loop {
        match reply {
            JoinReply::Admitted { chain, index, entry, others } => {
                let chain: Vec<Vec<u8>> = chain.into_iter().map(Into::into).collect();
                let words: Vec<&[u8]> = std::iter::once(&entry).chain(&others).map(|e| e.as_slice()).collect();
                // Administrators may have changed while we waited: whoever admitted us stands in a newer document then.
                session = Session::open(&token.address, token.root_ca).await?;
                let (trust, _) = session.start(token.root_ca, token.trust).await?;
                let joined = finish(&home, &keys, &trust, &token, &session.root, &chain, index, &words, &request);
                session.close().await;
                return joined;
            }
            JoinReply::Pending {} => {}
            JoinReply::Rejected { reason } => return Err(JoinError::Rejected(reason)),
            JoinReply::Trust { .. } | JoinReply::Renewed { .. } => return Err(JoinError::Unexpected),
        }
        if !shown {
            show(Waiting::Pending(&fingerprint(&Sha256(protocol::hash::sha256(&[&request.payload])))));
            shown = true;
        }
        if started.elapsed() >= patience {
            return Err(JoinError::StillPending);
        }
        tokio::time::sleep(POLL).await;
        reply = session.poll(&token, &keys).await?;
    }
}

/// A membership that this directory already holds.
fn already(home: &Home, token: &Token) -> Result<Option<Joined>, JoinError> {
    let identity = match Identity::load(home) {
        Ok(identity) => identity,
        Err(e) if e.is_absent() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let trust = files::read(&home.mirror().join("trust.json"), TrustDocument::MAX_BYTES, Item::TrustDocument)?;
    // The copy of the log begins with the first trust document; the token may name a later one, as the request did that we were admitted by.
    let named = TrustDocument::hash(&trust) == token.trust || kept_request(home, token)?.is_some();
    let same = named && identity.institution == token.institution;
    if same { Ok(Some(Joined { identity, index: LeafIndex(0) })) } else { Err(JoinError::OtherEnrolment) }
}

/// The request of an earlier run, if it answers this token.
fn kept_request(home: &Home, token: &Token) -> Result<Option<Statement>, JoinError> {
    let Some(bytes) = files::read_if_there(&home.join_request(), MAX_JOIN_FRAME, Item::JoinRequest)? else { return Ok(None) };
    let damaged = || StoreError::Damaged(Item::JoinRequest);
    let statement: Statement = codec::decode(&bytes, MAX_JOIN_FRAME).map_err(|_| damaged())?;
    let request: JoinRequest = statement.verify().map_err(|_| damaged())?;
    Ok((request.token == token.id && request.trust == token.trust).then_some(statement))
}

/// The request of an earlier run and what became of it, if the server knows it.
async fn known_request(
    home: &Home,
    session: &mut Session,
    token: &Token,
    keys: &Keys,
) -> Result<Option<(Statement, JoinReply)>, JoinError> {
    let Some(request) = kept_request(home, token)? else { return Ok(None) };
    match session.poll(token, keys).await? {
        reply @ (JoinReply::Pending {} | JoinReply::Admitted { .. }) => Ok(Some((request, reply))),
        JoinReply::Rejected { .. } => Ok(None),
        JoinReply::Trust { .. } | JoinReply::Renewed { .. } => Err(JoinError::Unexpected),
    }
}

fn make_request(home: &Home, keys: &Keys, trust: &TrustDocument, token: &Token, nonce: Sha256) -> Result<(Statement, Vec<u8>), JoinError> {
    let csr = tls::signing_request(keys.tls(), &trust.federation, &token.institution)?;
    let request = JoinRequest {
        token: token.id,
        trust: token.trust,
        nonce,
        name: token.institution.clone(),
        institution_key: keys.public(),
        witness_vkey: keys.witness().verifier().to_string(),
        tls_key: tls::key_hash(keys.tls()),
    };
    let statement = keys.sign(&request);
    files::replace(&home.join_request(), &codec::encode(&statement), Item::JoinRequest)?;
    Ok((statement, csr))
}

/// One stream of the enrolment protocol; dialled again when the server has closed it.
pub(crate) struct Session {
    dialled: Dialled,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    root: Vec<u8>,
}

impl Session {
    /// Dials a server that shows a chain to the root of this hash.
    pub(crate) async fn open(address: &str, root_ca: Sha256) -> Result<Self, JoinError> {
        let dialled = endpoint::dial(address, tls::newcomer_config(root_ca, ALPN_JOIN)?).await?;
        let root = tls::find_root(&dialled.chain, root_ca).ok_or(JoinError::OtherRoot)?.to_vec();
        let (send, receive) = dialled.connection.open_bi().await?;
        Ok(Self { dialled, send, receive, root })
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&mut self, message: &JoinMessage) -> Result<JoinReply, JoinError> {
        let exchange = async {
            frames::send(&mut self.send, message).await?;
            let limit = if matches!(message, JoinMessage::Start {}) { MAX_TRUST_FRAME } else { MAX_JOIN_FRAME };
            frames::receive(&mut self.receive, limit).await?.ok_or(JoinError::Unexpected)
        };
        tokio::time::timeout(ANSWER, exchange).await.map_err(|_| JoinError::TimedOut)?
    }

    /// Reads the trust documents and looks for the pinned hash among them before anything in them is believed. All before that one are pinned
    /// with it, since each names the one before; all after it are believed by the words of administrators.
    pub(crate) async fn start(&mut self, root_ca: Sha256, hash: Sha256) -> Result<(TrustChain, Sha256), JoinError> {
        let JoinReply::Trust { trust, nonce, changes } = self.ask(&JoinMessage::Start {}).await? else { return Err(JoinError::Unexpected) };
        let chain = believed(&trust, &changes, hash)?;
        if chain.first().root_ca != root_ca {
            return Err(JoinError::OtherRoot);
        }
        tls::check_server(self.dialled.chain.first().ok_or(EndpointError::NoCertificate)?, &chain.first().federation)?;
        Ok((chain, nonce))
    }

    /// Closes in order: the server waits for it.
    pub(crate) async fn close(mut self) {
        self.send.finish().unwrap_or(());
        self.dialled.connection.close(quinn::VarInt::from_u32(0), b"joined");
        // A server that is gone must not keep us.
        tokio::time::timeout(Duration::from_secs(3), self.dialled.endpoint.wait_idle()).await.unwrap_or(());
    }

    async fn poll(&mut self, token: &Token, keys: &Keys) -> Result<JoinReply, JoinError> {
        let poll = JoinMessage::Poll { secret: token.secret, institution: keys.client() };
        match self.ask(&poll).await {
            Ok(reply) => Ok(reply),
            Err(_) => {
                *self = Self::open(&token.address, token.root_ca).await?;
                self.ask(&poll).await
            }
        }
    }
}

/// The trust documents that a server shows, if the pinned one is among them and each after the first was put in force by the one before it.
fn believed(first: &[u8], changes: &[Statement], pinned: Sha256) -> Result<TrustChain, JoinError> {
    if changes.is_empty() && TrustDocument::hash(first) != pinned {
        return Err(JoinError::OtherTrust);
    }
    let mut chain = TrustChain::new(TrustDocument::parse(first)?);
    chain.follow(changes)?;
    if chain.reaches(pinned) { Ok(chain) } else { Err(JoinError::OtherTrust) }
}

/// Checks the admission and writes everything down; the identity last, so that its presence means all of it.
#[expect(clippy::too_many_arguments, reason = "everything that an admission is checked against, used once")]
fn finish(
    home: &Home,
    keys: &Keys,
    trust: &TrustChain,
    token: &Token,
    root: &[u8],
    chain: &[Vec<u8>],
    index: LeafIndex,
    words: &[&[u8]],
    request: &Statement,
) -> Result<Joined, JoinError> {
    // Whoever administered before the document that the token names has no word in who is admitted.
    let mut admitted = trust.since(token.trust).map(|document| check_entries(document, request, words, index));
    admitted.find(Result::is_ok).unwrap_or(Err(JoinError::NotAdmitted))?;
    let trust = trust.first();
    let asked: JoinRequest = request.verify().map_err(|_| JoinError::NotAdmitted)?;
    tls::check_issued(chain, root, asked.tls_key, &trust.federation, &token.institution)?;
    store_chain(home, chain, root)?;
    files::write_once(&home.mirror().join("trust.json"), &trust.to_bytes(), Item::TrustDocument)?;
    for (path, text, item) in
        [(home.settings(), EMPTY_SETTINGS, Item::Settings), (home.site_policy(), site_policy::STRICT, Item::SitePolicy)]
    {
        // What the institution has written stays.
        if !path.exists() {
            files::replace(&path, text.as_bytes(), item)?;
        }
    }
    let identity = Identity {
        v: 1,
        federation: trust.federation.clone(),
        institution: token.institution.clone(),
        client: keys.client(),
        server: token.address.clone(),
    };
    identity.store(home)?;
    Ok(Joined { identity, index })
}

/// The entries, of which the first stands at `index`, are `member.joined` for exactly our request, signed by as many administrators as the
/// pinned trust document asks for.
fn check_entries(trust: &TrustDocument, request: &Statement, entries: &[&[u8]], index: LeafIndex) -> Result<(), JoinError> {
    let asked: JoinRequest = request.verify().map_err(|_| JoinError::NotAdmitted)?;
    let (hash, membership) = (Sha256(protocol::hash::sha256(&[&request.payload])), Membership::of(&asked));
    let mut signers = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let entry = LogEntry::parse(entry)?;
        let placed = if at == 0 { entry.stamp.seq == index.0 } else { entry.stamp.seq < index.0 };
        let stmt = entry.stmt.as_ref().filter(|_| placed && entry.facts == Facts::MemberJoined { request: hash });
        let stmt = stmt.ok_or(JoinError::NotAdmitted)?;
        let said =
            |key: &&PublicKey| stmt.with_key(**key).ok().and_then(|s| s.verify_by::<Membership>(key).ok()).as_ref() == Some(&membership);
        signers.insert(*trust.administrators.iter().find(said).ok_or(JoinError::NotAdmitted)?);
    }
    if signers.len() >= usize::from(trust.threshold) { Ok(()) } else { Err(JoinError::NotAdmitted) }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
