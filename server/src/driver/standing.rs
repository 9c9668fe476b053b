//! How members stand: administrators suspend, resume and revoke, and whoever is out is out at once, in the round under way too (audit.md A19,
//! transport-storage.md F30).

use super::{Driver, DriverError, Link};
use crate::admin::{AdminReply, MemberStatus, Refusal};
use protocol::entry::{Actor, Draft};
use protocol::ids::{ClientId, HeaderDigest};
use protocol::membership::{Barred, KeyRevocation, StandingChange, StandingReason};
use protocol::round::Event;
use protocol::statement::{Payload as _, Statement};
use protocol::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// How long whoever has left may read the log on the connection on which it did: some looks until it sees its entry there.
const LEAVING_MS: u64 = 2 * 60_000;

impl Driver {
    /// Everybody who was ever admitted, with what administrators name when they change how somebody stands.
    pub(super) fn members(&self) -> AdminReply {
        let one = |(id, m): (&ClientId, &protocol::history::Member)| MemberStatus {
            name: m.name.clone(),
            id: *id,
            standing: m.standing.name().to_owned(),
            reason: m.standing.reason().map(StandingReason::name).map(str::to_owned),
            since: m.since,
            tls_key: m.tls_key,
            key_revoked: !m.shows(m.tls_key),
            witness: m.witness(),
            witness_revoked: !m.cosigns(m.witness()),
            connected: self.links.contains_key(id),
        };
        AdminReply::Members { members: self.log.history().members().iter().map(one).collect() }
    }

    /// Records an administrator's word about a membership, or about a member's key; with the m-th it has effect.
    pub(super) fn change_standing(&mut self, statement: Statement) -> Result<Result<AdminReply, Refusal>, DriverError> {
        if statement.kind == KeyRevocation::KIND {
            return self.revoke_key(statement);
        }
        let Some(said) = self.said::<StandingChange>(&statement) else { return Ok(Err(Refusal::Statement)) };
        let draft = Draft::said(Actor::Administrator, Some(said.institution), statement, said.facts());
        let answer = self.record(draft, Refusal::Standing)?;
        if let Some((link, barred)) = self.shut_out(said.institution) {
            tracing::warn!(client = %said.institution.short(), standing = barred.standing.name(), "a member's connection is closed");
            link.cut.send(Some(barred)).ok();
        }
        Ok(answer)
    }

    fn revoke_key(&mut self, statement: Statement) -> Result<Result<AdminReply, Refusal>, DriverError> {
        let Some(said) = self.said::<KeyRevocation>(&statement) else { return Ok(Err(Refusal::Statement)) };
        let draft = Draft::said(Actor::Administrator, Some(said.institution), statement, said.facts());
        let answer = self.record(draft, Refusal::Standing)?;
        if self.log.history().members().get(&said.institution).is_some_and(|m| !m.shows(m.tls_key)) {
            self.cut_off(said.institution);
        }
        Ok(answer)
    }

    /// Ends the connection of a member whose key shows it no more.
    pub(super) fn cut_off(&mut self, who: ClientId) {
        if let Some(link) = self.links.remove(&who) {
            tracing::warn!(client = %who.short(), "a connection under a key that was replaced or revoked is closed");
            self.round_event(Event::Gone(who));
            link.cut.send(None).ok();
        }
    }

    /// Forgets the connection and the half-sent updates of a member that is out, and tells the round. Gives back the connection that it had, and
    /// why it is out.
    fn shut_out(&mut self, who: ClientId) -> Option<(Link, Barred)> {
        let barred = self.log.history().barred(who)?;
        self.uploads.forget(who, &self.accepted());
        self.round_event(Event::Barred(who));
        self.links.remove(&who).map(|link| (link, barred))
    }

    /// Whoever leaves is not cut off at once: it hears its receipt, looks for its entry, and closes by itself.
    pub(super) fn let_go(&mut self, who: ClientId, now: Time) {
        if let Some((link, barred)) = self.shut_out(who) {
            self.leaving.insert(who, (now.plus_ms(LEAVING_MS), link, barred));
        }
    }

    /// Cuts off those who left and did not close by themselves.
    pub(super) fn end_leaving(&mut self, now: Time) {
        let is_over = |(_, (until, ..)): &(ClientId, (Time, Link, Barred))| *until <= now;
        let (over, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.leaving).into_iter().partition(is_over);
        self.leaving = rest;
        for (_, link, barred) in over.into_values() {
            link.cut.send(Some(barred)).ok();
        }
    }

    /// Updates of the round under way that the log has accepted.
    fn accepted(&self) -> BTreeSet<HeaderDigest> {
        self.round_in_the_log().into_iter().flat_map(|r| r.groups.values()).flat_map(|g| g.accepted.keys()).copied().collect()
    }
}
