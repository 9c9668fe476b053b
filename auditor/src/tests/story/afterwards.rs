//! What stands in the log after the task: releases and withdrawals, reviews, a recovery, anchors of site logs, a stranger.

use super::super::twist::Twist;
use super::{Scribe, TASK, admin, fixture, key, public, second_admin, server};
use protocol::entry::{Actor, Draft, Facts};
use protocol::ids::{ClientId, PlanDigest, RoundId, Sha256, SnapshotDigest};
use protocol::plan::Unit;
use protocol::release::{Release, Review, SiteAnchor, Withdrawal, WithdrawalReason};
use protocol::statement::Statement;
use protocol::trust::DatasetDeclaration;

impl Scribe {
    /// What may follow a task: a release, anchors of a site log.
    pub(super) fn afterwards(&mut self, plan: PlanDigest) {
        let rounds = [SnapshotDigest([51; 32]), SnapshotDigest([52; 32])];
        let (snapshot, signature) = (rounds[1], Sha256([70; 32]));
        let (first, last) = (RoundId(1), RoundId(2));
        let good =
            Release { task: TASK, plan, snapshot, base: self.plan.base, first, last, key: Sha256([71; 32]), signature, substantial: false };
        let is = |twists: &[Twist]| twists.contains(&self.twist);
        let released = [
            Twist::Released,
            Twist::ReleaseByAMember,
            Twist::ReleaseByOneOfTwo,
            Twist::ReleaseByBoth,
            Twist::Withdrawn,
            Twist::WithdrawnTwice,
        ];
        let release = if is(&released) {
            Some(good)
        } else if is(&[Twist::ReleaseOfAnotherModel]) {
            Some(Release { snapshot: SnapshotDigest([66; 32]), ..good })
        } else {
            is(&[Twist::ReleaseWithoutItsBase]).then_some(Release { base: rounds[0], ..good })
        };
        if let Some(said) = release {
            let facts = Facts::ModelReleased { snapshot: said.snapshot, signature, substantial: false };
            let who = if self.twist == Twist::ReleaseByAMember { self.people[0].clone() } else { admin() };
            let draft = Draft::said(Actor::Administrator, None, Statement::sign(&said, &who), facts).in_task(TASK);
            self.push(draft);
            if self.twist == Twist::ReleaseByBoth {
                let facts = Facts::ModelReleased { snapshot: said.snapshot, signature, substantial: false };
                let draft = Draft::said(Actor::Administrator, None, Statement::sign(&said, &second_admin()), facts).in_task(TASK);
                self.push(draft);
            }
        }
        let again = [Twist::ReleasedAgain, Twist::WithdrawnTwiceAfterReleasedAgain];
        if again.contains(&self.twist) {
            // Out, taken back, out once more, taken back once more; and once too often.
            let steps = if self.twist == Twist::ReleasedAgain { 4 } else { 5 };
            for step in 0..steps {
                let withdrawn = Withdrawal { task: TASK, snapshot, reason: WithdrawalReason::Performance };
                if step == 0 || step == 2 {
                    let facts = Facts::ModelReleased { snapshot, signature, substantial: false };
                    self.admin_says(&good, facts, Some(TASK));
                } else {
                    self.admin_says(&withdrawn, Facts::ModelWithdrawn { snapshot, reason: withdrawn.reason }, Some(TASK));
                }
            }
        }
        let times = |twists: &[Twist]| usize::from(twists.contains(&self.twist));
        let withdrawals = times(&[Twist::Withdrawn, Twist::WithdrawnTwice, Twist::WithdrawnUnreleased]) + times(&[Twist::WithdrawnTwice]);
        for _ in 0..withdrawals {
            let said = Withdrawal { task: TASK, snapshot, reason: WithdrawalReason::Privacy };
            self.admin_says(&said, Facts::ModelWithdrawn { snapshot, reason: said.reason }, Some(TASK));
        }
        self.reviewed();
        let sizes: &[u64] = if self.twist == Twist::Anchored { &[3, 9] } else { &[9, 3] };
        let sizes = if [Twist::Anchored, Twist::AnchorFalls].contains(&self.twist) { sizes } else { &[] };
        for &size in sizes {
            let anchor = SiteAnchor { size, root: Sha256([72; 32]) };
            self.says(1, &anchor, Facts::SiteAnchored { size, root: anchor.root });
        }
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

    /// What others say about the log itself.
    fn reviewed(&mut self) {
        let (size, real) = (self.entries.len() as u64, Sha256(fixture::head_of(&self.entries).root.0));
        let root = if [Twist::ReviewOfAnotherTree, Twist::RecoveredToAnotherTree].contains(&self.twist) { Sha256([80; 32]) } else { real };
        let reviews = [
            Twist::Reviewed,
            Twist::ReviewOfTheFuture,
            Twist::ReviewByAStranger,
            Twist::ReviewUnderAnotherTrust,
            Twist::ReviewOfAnotherTree,
        ];
        if reviews.contains(&self.twist) {
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
        if [Twist::Recovered, Twist::RecoveredElsewhere, Twist::RecoveredToAnotherTree].contains(&self.twist) {
            let size = if self.twist == Twist::RecoveredElsewhere { size - 1 } else { size };
            self.push(Draft::server(Facts::ProcessRecovered { before: 3, size, root }));
        }
    }
}
