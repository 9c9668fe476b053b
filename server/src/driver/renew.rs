//! TLS certificates of members, made again while the institution stays who it is (transport-storage.md T2, T9): over the key that the log has for
//! it. Another key takes the word of its statement key, which stands in the log first.

use super::{Driver, DriverError};
use crate::identity::{self, IdentityError};
use protocol::entry::{Actor, Draft, Facts, Right};
use protocol::ids::{ClientId, Sha256};
use protocol::membership::KeyPurpose;
use protocol::messages::JoinReply;
use protocol::reject::Rejection;
use protocol::renewal::{Renewal, Rotation};
use protocol::statement::{Statement, StatementKind};
use protocol::time::Time;
use protocol::trust::TrustDocument;
use rustls::pki_types::CertificateDer;

impl Driver {
    /// A certificate of the root, in DER, for the institution of this name over the key of its signing request.
    pub(super) fn certificate(&self, name: &str, csr: &[u8], now: Time) -> Result<CertificateDer<'static>, IdentityError> {
        let issuer = identity::issuer(&self.keys.root_der, &self.keys.root)?;
        identity::make_client(&self.log.history().trust().federation, name, csr, &issuer, now)
    }

    /// Another certificate for a member, in DER, over the key that the log has for it. Before half of the last one's life is over it is the last
    /// one again: asking often makes no log grow, and a lost answer is given again.
    pub(super) fn renew(&mut self, who: ClientId, csr: &[u8], now: Time) -> Result<Result<Vec<u8>, Rejection>, DriverError> {
        if self.log.history().barred(who).is_some() {
            return Ok(Err(Rejection::Revoked));
        }
        let member = self.log.history().members().get(&who).map(|m| (m.name.clone(), m.tls_key, m.shows(m.tls_key)));
        let Some((name, tls_key, shows)) = member else { return Ok(Err(Rejection::NotEnrolled)) };
        if !shows {
            return Ok(Err(Rejection::Revoked));
        }
        if !identity::csr_key_hash(csr).is_ok_and(|key| key == tls_key) {
            return Ok(Err(Rejection::BadSignature));
        }
        let fresh = |der: &[u8]| {
            let young = identity::lifetime(der).is_ok_and(|life| life.from <= now && now < life.half());
            young && identity::spki_hash(der).is_ok_and(|key| key == tls_key)
        };
        if let Some(last) = self.store.issued(who)?.filter(|der| fresh(der)) {
            return Ok(Ok(last));
        }
        let issued = self.certificate(&name, csr, now).and_then(|der| Ok((identity::lifetime(&der)?.until.0 / 1000, der)));
        let Ok((until_s, der)) = issued else { return Ok(Err(Rejection::Malformed)) };
        let draft = Draft { institution: Some(who), ..Draft::server(Facts::MemberRenewed { tls_key, until_s }) };
        // In the log before anybody has it.
        let done = self.append_one(draft)?;
        self.store.put_issued(who, &der)?;
        self.publisher.want(done.index.0 + 1);
        Ok(Ok(der.to_vec()))
    }

    /// The same for a member who was away until its certificate had run out, or whose TLS key is to be another: no TLS key speaks for it then,
    /// its statement key does (T2).
    pub(super) fn come_back(&mut self, statement: &Statement, csr: &[u8], nonce: Sha256, now: Time) -> Result<JoinReply, DriverError> {
        if statement.kind == StatementKind::Rotation {
            return self.rotate(statement, csr, nonce, now);
        }
        let said = statement.verify::<Renewal>().ok();
        let speaker = self.log.history().speaker(&statement.key);
        let member = speaker.and_then(|who| Some((who, self.log.history().members().get(&who)?.tls_key)));
        let fits = |tls_key| said == Some(Renewal { trust: TrustDocument::hash(&self.trust_bytes), nonce, tls_key });
        let known = member.filter(|(_, tls_key)| fits(*tls_key));
        match known {
            Some((who, _)) => self.answered(who, csr, now),
            None => {
                self.deny(Right::MemberJoin, None, Rejection::NotEnrolled)?;
                Ok(JoinReply::Rejected { reason: Rejection::NotEnrolled })
            }
        }
    }

    /// Another TLS key takes the place of the one so far. The log says so before there is a certificate over it; whoever did not get that asks
    /// again with the same words, on another connection. A connection under the old key ends.
    fn rotate(&mut self, statement: &Statement, csr: &[u8], nonce: Sha256, now: Time) -> Result<JoinReply, DriverError> {
        let Some(who) = self.log.history().speaker(&statement.key) else {
            self.deny(Right::MemberJoin, None, Rejection::NotEnrolled)?;
            return Ok(JoinReply::Rejected { reason: Rejection::NotEnrolled });
        };
        if self.log.history().barred(who).is_some() {
            return Ok(JoinReply::Rejected { reason: Rejection::Revoked });
        }
        let here = (TrustDocument::hash(&self.trust_bytes), nonce);
        let said = statement.verify::<Rotation>().ok().filter(|s| (s.trust, s.nonce) == here);
        let said = said.filter(|s| identity::csr_key_hash(csr).is_ok_and(|key| key == s.new));
        let known = self.log.history().members().get(&who).map(|m| m.tls_key);
        let (Some(Rotation { old, new, .. }), Some(known)) = (said, known) else {
            self.deny(Right::MemberJoin, None, Rejection::NotEnrolled)?;
            return Ok(JoinReply::Rejected { reason: Rejection::NotEnrolled });
        };
        if known != new {
            let facts = Facts::KeyRotated { purpose: KeyPurpose::Tls, old, new };
            let draft = Draft::said(Actor::Institution, Some(who), statement.clone(), facts);
            if self.log.would_violate(&draft).is_some() {
                return Ok(JoinReply::Rejected { reason: Rejection::Policy });
            }
            self.append_one(draft)?;
            self.cut_off(who);
        }
        self.answered(who, csr, now)
    }

    fn answered(&mut self, who: ClientId, csr: &[u8], now: Time) -> Result<JoinReply, DriverError> {
        Ok(match self.renew(who, csr, now)? {
            Ok(der) => JoinReply::Renewed { leaf: der.into() },
            Err(reason) => JoinReply::Rejected { reason },
        })
    }
}
