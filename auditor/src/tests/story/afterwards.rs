//! What stands in the log after the task: releases and withdrawals, reviews, a recovery, anchors of site logs, a stranger.

use super::super::twist::Twist;
use super::{Scribe, TASK, admin, fixture, key, public, real, server};
use protocol::entry::{Actor, Draft, Facts};
use protocol::ids::{ClientId, LeafIndex, PlanDigest, RoundId, Sha256, SnapshotDigest};
use protocol::membership::{KeyPurpose, KeyRevocation, StandingReason};
use protocol::plan::Unit;
use protocol::release::{OverrideReason, Release, Review, SiteAnchor, Withdrawal, WithdrawalReason};
use protocol::renewal::Rotation;
use protocol::statement::Statement;
use protocol::trust::DatasetDeclaration;

impl Scribe {
    /// What may follow a task: a release, anchors of a site log.
    pub(super) fn afterwards(&mut self, plan: PlanDigest) {
        self.chunks_deleted();
        self.exported();
        let good = self.good_release(plan);
        self.allowed();
        self.released(&good);
        self.released_again(&good);
        self.withdrawn();
        if self.twist == Twist::RealModelReleasedAgain {
            self.released(&good);
        }
        if self.twist == Twist::ReleaseReplayed {
            // What the administrators signed before they withdrew the model.
            self.withdrawn_at = None;
            self.released(&good);
        }
        self.renewed();
        self.rotated();
        self.false_statement_key();
        self.new_witness();
        self.reviewed();
        self.anchored();
        self.stranger();
        self.farewells();
    }

    fn good_release(&self, plan: PlanDigest) -> Release {
        let (snapshot, signature) = (self.snapshot, Sha256([70; 32]));
        let (first, last) = (RoundId(1), RoundId(2));
        let (base, key, gates, evaluation) = (self.plan.base, Sha256([71; 32]), Vec::new(), None);
        let (substantial, overridden) = (false, None);
        Release { task: TASK, plan, snapshot, base, first, last, key, signature, substantial, gates, evaluation, overridden, after: None }
    }

    fn released(&mut self, good: &Release) {
        let good = Release { after: self.withdrawn_at, ..good.clone() };
        let is = |twists: &[Twist]| self.twist.tells(twists);
        let released = [
            Twist::Released,
            Twist::Allowed,
            Twist::AllowedToAStranger,
            Twist::AllowedToAMember,
            Twist::ReleaseByAMember,
            Twist::ReleaseByOneOfTwo,
            Twist::ReleaseByBoth,
            Twist::ReleaseByOneTwice,
            Twist::WithdrawalByOneOfTwo,
            Twist::WithdrawalByBoth,
            Twist::Withdrawn,
            Twist::WithdrawnTwice,
            Twist::ReleaseReplayed,
        ];
        let release = if self.twist.is_of_a_real_model() {
            let model = real::Model::new();
            let key = if is(&[Twist::RealModelUnderAnotherKey]) { good.key } else { model.key_hash() };
            Some(Release { signature: model.signature(), key, ..good })
        } else if is(&released) {
            Some(good)
        } else if self.twist.has_gates() {
            Some(self.gated(good))
        } else if is(&[Twist::ReleaseOfAnotherModel]) {
            Some(Release { snapshot: SnapshotDigest([66; 32]), ..good })
        } else {
            is(&[Twist::ReleaseWithoutItsBase]).then_some(Release { base: SnapshotDigest([51; 32]), ..good })
        };
        if let Some(said) = release {
            let Release { snapshot, signature, substantial, gates, overridden, .. } = said.clone();
            let facts = Facts::ModelReleased { snapshot, signature, substantial, gates, overridden };
            if self.twist == Twist::ReleaseByAMember {
                let who = self.people[0].clone();
                self.push(Draft::said(Actor::Administrator, None, Statement::sign(&said, &who), facts).in_task(TASK));
            } else {
                self.released_at = LeafIndex(self.admin_says(&said, facts, Some(TASK)));
            }
        }
    }

    fn released_again(&mut self, good: &Release) {
        let snapshot = self.snapshot;
        let again = [Twist::ReleasedAgain, Twist::WithdrawnTwiceAfterReleasedAgain, Twist::WithdrawalReplayed];
        if again.contains(&self.twist) {
            // Out, taken back, out once more, taken back once more; and once too often.
            let steps = if self.twist == Twist::WithdrawnTwiceAfterReleasedAgain { 5 } else { 4 };
            let mut first = None;
            for step in 0..steps {
                if step == 0 || step == 2 {
                    let said = Release { after: self.withdrawn_at, ..good.clone() };
                    let Release { signature, substantial, overridden, .. } = said;
                    let facts = Facts::ModelReleased { snapshot, signature, substantial, gates: Vec::new(), overridden };
                    self.released_at = LeafIndex(self.admin_says(&said, facts, Some(TASK)));
                } else {
                    // An old word is about the first release.
                    let old = first.filter(|_| self.twist == Twist::WithdrawalReplayed);
                    let release = old.unwrap_or(self.released_at);
                    first = first.or(Some(release));
                    let said = Withdrawal { task: TASK, snapshot, reason: WithdrawalReason::Performance, release };
                    let facts = Facts::ModelWithdrawn { snapshot, reason: said.reason };
                    self.withdrawn_at = Some(LeafIndex(self.admin_says(&said, facts, Some(TASK))));
                }
            }
        }
    }

    fn withdrawn(&mut self) {
        let snapshot = self.snapshot;
        let times = |twists: &[Twist]| usize::from(self.twist.tells(twists));
        let once = [
            Twist::Withdrawn,
            Twist::WithdrawnTwice,
            Twist::WithdrawnUnreleased,
            Twist::RealModelWithdrawn,
            Twist::RealModelReleasedAgain,
            Twist::WithdrawalByOneOfTwo,
            Twist::WithdrawalByBoth,
            Twist::ReleaseReplayed,
        ];
        let withdrawals = times(&once) + times(&[Twist::WithdrawnTwice]);
        for _ in 0..withdrawals {
            let said = Withdrawal { task: TASK, snapshot, reason: WithdrawalReason::Privacy, release: self.released_at };
            let facts = Facts::ModelWithdrawn { snapshot, reason: said.reason };
            self.withdrawn_at = Some(LeafIndex(self.admin_says(&said, facts, Some(TASK))));
        }
    }

    /// `clinic-1` has another TLS certificate, over the key that it was admitted with or, in the one story, over another.
    fn renewed(&mut self) {
        if self.twist.tells(&[Twist::Renewed, Twist::RenewedForAnotherKey]) {
            let tls_key = Sha256([if self.twist.tells(&[Twist::Renewed]) { 2 } else { 3 }; 32]);
            let facts = Facts::MemberRenewed { tls_key, until_s: 1_800_000_000 };
            let institution = Some(ClientId::of(&public(&self.people[1])));
            self.push(Draft { institution, ..Draft::server(facts) });
        }
    }

    /// `clinic-1` goes on with another TLS key and has a certificate over it, of its own accord or because the old one was revoked; in the
    /// one story it goes back to that, in the other it gets a certificate over it.
    fn rotated(&mut self) {
        let (first, second) = (Sha256([2; 32]), Sha256([4; 32]));
        if self.twist.tells(&[Twist::KeyRevoked, Twist::RenewedForARevokedKey]) {
            let (purpose, reason) = (KeyPurpose::Tls, StandingReason::KeyCompromise);
            let said = KeyRevocation { institution: self.ids()[1], purpose, key: first, reason };
            self.push(Draft::said(Actor::Administrator, Some(said.institution), Statement::sign(&said, &admin()), said.facts()));
        }
        if self.twist.tells(&[Twist::KeyRotated, Twist::KeyRotatedBack, Twist::KeyRevoked]) {
            self.rotates(first, second);
            self.certified(second);
        }
        if self.twist == Twist::RenewedForARevokedKey {
            self.certified(first);
        }
        if self.twist == Twist::KeyRotatedBack {
            self.rotates(second, first);
        }
    }

    fn certified(&mut self, tls_key: Sha256) {
        let institution = Some(self.ids()[1]);
        self.push(Draft { institution, ..Draft::server(Facts::MemberRenewed { tls_key, until_s: 1_800_000_000 }) });
    }

    fn rotates(&mut self, old: Sha256, new: Sha256) {
        let said = Rotation { trust: Sha256([73; 32]), nonce: Sha256([74; 32]), old, new };
        self.says(1, &said, Facts::KeyRotated { purpose: KeyPurpose::Tls, old, new });
    }

    fn anchored(&mut self) {
        let rising = self.twist.tells(&[Twist::Anchored, Twist::ActorOfAnother]);
        let sizes: &[u64] = if rising { &[3, 9] } else { &[9, 3] };
        let sizes = if rising || self.twist == Twist::AnchorFalls { sizes } else { &[] };
        for &size in sizes {
            let anchor = SiteAnchor { size, root: Sha256([72; 32]) };
            self.says(1, &anchor, Facts::SiteAnchored { size, root: anchor.root });
        }
    }

    fn stranger(&mut self) {
        if self.twist == Twist::StrangerDeclares {
            let (key, dataset) = (key(90), Sha256([91; 32]));
            let declaration = DatasetDeclaration { dataset, unit: Unit::Record, declared_units: 10 };
            let draft = Draft::said(
                Actor::Institution,
                Some(ClientId::of(&public(&key))),
                Statement::sign(&declaration, &key),
                Facts::DatasetDeclared { dataset },
            );
            self.push(draft);
        }
    }

    /// The release as the gates of the plan ask for it, with one fault on request.
    fn gated(&self, good: Release) -> Release {
        let accuracy = if [Twist::GateNotPassed, Twist::GateOverridden].contains(&self.twist) { "0.89" } else { "0.93" };
        let epsilon = if self.twist == Twist::GateFigureInvented { "0.1".parse().unwrap() } else { self.epsilon(6) };
        let figures = [epsilon, "3".parse().unwrap(), accuracy.parse().unwrap()];
        let mut gates: Vec<_> = self.plan.gates().iter().zip(figures).map(|(gate, figure)| gate.judge(figure)).collect();
        if self.twist == Twist::GateLeftOut {
            gates.remove(2);
        }
        let overridden = [Twist::GateOverridden, Twist::GateOverriddenForNothing].contains(&self.twist);
        Release {
            gates,
            evaluation: (self.twist != Twist::GateWithoutEvaluation).then_some(Sha256([73; 32])),
            overridden: overridden.then_some(OverrideReason::Research),
            ..good
        }
    }

    /// What others say about the log itself.
    fn reviewed(&mut self) {
        let (size, real) = (self.entries.len() as u64, Sha256(fixture::head_of(&self.entries).root.0));
        let root = if self.twist == Twist::ReviewOfAnotherTree { Sha256([80; 32]) } else { real };
        let reviews = [
            Twist::Reviewed,
            Twist::ReviewOfTheFuture,
            Twist::ReviewByAStranger,
            Twist::ReviewUnderAnotherTrust,
            Twist::ReviewOfAnotherTree,
        ];
        if self.twist.tells(&reviews) {
            let size = if self.twist == Twist::ReviewOfTheFuture { size + 1 } else { size };
            let (first, last, findings) = (2, size - 1, Sha256([81; 32]));
            let trust = if self.twist == Twist::ReviewUnderAnotherTrust { Sha256([82; 32]) } else { self.trust };
            let said = Review { trust, first, last, size, root, findings, exit_code: 0 };
            let facts = Facts::AuditReviewed { first, last, size, root, findings };
            let draft = if self.twist == Twist::ReviewByAStranger {
                // The server's key is known to the log and no reviewer's.
                Draft::said(Actor::Server, None, Statement::sign(&said, &server()), facts)
            } else {
                Draft::said(Actor::Administrator, None, Statement::sign(&said, &admin()), facts)
            };
            self.push(draft);
        }
        if self.twist.tells(&[Twist::Recovered, Twist::RecoveredElsewhere, Twist::RecoveredToAnotherTree]) {
            let (size, real) = (self.entries.len() as u64, Sha256(fixture::head_of(&self.entries).root.0));
            let size = if self.twist == Twist::RecoveredElsewhere { size - 1 } else { size };
            let root = if self.twist == Twist::RecoveredToAnotherTree { Sha256([80; 32]) } else { real };
            self.push(Draft::server(Facts::ProcessRecovered { before: 3, size, root }));
        }
    }
}
