//! Carries out what the machines ask for, oldest first: the participant's and the decryptor's actions.

use super::session::{Trouble, fatal};
use super::{Agent, chain};
use crate::clock;
use crate::link::Link;
use crate::wire::WireError;
use crypto::blob::open_blob;
use crypto::share::post_opening;
use protocol::dealing::NonceReveal;
use protocol::decryptor::{Action, Event, ShareSource};
use protocol::ids::Position;
use protocol::manifest::{Certificate, Decline};
use protocol::messages::ClientMessage;
use protocol::participant;
use protocol::reject::Rejection;

impl Agent {
    /// Until neither machine asks for anything.
    pub(super) async fn act(&mut self, link: &mut Link) -> Result<(), Trouble> {
        loop {
            if let Some(action) = self.participant.poll_action() {
                self.take_part(link, action).await?;
            } else if let Some(action) = self.decryptor.poll_action() {
                self.do_duty(link, action).await?;
            } else {
                return Ok(());
            }
        }
    }

    async fn take_part(&mut self, link: &mut Link, action: participant::Action) -> Result<(), Trouble> {
        match action {
            participant::Action::Send(message) => Ok(link.say(&message).await?),
            participant::Action::Decline(task, round, reason) => {
                tracing::info!(round = round.0, code = reason.name(), "declined");
                // What is still prepared for it is of no use any more.
                if self.current == Some((task, round)) {
                    self.ends.leave_all_but(None);
                }
                self.tell_exhausted(link, (task, round), reason).await?;
                let statement = self.keys.sign(&Decline { task, round, reason });
                Ok(link.say(&ClientMessage::Declined { statement }).await?)
            }
            participant::Action::Prepare(accepted) => self.prepare(link, accepted),
            participant::Action::Upload(group) => self.upload(link, group),
            // The spool stays until the end is under a quorum (S12); settling removes it.
            participant::Action::Clear(..) => Ok(()),
        }
    }

    async fn do_duty(&mut self, link: &mut Link, action: Action) -> Result<(), Trouble> {
        match action {
            Action::Persist(ticket, record) => {
                self.vault.persist(&record).map_err(fatal)?;
                self.tell_decryptor(Event::Persisted(ticket));
                Ok(())
            }
            Action::Reveal(task, round) => {
                let nonce = self.vault.nonce(task, round).map_err(fatal)?;
                let statement = self.keys.sign(&NonceReveal { task, round, nonce });
                Ok(link.say(&ClientMessage::Revealed { statement }).await?)
            }
            Action::SignEndorsement(endorsement) => {
                let statement = self.keys.sign(&endorsement);
                Ok(link.say(&ClientMessage::Endorsed { statement }).await?)
            }
            Action::SignSet(payload) => {
                let statement = self.keys.sign(&payload);
                Ok(link.say(&ClientMessage::SetSigned { statement }).await?)
            }
            Action::Fetch(source) => self.fetch_share(link, &source).await,
            Action::Compute(certificate, position) => self.post(&certificate, position),
            Action::Send(message) => Ok(link.say(&message).await?),
            Action::Forget(task, round, _) => self.vault.forget(task, round).map_err(fatal),
        }
    }

    fn tell_decryptor(&mut self, event: Event) {
        self.decryptor.handle(clock::now(), self.mirror.history(), event);
    }

    /// Fetches, opens and keeps a share, and says what became of it.
    async fn fetch_share(&mut self, link: &Link, source: &ShareSource) -> Result<(), Trouble> {
        let ShareSource { manifest, group, header, position, .. } = *source;
        let trouble = if self.vault.share(manifest, group, header, position).is_ok() {
            None
        } else {
            match link.wire().blob(source.blob).await {
                Ok(blob) => self.keep_share(source, &blob)?,
                Err(WireError::Rejected(_)) => Some(Rejection::Unknown),
                Err(WireError::WrongBytes) => Some(Rejection::BadChunk),
                Err(e) => return Err(e.into()),
            }
        };
        self.tell_decryptor(Event::Share { manifest, group, header, trouble });
        Ok(())
    }

    fn keep_share(&self, source: &ShareSource, blob: &[u8]) -> Result<Option<Rejection>, Trouble> {
        let Some(secret) = self.vault.secret(source.task, source.round).map_err(fatal)? else { return Ok(Some(Rejection::Unknown)) };
        match open_blob(&secret, source.core, source.position, blob) {
            Ok(share) => {
                self.vault.keep(source.manifest, source.group, source.header, &share).map_err(fatal)?;
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "a share blob does not open");
                Ok(Some(Rejection::BadShares))
            }
        }
    }

    /// Adds the shares of the certified set. The machine has checked the certificate; the type proves it.
    fn post(&mut self, certificate: &Certificate, position: Position) -> Result<(), Trouble> {
        let (manifest, group) = (certificate.payload().manifest, certificate.payload().group);
        let shares = certificate.headers().iter().map(|&h| Ok((h, self.vault.share(manifest, group, h, position)?)));
        let shares = shares.collect::<Result<_, crate::vault::VaultError>>().map_err(fatal)?;
        match post_opening(certificate, position, &shares) {
            Ok(payload) => self.tell_decryptor(Event::Computed(self.keys.sign(&payload))),
            Err(error) => tracing::error!(error = %chain(&error), "the certified set could not be opened"),
        }
        Ok(())
    }
}
