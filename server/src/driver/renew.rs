//! TLS certificates of members, made again while the institution stays who it is (transport-storage.md T2, T9). Another key than the admitted one
//! takes the administrators' word, which no renewal has.

use super::{Driver, DriverError};
use crate::identity;
use protocol::entry::{Draft, Facts};
use protocol::ids::{ClientId, Sha256};
use protocol::messages::JoinReply;
use protocol::reject::Rejection;
use protocol::renewal::Renewal;
use protocol::statement::Statement;
use protocol::time::Time;
use protocol::trust::TrustDocument;

impl Driver {
    /// Another certificate for a member, in DER, over the key that it was admitted with. Before half of the last one's life is over it is the last
    /// one again: asking often makes no log grow, and a lost answer is given again.
    pub(super) fn renew(&mut self, who: ClientId, csr: &[u8], now: Time) -> Result<Result<Vec<u8>, Rejection>, DriverError> {
        if self.log.history().barred(who).is_some() {
            return Ok(Err(Rejection::Revoked));
        }
        let member = self.log.history().members().get(&who).map(|m| (m.name.clone(), m.tls_key));
        let Some((name, tls_key)) = member else { return Ok(Err(Rejection::NotEnrolled)) };
        if !identity::csr_key_hash(csr).is_ok_and(|key| key == tls_key) {
            return Ok(Err(Rejection::BadSignature));
        }
        let fresh = |der: &[u8]| identity::lifetime(der).is_ok_and(|life| life.from <= now && now < life.half());
        if let Some(last) = self.store.issued(who)?.filter(|der| fresh(der)) {
            return Ok(Ok(last));
        }
        let federation = self.log.history().trust().federation.clone();
        let issued = identity::issuer(&self.keys.root_der, &self.keys.root)
            .and_then(|issuer| identity::make_client(&federation, &name, csr, &issuer, now))
            .and_then(|der| Ok((identity::lifetime(&der)?.until.0 / 1000, der)));
        let Ok((until_s, der)) = issued else { return Ok(Err(Rejection::Malformed)) };
        let draft = Draft { institution: Some(who), ..Draft::server(Facts::MemberRenewed { tls_key, until_s }) };
        // In the log before anybody has it.
        let done = self.append_one(draft)?;
        self.store.put_issued(who, &der)?;
        self.publisher.want(done.index.0 + 1);
        Ok(Ok(der.to_vec()))
    }

    /// The same for a member who was away until its certificate had run out: no TLS key speaks for it then, its statement key does (T2).
    pub(super) fn come_back(&mut self, statement: &Statement, csr: &[u8], nonce: Sha256, now: Time) -> Result<JoinReply, DriverError> {
        let who = statement.signer();
        let said = statement.verify::<Renewal>().ok();
        let member = self.log.history().members().get(&who).map(|m| m.tls_key);
        let expected = member.map(|tls_key| Renewal { trust: TrustDocument::hash(&self.trust_bytes), nonce, tls_key });
        if said.is_none() || said != expected {
            self.deny(protocol::entry::Right::MemberJoin, None, Rejection::NotEnrolled)?;
            return Ok(JoinReply::Rejected { reason: Rejection::NotEnrolled });
        }
        Ok(match self.renew(who, csr, now)? {
            Ok(der) => JoinReply::Renewed { leaf: der.into() },
            Err(reason) => JoinReply::Rejected { reason },
        })
    }
}
