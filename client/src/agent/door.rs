//! What the status says while the server does not let this institution in (audit.md A19, transport-storage.md F30). Knows no connection.

use super::{Agent, AgentError};
use protocol::membership::Barred;

const NO_MEMBER: &str =
    "the server knows no member under this TLS key; if the key was revoked, end this program and give concordat-client keys rotate";
const NO_CERTIFICATE: &str = "no certificate: the membership or the TLS key does not hold; ask the federation's administrators";

impl Agent {
    /// Shows why the server does not let us in. A membership that is suspended may be resumed, so it is tried again; one that is over ends us.
    pub(super) fn not_let_in(&mut self, barred: Barred) -> Result<(), AgentError> {
        tracing::warn!(%barred, "the server does not let this institution in");
        self.stays_out(format!("{barred}; {}", barred.cure()))?;
        if barred.standing.is_final() { Err(barred.into()) } else { Ok(()) }
    }

    /// Shows that the server does not know our TLS key any more; the membership may hold all the same.
    pub(super) fn no_member(&mut self) -> Result<(), AgentError> {
        tracing::warn!("the server knows no member under this TLS key");
        self.stays_out(NO_MEMBER.to_owned())
    }

    /// Without a certificate the server cannot tell how the membership stands: the status says what is known.
    pub(super) fn not_certified(&mut self) -> Result<(), AgentError> {
        self.stays_out(NO_CERTIFICATE.to_owned())
    }

    fn stays_out(&mut self, duty: String) -> Result<(), AgentError> {
        self.status.duty = duty;
        self.shut_out = true;
        self.show()
    }

    /// The status no longer says so.
    pub(super) fn let_in(&mut self) {
        if std::mem::take(&mut self.shut_out) {
            "waiting for a task".clone_into(&mut self.status.duty);
        }
    }
}
