//! This institution's TLS certificate: how long it holds, what takes its place, and how to come back without one that holds
//! (transport-storage.md T2, T9). Knows no log.

use crate::files::{self, Item, StoreError};
use crate::home::Home;
use crate::identity::Identity;
use crate::join::{JoinError, Session};
use crate::keys::Keys;
use crate::link::MAX_CERTIFICATE;
use crate::tls::{self, TlsError};
use minicbor::bytes::ByteVec;
use protocol::ids::Sha256;
use protocol::messages::{JoinMessage, JoinReply};
use protocol::reject::Rejection;
use protocol::renewal::{Lifetime, Renewal, Rotation};
use protocol::statement::{Payload, Statement};
use protocol::time::Time;
use protocol::trust::TrustDocument;
use rcgen::KeyPair;

/// Pause before a server that gave nothing is asked again.
const AGAIN_MS: u64 = 3600 * 1000;

/// Why a certificate is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file.
    #[error("a certificate could not be read or written")]
    Store(#[from] StoreError),
    /// Not ours.
    #[error("the certificate is not this institution's")]
    Tls(#[from] TlsError),
    /// One that ends no later than the one in use.
    #[error("the certificate does not hold for longer than the one in use")]
    NoLonger,
    /// One of another time than this machine's, while the one in use holds.
    #[error("the certificate does not hold at the time that this machine's clock shows")]
    OtherTime,
}

/// Why there is no certificate for an institution that was away too long, or wants one over another key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComeBackError {
    /// The enrolment protocol.
    #[error("the server could not be asked")]
    Ask(#[from] JoinError),
    /// A file, or what came.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The certificate in use.
pub(crate) struct Certificate {
    root: Vec<u8>,
    /// Of our own TLS key: a new certificate is over the same one, unless the key is rotated.
    tls_key: Sha256,
    life: Lifetime,
    /// When to ask for the next one.
    due: Time,
}

/// Of a certificate: the same after every start, and another one for every institution.
fn jitter(der: &[u8]) -> u8 {
    protocol::hash::sha256(&[der])[0]
}

impl Certificate {
    /// Reads what `join` or the last renewal wrote.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub(crate) fn load(home: &Home) -> Result<Self, CertificateError> {
        let read = |name: &str| files::read(&home.certificate(name), MAX_CERTIFICATE, Item::Certificate);
        let (root, leaf) = (read("root.der")?, read("leaf.der")?);
        let life = tls::lifetime(&leaf)?;
        Ok(Self { root, tls_key: tls::spki_hash(&leaf)?, life, due: life.due(jitter(&leaf)) })
    }

    /// When it runs out.
    pub(crate) fn until(&self) -> Time {
        self.life.until
    }
    /// Whether the server is to be asked for the next one.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        now >= self.due
    }
    /// Whether it holds; a server believes no other.
    pub(crate) fn holds(&self, now: Time) -> bool {
        self.life.holds(now)
    }
    /// The server was asked: not again for an hour, whatever it says.
    pub(crate) fn asked(&mut self, now: Time) {
        self.due = now.plus_ms(AGAIN_MS);
    }

    /// Takes the next one, durably; connections that are made from now on show it. While the one in use holds, nothing takes its place that
    /// ends earlier, or that a server made under a wrong clock.
    ///
    /// # Errors
    /// [`CertificateError`]: the one in use stays.
    pub(crate) fn take(&mut self, home: &Home, identity: &Identity, der: &[u8], now: Time) -> Result<(), CertificateError> {
        tls::check_issued(&[der.to_vec()], &self.root, self.tls_key, &identity.federation, &identity.institution)?;
        let (life, in_use) = (tls::lifetime(der)?, self.holds(now));
        if life == self.life || (in_use && life.until <= self.life.until) {
            return Err(CertificateError::NoLonger);
        }
        if in_use && !life.holds(now) {
            return Err(CertificateError::OtherTime);
        }
        Ok(self.keep(home, der, life)?)
    }

    fn keep(&mut self, home: &Home, der: &[u8], life: Lifetime) -> Result<(), StoreError> {
        files::replace(&home.certificate("leaf.der"), der, Item::Certificate)?;
        (self.life, self.due) = (life, life.due(jitter(der)));
        Ok(())
    }

    /// Asks at the newcomers' door, where no certificate is needed: under the pinned root, with a word of the institution's own key.
    ///
    /// # Errors
    /// [`ComeBackError`]; nothing was changed.
    pub(crate) async fn come_back(&mut self, home: &Home, identity: &Identity, keys: &Keys, now: Time) -> Result<(), ComeBackError> {
        let tls_key = tls::key_hash(keys.tls());
        let said = |trust, nonce| Renewal { trust, nonce, tls_key };
        let leaf = self.at_the_door(home, identity, keys, keys.tls(), said).await?;
        Ok(self.take(home, identity, &leaf, now)?)
    }

    /// The same over another key, which takes the place of the one so far with the federation, and here when the keys are read next. Whoever got
    /// no answer asks again with the same key.
    ///
    /// # Errors
    /// [`ComeBackError`]; the old key may have lost its place all the same.
    pub(crate) async fn rotate(&mut self, home: &Home, identity: &Identity, keys: &Keys, next: &KeyPair) -> Result<(), ComeBackError> {
        let (old, new) = (tls::key_hash(keys.tls()), tls::key_hash(next));
        let said = |trust, nonce| Rotation { trust, nonce, old, new };
        let leaf = self.at_the_door(home, identity, keys, next, said).await?;
        let ours = tls::check_issued(std::slice::from_ref(&leaf), &self.root, new, &identity.federation, &identity.institution);
        ours.map_err(CertificateError::Tls)?;
        let life = tls::lifetime(&leaf).map_err(CertificateError::Tls)?;
        self.keep(home, &leaf, life).map_err(CertificateError::Store)?;
        self.tls_key = new;
        Ok(())
    }

    /// Asks with what `said` makes of trust document and nonce, and gives back the certificate over the TLS key `key`. In the middle of a change of
    /// the statement key the log may have the next one already: then that one speaks for the institution, and no certificate that runs out
    /// meanwhile may keep it from going on.
    async fn at_the_door<P: Payload>(
        &self,
        home: &Home,
        identity: &Identity,
        keys: &Keys,
        key: &KeyPair,
        said: impl Fn(Sha256, Sha256) -> P,
    ) -> Result<Vec<u8>, ComeBackError> {
        let denied = match self.ask(home, identity, key, |trust, nonce| keys.sign(&said(trust, nonce))).await {
            Err(ComeBackError::Ask(JoinError::Rejected(Rejection::NotEnrolled))) => JoinError::Rejected(Rejection::NotEnrolled),
            answer => return answer,
        };
        let Some(next) = Keys::load_next(home).map_err(JoinError::Keys)? else { return Err(denied.into()) };
        self.ask(home, identity, key, |trust, nonce| next.sign(&said(trust, nonce))).await
    }

    async fn ask(
        &self,
        home: &Home,
        identity: &Identity,
        key: &KeyPair,
        said: impl FnOnce(Sha256, Sha256) -> Statement,
    ) -> Result<Vec<u8>, ComeBackError> {
        let trust = files::read(&home.mirror().join("trust.json"), TrustDocument::MAX_BYTES, Item::TrustDocument);
        let trust = TrustDocument::hash(&trust.map_err(CertificateError::Store)?);
        let root = tls::spki_hash(&self.root).map_err(CertificateError::Tls)?;
        let mut session = Session::open(&identity.server, root).await?;
        let (_, nonce) = session.start(root, trust).await?;
        let csr = tls::signing_request(key, &identity.federation, &identity.institution).map_err(CertificateError::Tls)?;
        let statement = said(trust, nonce);
        let reply = session.ask(&JoinMessage::Renew { statement, csr: ByteVec::from(csr) }).await?;
        session.close().await;
        match reply {
            JoinReply::Renewed { leaf } => Ok(leaf.into()),
            JoinReply::Rejected { reason } => Err(JoinError::Rejected(reason).into()),
            JoinReply::Trust { .. } | JoinReply::Pending {} | JoinReply::Admitted { .. } => Err(JoinError::Unexpected.into()),
        }
    }
}

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;
