//! Another trust document: recorded word by word, and in force with the last one that the document before it asks for (audit.md A14).

use super::{Driver, DriverError};
use crate::admin::{AdminReply, Refusal};
use crate::log::Log;
use crate::publish::artefact_path;
use crate::{durable, init};
use audit::key::VerifierKey;
use protocol::codec;
use protocol::entry::{Actor, Draft, Facts};
use protocol::history::{Approval, Clause, TrustInForce};
use protocol::ids::LeafIndex;
use protocol::messages::MAX_TRUST_FRAME;
use protocol::statement::Statement;
use protocol::trust::{BadSuccessor, TrustChange};
use std::io;

/// For the nonce and what frames and lists take.
const ROOM: usize = 1024;

impl Driver {
    /// The trust document in force, and since when.
    pub(super) fn trust(&self) -> AdminReply {
        let history = self.log.history();
        let since = history.trusts().last().map_or(LeafIndex(0), |t| t.since);
        let said = |t: &TrustInForce| TrustChange { document: t.document.to_bytes() };
        let words = history.trusts().iter().skip(1).filter_map(|t| history.approval(&said(t))).flat_map(Approval::places).collect();
        AdminReply::Trust { document: history.trust().to_bytes().into(), since, words }
    }

    /// Whether the log can be signed with this key from now on: its private half is here, and it is no witness's.
    fn can_hand_over(&self, vkey: &str) -> bool {
        vkey.parse::<VerifierKey>().is_ok_and(|key| self.log.holds(&key) && self.publisher.can_follow(&key))
    }

    /// Records an administrator's word for another trust document; with the m-th it is in force, and the server signs with the key that it names.
    pub(super) fn change_trust(&mut self, statement: Statement) -> Result<Result<AdminReply, Refusal>, DriverError> {
        let Ok(said) = statement.verify::<TrustChange>() else { return Ok(Err(Refusal::Statement)) };
        // Whoever administers no more by his own word, and lost the answer, hears that it is done.
        if let Some(word) = self.known_word(&statement) {
            return Ok(Ok(word.done()));
        }
        let history = self.log.history();
        if !history.trust().administrators.contains(&statement.key) {
            return Ok(Err(Refusal::Statement));
        }
        let (old, new) = (history.trust_hash(), said.hash());
        if old == new {
            return Ok(Ok(AdminReply::Done {}));
        }
        let next = match said.next(history.trust(), old) {
            Ok(next) => next,
            Err(why) => return Ok(Err(refusal(why))),
        };
        if !self.leaves_room(&statement) {
            return Ok(Err(Refusal::TrustTooLong));
        }
        // A server that cannot sign with the key that everybody expects would end every round.
        let Ok(key) = init::statement_key(&self.layout, &next.server) else { return Ok(Err(Refusal::TrustServerKey)) };
        let hands_over = next.log_vkey != history.trust().log_vkey;
        if hands_over && !self.can_hand_over(&next.log_vkey) {
            return Ok(Err(Refusal::TrustLogKey));
        }
        let draft = Draft::said(Actor::Administrator, None, statement, Facts::TrustChanged { old, new });
        if let Some(violation) = self.log.would_violate(&draft) {
            let waits = violation.clause == Clause::TrustWaiting;
            return Ok(Err(if waits { Refusal::TrustWaiting } else { Refusal::Trust }));
        }
        durable::write_new(&artefact_path(self.log.root(), &new), &said.document)?;
        let word = self.say(draft, None)?;
        if word.is_effective() {
            tracing::warn!(trust = %new, administrators = next.administrators.len(), "another trust document is in force");
            self.statement = key;
            if hands_over {
                self.publisher.follow(&self.log)?;
            }
        }
        self.publisher.want(word.index.0 + 1);
        Ok(Ok(word.done()))
    }

    /// Whether newcomers, and whoever comes back, can still be shown in one answer what leads from the first document to this one, which as many say
    /// as the one in force asks for.
    fn leaves_room(&self, statement: &Statement) -> bool {
        let history = self.log.history();
        let length = |said: &Statement| codec::encode(said).len();
        let shown = self.trust_bytes.len() + history.trust_words().iter().map(length).sum::<usize>();
        let more = usize::from(history.trust().threshold).saturating_mul(length(statement));
        shown.saturating_add(more).saturating_add(ROOM) <= MAX_TRUST_FRAME
    }

    /// What a round records, with the server's own words under the key in force. A manifest is signed before decryptors endorse it and recorded
    /// after that: if another key came in between, the log would contradict its server for ever. What it is known by is its words alone.
    pub(super) fn by_the_key_in_force(&self, draft: Draft) -> Draft {
        let statement = match draft.statement {
            Some(said) if draft.actor == Actor::Server && said.key.0 != self.statement.verifying_key().to_bytes() => {
                Some(said.signed_again(&self.statement))
            }
            same => same,
        };
        Draft { statement, ..draft }
    }
}

/// Writes the documents beside the log that are not there: a log that was recovered has them in its entries only.
pub(super) fn keep(log: &Log) -> io::Result<()> {
    let mut later = log.history().trusts().iter().skip(1);
    later.try_for_each(|t| durable::write_new(&artefact_path(log.root(), &t.hash), &t.document.to_bytes()))
}

fn refusal(why: BadSuccessor) -> Refusal {
    match why {
        BadSuccessor::Previous => Refusal::TrustReplaced,
        BadSuccessor::LogKey => Refusal::TrustLogKey,
        BadSuccessor::Document | BadSuccessor::Federation | BadSuccessor::Key | BadSuccessor::Nothing => Refusal::Trust,
    }
}
