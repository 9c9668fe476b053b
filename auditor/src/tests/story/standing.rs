//! What becomes of memberships and datasets while the task runs.

use super::super::twist::Twist;
use super::{Scribe, TASK, admin, second_admin};
use protocol::codec;
use protocol::data_manifest::{CountClass, DataManifest, LegalBasis, Licence, Purpose};
use protocol::entry::{Actor, Draft, Facts};
use protocol::hash::sha256;
use protocol::ids::{ClientId, LeafIndex, RoundId, Sha256};
use protocol::manifest::Decline;
use protocol::membership::{Change, DatasetReason, DatasetWithdrawal, Departure, StandingChange, StandingReason};
use protocol::plan::Unit;
use protocol::reject::Rejection;
use protocol::statement::Statement;
use protocol::trust::DatasetDeclaration;

impl Scribe {
    /// Who stands well as the round begins.
    pub(super) fn present(&self, round: RoundId) -> Vec<ClientId> {
        let gone = round.0 == 2 && [Twist::Left, Twist::LeftAndDeclares, Twist::ResumedAfterRevoked].contains(&self.twist);
        let mut ids = self.ids();
        ids.truncate(if gone { 3 } else { 4 });
        ids
    }

    pub(super) fn between_the_rounds(&mut self) {
        let twist = self.twist;
        let is = |twists: &[Twist]| twist.tells(twists);
        if is(&[Twist::SuspendedAndResumed, Twist::SuspendedAgainByOldWords]) {
            let suspend = self.change(3, Change::Suspend, StandingReason::Incident);
            self.order(3, &suspend);
            let resume = self.change(3, Change::Resume, StandingReason::Resolved);
            self.order(3, &resume);
            if is(&[Twist::SuspendedAgainByOldWords]) {
                self.order(3, &suspend);
            }
        }
        if is(&[Twist::RevokedByOneOfTwo, Twist::RevokedTakesPart]) {
            let revoke = self.change(1, Change::Revoke, StandingReason::KeyCompromise);
            self.order(1, &revoke);
        }
        if is(&[Twist::ResumedAfterRevoked]) {
            let revoke = self.change(3, Change::Revoke, StandingReason::KeyCompromise);
            self.order(3, &revoke);
            let resume = self.change(3, Change::Resume, StandingReason::Mistake);
            self.order(3, &resume);
        }
        if is(&[Twist::Left, Twist::LeftAndDeclares]) {
            let (since, reason) = (LeafIndex(self.since[3]), StandingReason::Request);
            self.says(3, &Departure { since, reason }, Facts::MemberLeft { since, reason });
        }
        self.trust_changes();
        // Institution 3 sends nothing in this story; institution 1 does.
        if is(&[Twist::DataWithdrawn, Twist::LeftAndDeclares]) {
            self.withdraw_data(3);
        }
        if is(&[Twist::WithdrawnDataTrained]) {
            self.withdraw_data(1);
        }
    }

    /// In the second round `clinic-3` stays away, or so the log says.
    pub(super) fn decline(&mut self, round: RoundId) {
        let twists = [Twist::Declined, Twist::DeclineInvented, Twist::DeclineOfAnotherRound, Twist::DeclineForAnotherReason];
        if round.0 != 2 || !self.twist.tells(&twists) {
            return;
        }
        let said = Decline {
            task: TASK,
            round: if self.twist == Twist::DeclineOfAnotherRound { RoundId(1) } else { round },
            reason: if self.twist == Twist::DeclineForAnotherReason { Rejection::Late } else { Rejection::Policy },
        };
        let statement = if self.twist == Twist::DeclineInvented {
            // It did sign something: that it has data.
            let declaration = DatasetDeclaration { dataset: Self::dataset(3), unit: Unit::Record, declared_units: 12_000 };
            Statement::sign(&declaration, &self.people[3])
        } else {
            Statement::sign(&said, &self.people[3])
        };
        let draft = Draft::said(Actor::Institution, Some(self.ids()[3]), statement, Facts::RoundDeclined {}).rejected(Rejection::Policy);
        self.push(draft.in_round(TASK, round));
    }

    /// After the manifest, before the updates.
    pub(super) fn in_the_second_round(&mut self) {
        if self.twist == Twist::RevokedInTheRound {
            let revoke = self.change(1, Change::Revoke, StandingReason::Misconduct);
            self.order(1, &revoke);
        }
        if self.twist == Twist::DataWithdrawnInTheRound {
            self.withdraw_data(1);
        }
        if self.twist == Twist::ChunksDeletedInTheRound {
            self.delete_chunks(RoundId(2));
        }
        self.server_key_changes();
    }

    /// After everything else, where everything happens: what is said of records, and how memberships end.
    pub(super) fn farewells(&mut self) {
        if self.twist != Twist::Everything {
            return;
        }
        self.describe(2);
        self.withdraw_data(3);
        let (since, reason) = (LeafIndex(self.since[3]), StandingReason::Request);
        self.says(3, &Departure { since, reason }, Facts::MemberLeft { since, reason });
        let revoke = self.change(2, Change::Revoke, StandingReason::KeyCompromise);
        self.order(2, &revoke);
    }

    fn describe(&mut self, who: usize) {
        let said = DataManifest {
            dataset: Self::dataset(who),
            previous: None,
            manifest: Sha256([92; 32]),
            rules: Sha256([93; 32]),
            schema: Sha256([94; 32]),
            tokenizer: None,
            unit: Unit::Record,
            records: CountClass::of(12_345),
            units: CountClass::of(12_345),
            licence: Licence::Internal,
            purpose: Purpose::Training,
            basis: LegalBasis::Research,
            retention_days: 365,
            period: None,
            quality_holds: true,
        };
        let manifest = Sha256(sha256(&[&codec::encode(&said)]));
        self.says(who, &said, Facts::DatasetChanged { dataset: said.dataset, manifest });
    }

    pub(super) fn change(&self, who: usize, change: Change, reason: StandingReason) -> StandingChange {
        StandingChange { institution: self.ids()[who], since: LeafIndex(self.since[who]), change, reason }
    }

    /// As many administrators as must; one less where the story wants it.
    fn order(&mut self, who: usize, said: &StandingChange) {
        let one_less = self.twist == Twist::RevokedByOneOfTwo;
        let both = self.twist.has_two_administrators() && !one_less;
        for key in std::iter::once(admin()).chain(both.then(second_admin)) {
            let draft = Draft::said(Actor::Administrator, Some(said.institution), Statement::sign(said, &key), said.facts());
            self.since[who] = self.push(draft);
        }
    }

    fn withdraw_data(&mut self, who: usize) {
        let (dataset, reason) = (Self::dataset(who), DatasetReason::Consent);
        self.says(who, &DatasetWithdrawal { dataset, reason }, Facts::DatasetWithdrawn { dataset, reason });
    }
}
