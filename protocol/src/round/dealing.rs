//! Between the join list and the manifest of a round with random groups: decryptors reveal their numbers (crypto.md C37).

use super::desk::Desk;
use super::{Recipients, Selected};
use crate::dealing::{self, Nonce, NonceReveal};
use crate::entry::{Actor, Draft, Facts};
use crate::ids::{ClientId, LeafIndex, Sha256, Ticket};
use crate::manifest::{Prekeys, committee_of};
use crate::messages::ServerMessage;
use crate::reject::Rejection;
use crate::statement::Statement;
use std::collections::BTreeMap;

/// The join list is closed.
pub(super) struct Dealing {
    /// By position.
    committee: Vec<ClientId>,
    clients: Vec<ClientId>,
    joined: Sha256,
    ticket: Ticket,
    /// Entries that hold the list and all numbers so far; none before the list is durable.
    size: Option<u64>,
    /// Numbers on their way to the log.
    pending: BTreeMap<Ticket, (ClientId, Nonce)>,
    /// Durable ones: the only ones that count.
    nonces: BTreeMap<ClientId, Nonce>,
}

impl Dealing {
    /// Closes the list; nobody is asked for a number before it is durable.
    pub(super) fn begin(clients: Vec<ClientId>, desk: &mut Desk) -> Self {
        let members: Vec<_> = desk.setup.members.keys().copied().collect();
        let committee = committee_of(&members, desk.setup.previous_end, desk.setup.plan.committee);
        let joined = dealing::join_list(&clients);
        let ticket = desk.record(Draft::server(Facts::RoundJoined { joined, count: clients.len() as u64 }));
        Self { committee, clients, joined, ticket, size: None, pending: BTreeMap::new(), nonces: BTreeMap::new() }
    }

    /// Takes in a durable entry. Whether it is the join list, so that the time for revealing begins.
    pub(super) fn recorded(&mut self, ticket: Ticket, index: LeafIndex, desk: &mut Desk) -> bool {
        if ticket == self.ticket {
            self.size = Some(index.0 + 1);
            self.committee.iter().for_each(|&who| self.ask(who, desk));
            return true;
        }
        if let Some((who, nonce)) = self.pending.remove(&ticket) {
            self.nonces.insert(who, nonce);
            self.size = self.size.max(Some(index.0 + 1));
        }
        false
    }

    /// Asks a decryptor that has not answered, if the list is durable.
    pub(super) fn ask(&self, who: ClientId, desk: &mut Desk) {
        let Some(log_size) = self.size.filter(|_| self.committee.contains(&who) && !self.has(who)) else { return };
        let (task, round) = (desk.setup.task, desk.setup.round);
        desk.send(Recipients::Only(vec![who]), ServerMessage::Reveal { task, round, log_size });
    }

    fn has(&self, who: ClientId) -> bool {
        self.nonces.contains_key(&who) || self.pending.values().any(|(w, _)| *w == who)
    }

    /// A decryptor's number, which must be the one that it committed to.
    pub(super) fn revealed(&mut self, from: ClientId, statement: Statement, desk: &mut Desk) {
        let Some(key) = desk.key(from).filter(|_| self.committee.contains(&from)) else { return desk.refuse(from, Rejection::WrongGroup) };
        if self.size.is_none() || self.has(from) {
            return;
        }
        let round = desk.setup.round;
        let committed = desk.setup.prekeys.get(&from).and_then(|said| Prekeys::committed(said, round));
        match statement.verify_by::<NonceReveal>(&key) {
            Ok(said) if said.task != desk.setup.task || said.round != round => desk.refuse(from, Rejection::WrongRound),
            Ok(said) if committed == Some(dealing::commitment(&said.nonce)) => {
                let ticket = desk.record(Draft::said(Actor::Decryptor, Some(from), statement, Facts::NonceRevealed {}));
                self.pending.insert(ticket, (from, said.nonce));
            }
            Ok(_) => desk.refuse(from, Rejection::BadHeader),
            Err(_) => desk.refuse(from, Rejection::BadSignature),
        }
    }

    /// The groups, once everybody has revealed, or a quorum when time is up. The error ends the round.
    pub(super) fn finish(&self, late: bool, desk: &Desk) -> Option<Result<Selected, Rejection>> {
        let log_size = self.size.filter(|_| self.pending.is_empty())?;
        let all = self.nonces.len() == self.committee.len();
        if !all && !late {
            return None;
        }
        if self.nonces.len() < desk.setup.plan.committee.quorum() {
            return Some(Err(Rejection::Late));
        }
        let nonces: Vec<Nonce> = self.committee.iter().filter_map(|who| self.nonces.get(who).copied()).collect();
        let seed = dealing::seed(self.joined, &nonces);
        let parts = dealing::deal(&seed, &self.clients, desk.setup.plan.robust().random_groups);
        Some(Ok(Selected { parts, log_size: log_size.max(desk.setup.log_size) }))
    }
}
