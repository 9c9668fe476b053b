//! The TLS certificate on its way: asked for on the link while the last one holds, at the newcomers' door where it does not (transport-storage.md T9).

use super::session::{Trouble, fatal};
use super::{Agent, AgentError, chain};
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
    /// asks for one before it dials as a member.
    pub(super) async fn come_back(&mut self) -> Result<(), AgentError> {
        let now = clock::now();
        if self.certificate.holds(now) {
            return Ok(());
        }
        let asked = self.certificate.come_back(&self.home, &self.identity, &self.keys, now).await;
        match asked {
            Ok(()) => tracing::info!("the TLS certificate did not hold any more; there is a new one"),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the TLS certificate does not hold and is not renewed yet");
                if let Some(alarm) = error.alarm() {
                    self.status.alarm(alarm);
                    self.show()?;
                }
            }
        }
        Ok(())
    }
}
