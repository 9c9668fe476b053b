//! The TLS certificate on its way: asked for on the link while the last one holds, at the newcomers' door where it does not (transport-storage.md T9).

use super::session::{Trouble, fatal};
use super::{Agent, chain};
use crate::clock;
use crate::link::Link;
use crate::renewal::CertificateError;
use crate::tls;
use crate::wire::WireError;

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
        let request = tls::signing_request(&self.keys, &self.identity.federation, &self.identity.institution);
        let csr = match request {
            Ok((_, csr)) => csr,
            Err(error) => {
                tracing::error!(error = %chain(&error), "no TLS certificate can be asked for");
                return Ok(());
            }
        };
        match link.wire().renew(csr).await {
            Ok(der) => match self.certificate.take(&self.home, &self.identity, &der) {
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

    /// An institution that was away until its certificate had run out asks for one before it dials as a member.
    pub(super) async fn come_back(&mut self) {
        if !self.certificate.is_over(clock::now()) {
            return;
        }
        match self.certificate.come_back(&self.home, &self.identity, &self.keys).await {
            Ok(()) => tracing::info!("the TLS certificate had run out; there is a new one"),
            Err(error) => tracing::warn!(error = %chain(&error), "the TLS certificate has run out and is not renewed yet"),
        }
    }
}
