//! The TLS certificate on its way: asked for on the link while the last one holds, at the newcomers' door where it does not (transport-storage.md T9).

use super::session::{Trouble, fatal};
use super::{Agent, chain};
use crate::clock;
use crate::join::JoinError;
use crate::keys::{Keys, pending_tls};
use crate::link::Link;
use crate::renewal::{CertificateError, ComeBackError};
use crate::tls;
use crate::wire::WireError;
use protocol::reject::Rejection;
use rcgen::KeyPair;
use std::sync::Arc;

/// What people must know before it is too late.
const ALARM: &str =
    "the server gave no TLS certificate that takes the place of the one in use; without one no connection can be made when it ends";

impl Agent {
    /// Asks for the next certificate if it is time to.
    pub(super) async fn renew(&mut self, link: &Link) -> Result<(), Trouble> {
        let now = clock::now();
        if !self.certificate.is_due(now) {
            return Ok(());
        }
        self.certificate.asked(now);
        let request = tls::signing_request(self.keys.tls(), &self.identity.federation, &self.identity.institution);
        let csr = match request {
            Ok(csr) => csr,
            Err(error) => {
                tracing::error!(error = %chain(&error), "no TLS certificate can be asked for");
                return Ok(());
            }
        };
        match link.wire().renew(csr).await {
            Ok(der) => match self.certificate.take(&self.home, &self.identity, &der, now) {
                Ok(()) => tracing::info!("a new TLS certificate is in use from the next connection on"),
                Err(CertificateError::Store(error)) => return Err(fatal(error)),
                Err(error) => {
                    tracing::error!(error = %chain(&error), "the TLS certificate that came is not taken");
                    self.status.alarm(ALARM);
                }
            },
            Err(WireError::Rejected(reason)) => {
                tracing::error!(code = reason.name(), "the server does not renew the TLS certificate");
                self.status.alarm(ALARM);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// An institution that was away until its certificate had run out, or whose certificate is of a time that its server's clock once showed,
    /// asks for one before it dials as a member, and goes on with a rotation of its TLS key that was broken off: the federation may know the new
    /// key already.
    pub(super) async fn come_back(&mut self) {
        match pending_tls(&self.home) {
            Ok(Some(next)) => return self.go_on_rotating(&next).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(error = %chain(&error), "the next TLS key cannot be read"),
        }
        let now = clock::now();
        if self.certificate.holds(now) {
            return;
        }
        match self.certificate.come_back(&self.home, &self.identity, &self.keys, now).await {
            Ok(()) => tracing::info!("the TLS certificate did not hold any more; there is a new one"),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the TLS certificate does not hold and is not renewed yet");
                if matches!(error, ComeBackError::Ask(JoinError::Rejected(Rejection::Revoked)))
                    && let Err(error) = self.not_certified()
                {
                    tracing::warn!(error = %chain(&error), "the status cannot be written");
                }
            }
        }
    }

    async fn go_on_rotating(&mut self, next: &KeyPair) {
        match self.certificate.rotate(&self.home, &self.identity, &self.keys, next).await {
            Ok(()) => match Keys::load(&self.home) {
                Ok(keys) => {
                    self.keys = Arc::new(keys);
                    tracing::info!("the TLS key is replaced");
                }
                Err(error) => tracing::error!(error = %chain(&error), "the keys cannot be read"),
            },
            Err(error) => tracing::warn!(error = %chain(&error), "the TLS key is not replaced yet"),
        }
    }
}
