//! What an institution declares of its own accord (audit.md A19): its dataset, its cap, its prekeys. Each once, then again only if new.

use super::Agent;
use super::session::{Trouble, fatal};
use crate::clock;
use crate::data_manifest;
use crate::declared_policy;
use crate::link::Link;
use crate::wire::WireError;
use crate::withdrawal;
use minicbor::bytes::ByteVec;
use privacy::ledger::Repaired;
use protocol::dealing::commitment;
use protocol::history::{DatasetHistory, RoundHistory};
use protocol::ids::{RoundId, Sha256, TaskId};
use protocol::manifest::{MAX_PREKEY_ROUNDS, Prekeys};
use protocol::plan::Deadlines;
use protocol::reject::Rejection;
use protocol::site_policy::SitePolicyDeclaration;
use protocol::statement::Statement;
use protocol::trust::{BudgetDeclaration, DatasetDeclaration, LedgerRepair, RoundSpend};
use std::sync::PoisonError;

/// Prekeys are published again when fewer rounds than this are covered.
const LOW: u64 = 2;
/// Rounds that may be abandoned beside those of the plan before new prekeys are needed.
const SPARE: u64 = 2;
/// Prekeys are good for at least a week: a federation that rests for some days has no new ones to publish.
const SHORTEST_MS: u64 = 7 * 24 * 3600 * 1000;

/// How long prekeys may be used: twice the time that the rounds of one statement can take.
fn lifetime_ms(deadlines: &Deadlines) -> u64 {
    deadlines.longest_ms().saturating_mul(2 * MAX_PREKEY_ROUNDS).max(SHORTEST_MS)
}

impl Agent {
    /// Declares what the log does not have yet.
    pub(super) async fn declare(&mut self, link: &Link) -> Result<(), Trouble> {
        if !self.mirror.history().is_active(self.me) {
            // Our own `member.joined` will be in the log that we are shown later.
            return Ok(());
        }
        self.declare_withdrawals(link).await?;
        if let Some(declaration) = self.due_site_policy() {
            self.tell(link, self.keys.sign(&declaration)).await?;
        }
        for statement in self.due_declarations() {
            self.tell(link, statement).await?;
        }
        let open: Vec<TaskId> = self.mirror.history().tasks().iter().filter(|(_, t)| t.is_open()).map(|(id, _)| *id).collect();
        for task in open {
            if let Some(prekeys) = self.due_prekeys(task)? {
                self.tell(link, self.keys.sign(&prekeys)).await?;
            }
            self.learn_task(task).await?;
        }
        Ok(())
    }

    /// Tells the log of datasets that were withdrawn here; their records need not be here any more.
    pub(super) async fn declare_withdrawals(&mut self, link: &Link) -> Result<(), Trouble> {
        if !self.mirror.history().is_active(self.me) {
            return Ok(());
        }
        for order in withdrawal::due(&self.home, self.mirror.history(), self.me).map_err(fatal)? {
            // A server that refuses is asked again on the next link.
            if self.withdrawing.insert(order.dataset) {
                self.tell(link, self.keys.sign(&order)).await?;
            }
        }
        Ok(())
    }

    /// Whether the records may be used in a round that begins now.
    pub(super) fn in_use(&mut self) -> Result<(), Rejection> {
        let Some(data) = &self.data else { return Ok(()) };
        match withdrawal::in_use(&self.home, self.mirror.history(), self.me, data.dataset()) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.status.alarm("the records are withdrawn: no part is taken with them; client.toml may name others");
                Err(Rejection::Policy)
            }
            Err(error) => {
                tracing::warn!(error = %super::chain(&error), "it is not known whether the records are withdrawn");
                Err(Rejection::Policy)
            }
        }
    }

    /// Anchors the site log, once on each connection: what was added since the last anchor can then be proved to this institution's own
    /// auditor. The federation learns a size and a root (audit.md A27).
    pub(super) async fn anchor(&mut self, link: &Link) -> Result<(), Trouble> {
        let member = self.mirror.history().is_active(self.me);
        let due = self.site.due(self.mirror.history().anchors(self.me));
        match due.filter(|_| member) {
            Some(anchor) => self.tell(link, self.keys.sign(&anchor)).await,
            None => Ok(()),
        }
    }

    /// The policy that this process judges by, where the log has another one of this institution or none.
    fn due_site_policy(&self) -> Option<SitePolicyDeclaration> {
        let (_, hash) = self.policy.as_ref()?;
        declared_policy::due(&self.home, self.mirror.history(), self.me, *hash).unwrap_or_else(|error| {
            tracing::warn!(error = %error.for_log(), "the site policy cannot be declared");
            None
        })
    }

    /// Dataset first: a cap without its dataset is refused.
    fn due_declarations(&self) -> Vec<Statement> {
        let (Some(data), Some(ledger)) = (&self.data, &self.ledger) else { return Vec::new() };
        let known = self.mirror.history().datasets().get(&(self.me, data.dataset()));
        let mut due = Vec::new();
        let used = withdrawal::in_use(&self.home, self.mirror.history(), self.me, data.dataset()).unwrap_or(false);
        if known.is_none() && used {
            let declaration = DatasetDeclaration { dataset: data.dataset(), unit: data.unit(), declared_units: data.declared_units() };
            due.push(self.keys.sign(&declaration));
        }
        due.extend(self.due_manifest(data.dataset()).filter(|_| used));
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let terms = ledger.ledger().terms();
        let (epsilon_cap, delta, own_epsilon_cap) = (terms.epsilon_cap, terms.delta, terms.own_epsilon_cap);
        let cap = BudgetDeclaration { dataset: data.dataset(), epsilon_cap, delta, own_epsilon_cap };
        if used && known.and_then(|d| d.cap) != Some(cap) {
            due.push(self.keys.sign(&cap));
        }
        let told = |r: &Repaired| known.is_some_and(|d| d.repairs.iter().any(|(_, said)| said.ledger_head == r.head));
        if let Some(r) = ledger.ledger().last_repair().filter(|r| !told(r)) {
            let (dataset, epsilon) = (data.dataset(), ledger.ledger().totals().epsilon);
            due.push(self.keys.sign(&LedgerRepair {
                dataset,
                log_size: r.log_size,
                epsilon,
                ledger_counter: r.counter,
                ledger_head: r.head,
            }));
        }
        let stated = |counter| known.is_some_and(|d| d.releases.iter().any(|(_, said)| said.ledger_counter == counter));
        due.extend(ledger.ledger().release_spends().filter(|r| !stated(r.ledger_counter)).map(|r| self.keys.sign(&r)));
        let told = |s: &RoundSpend| known.is_none_or(|d| self.is_told(d, s));
        due.extend(
            ledger.ledger().void_spends().filter(|s| s.spend.epsilon_cap == terms.epsilon_cap && !told(s)).map(|s| self.keys.sign(&s)),
        );
        due
    }

    /// Whether the log has this spend of a round that came to nothing, has counted it with a later one, or cannot have it yet (audit.md A21).
    fn is_told(&self, known: &DatasetHistory, paid: &RoundSpend) -> bool {
        let newest = known.spends.last().map(|r| r.spend.ledger_counter).max(known.repairs.last().map(|(_, r)| r.ledger_counter));
        let round = self.mirror.history().task(paid.task).and_then(|t| t.rounds().get(&paid.round));
        newest >= Some(paid.spend.ledger_counter) || !round.is_some_and(RoundHistory::is_over)
    }

    /// What was said about the records with `data describe` and does not stand in the log.
    fn due_manifest(&self, dataset: Sha256) -> Option<Statement> {
        let said = self.mirror.history().data_manifests(self.me, dataset);
        match data_manifest::kept(&self.home) {
            Ok(draft) => draft.and_then(|draft| data_manifest::next(draft, dataset, said)).map(|next| self.keys.sign(&next)),
            Err(error) => {
                tracing::warn!(error = %super::chain(&error), "the data manifest cannot be declared");
                None
            }
        }
    }

    /// Prekeys for the rounds to come, stored before they are published (C44). Expired ones are deleted first, so that new ones can take their
    /// place. The server begins no round under keys that would expire in it, so it waits for at most the length of a round when keys grow old.
    fn due_prekeys(&mut self, task: TaskId) -> Result<Option<Prekeys>, Trouble> {
        let now = clock::now();
        self.vault.expire(now).map_err(fatal)?;
        let Some(known) = self.mirror.history().task(task) else { return Ok(None) };
        let Some(plan) = known.plan() else { return Ok(None) };
        let next = known.last_round().map_or(Some(RoundId::FIRST), RoundId::next);
        let Some(next) = next else { return Ok(None) };
        let covered = |r: &u64| Prekeys::choose(known.prekeys(self.me), RoundId(*r), now).is_some();
        let first = (next.0..next.0.saturating_add(LOW)).find(|r| !covered(r));
        let Some(first) = first else { return Ok(None) };
        let wanted = plan.rounds.saturating_add(1).saturating_sub(first).saturating_add(SPARE);
        let rounds = first..first.saturating_add(wanted.min(MAX_PREKEY_ROUNDS));
        let nonces = (plan.robust().random_groups > 1).then(|| {
            let commit = |r| self.vault.nonce(task, RoundId(r)).map(|n| commitment(&n));
            rounds.clone().map(commit).collect::<Result<Vec<_>, _>>()
        });
        let nonces = nonces.transpose().map_err(fatal)?;
        let (mut keys, mut until) = (Vec::new(), now.plus_ms(lifetime_ms(&plan.deadlines)));
        for round in rounds.map(RoundId) {
            // One that was made before a crash and never published keeps its own time.
            let (key, kept) = self.vault.prekey(task, round, until).map_err(fatal)?;
            keys.push(ByteVec::from(key));
            until = until.min(kept);
        }
        Ok(Some(Prekeys { task, first: RoundId(first), keys, nonces, until: Some(until) }))
    }

    /// Sends a statement and waits until its entry is in our mirror.
    pub(super) async fn tell(&mut self, link: &Link, statement: Statement) -> Result<(), Trouble> {
        let kind = statement.kind;
        match link.wire().declare(statement).await {
            Ok((index, entry)) => {
                self.ensure(link, index.0.saturating_add(1)).await?;
                self.check_receipt(index, &entry)
            }
            Err(WireError::Rejected(reason)) => {
                tracing::warn!(?kind, code = reason.name(), "a declaration was refused");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
