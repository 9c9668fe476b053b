//! How members stand: administrators suspend, resume and revoke, and whoever is out is out at once, in the round under way too (audit.md A19,
//! transport-storage.md F30).

use super::{Driver, DriverError, Link};
use crate::admin::{AdminReply, MemberStatus, Refusal};
use protocol::entry::{Actor, Draft};
use protocol::ids::{ClientId, HeaderDigest};
use protocol::membership::{StandingChange, StandingReason};
use protocol::round::Event;
use protocol::statement::Statement;
use std::collections::BTreeSet;

impl Driver {
    /// Everybody who was ever admitted, with what administrators name when they change how somebody stands.
    pub(super) fn members(&self) -> AdminReply {
        let one = |(id, m): (&ClientId, &protocol::history::Member)| MemberStatus {
            name: m.name.clone(),
            id: *id,
            standing: m.standing.name().to_owned(),
            reason: m.standing.reason().map(StandingReason::name).map(str::to_owned),
            since: m.since,
            connected: self.links.contains_key(id),
        };
        AdminReply::Members { members: self.log.history().members().iter().map(one).collect() }
    }

    /// Records an administrator's word about a membership; with the m-th it has effect.
    pub(super) fn change_standing(&mut self, statement: Statement) -> Result<Result<AdminReply, Refusal>, DriverError> {
        let Some(said) = self.said::<StandingChange>(&statement) else { return Ok(Err(Refusal::Statement)) };
        let draft = Draft::said(Actor::Administrator, Some(said.institution), statement, said.facts());
        let answer = self.record(draft, Refusal::Standing)?;
        if let Some(barred) = self.log.history().barred(said.institution)
            && let Some(link) = self.shut_out(said.institution)
        {
            tracing::warn!(client = %said.institution.short(), standing = barred.standing.name(), "a member's connection is closed");
            link.cut.send(barred).ok();
        }
        Ok(answer)
    }

    /// Forgets the connection and the half-sent updates of a member that is out, and tells the round. Gives back the connection that it had.
    pub(super) fn shut_out(&mut self, who: ClientId) -> Option<Link> {
        self.log.history().barred(who)?;
        self.uploads.forget(who, &self.accepted());
        self.round_event(Event::Barred(who));
        self.links.remove(&who)
    }

    /// Updates of the round under way that the log has accepted.
    fn accepted(&self) -> BTreeSet<HeaderDigest> {
        self.round_in_the_log().into_iter().flat_map(|r| r.groups.values()).flat_map(|g| g.accepted.keys()).copied().collect()
    }
}
