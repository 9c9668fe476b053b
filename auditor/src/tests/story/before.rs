//! What stands in the log before a round: the founding, members with their data and caps, policy, plan and prekeys; and what an institution
//! says about its data and its ledger between two rounds.

use super::super::twist::Twist;
use super::{FILL, Scribe, Signers, TASK, admin, decimal, public};
use protocol::codec;
use protocol::entry::{Actor, Decision, Draft, Facts, Right, Ruling};
use protocol::hash::sha256;
use protocol::ids::{ClientId, PlanDigest, RoundId, Sha256, SnapshotDigest, TokenId};
use protocol::manifest::{PREKEY_BYTES, Prekeys};
use protocol::plan::{Plan, PlanApproval, Unit};
use protocol::statement::Statement;
use protocol::time::Time;
use protocol::trust::{
    BudgetDeclaration, DatasetDeclaration, JoinRequest, LedgerRepair, Membership, PolicyApproval, ReleaseSpend, RoundSpend, TrustDocument,
};

impl Scribe {
    pub(super) fn found(&mut self, trust: &[u8]) {
        let trust = if self.twist == Twist::WrongTrust { b"other" } else { trust };
        self.push(Draft::server(Facts::FederationCreated { trust: TrustDocument::hash(trust) }));
        self.push(Draft::server(Facts::ProcessStarted { build: Sha256([8; 32]), clean: true, config: Sha256([7; 32]) }));
        for _ in 0..FILL {
            self.push(Draft::decided(Actor::Stranger, Decision::new(Ruling::Deny, Right::StatusRead)));
        }
        if self.twist == Twist::UnknownType {
            let text = String::from_utf8(self.entries.pop().unwrap()).unwrap().replacen("authz.denied", "authz.dreamt", 1);
            self.entries.push(text.into_bytes());
        }
    }

    fn join(&mut self, who: usize) {
        let last = who == 3;
        let name = if last && self.twist == Twist::NameTaken { "clinic-1".to_owned() } else { format!("clinic-{who}") };
        let token = if last && self.twist == Twist::TokenUsedTwice { 1 } else { u8::try_from(who).unwrap() };
        let token = TokenId([token; 16]);
        if !(last && self.twist == Twist::TokenNeverMade) {
            self.push(Draft::server(Facts::MemberInvited { token }));
        }
        let witness_vkey = Signers::new().witnesses[who.min(2)].verifier().to_string();
        let institution_key = public(&self.people[who]);
        let trust = if self.twist == Twist::OtherTrustShown { Sha256([1; 32]) } else { self.trust };
        let (nonce, tls_key) = (Sha256([9; 32]), Sha256([2; 32]));
        let request = JoinRequest { token, trust, nonce, name, institution_key, witness_vkey, tls_key };
        let hash = Sha256(sha256(&[&codec::encode(&request)]));
        self.says(who, &request, Facts::MemberJoinRequested { token, request: hash });
        let (facts, said) = (Facts::MemberJoined { request: hash }, Membership::of(&request));
        if last && self.twist == Twist::JoinedForAnother {
            let draft = Draft::said(Actor::Administrator, Some(self.ids()[1]), Statement::sign(&said, &admin()), facts);
            self.push(draft);
            return;
        }
        let joined = self.admin_says(&said, facts.clone(), None);
        self.since.push(joined);
        if last && self.twist == Twist::EnrolledTwice {
            self.admin_says(&said, facts, None);
        }
        self.joined += 1;
    }

    pub(super) fn dataset(who: usize) -> Sha256 {
        super::name_of_dataset(who).committed()
    }

    fn declare(&mut self, who: usize) {
        let dataset = Self::dataset(who);
        let declaration = DatasetDeclaration { dataset, unit: Unit::Record, declared_units: 12_000 };
        if self.twist == Twist::ActorDiffers && who == 2 {
            let statement = Statement::sign(&declaration, &self.people[who]);
            let id = Some(ClientId::of(&public(&self.people[who])));
            self.push(Draft::said(Actor::Administrator, id, statement, Facts::DatasetDeclared { dataset }));
        } else {
            self.says(who, &declaration, Facts::DatasetDeclared { dataset });
        }
        let cap = BudgetDeclaration { dataset, epsilon_cap: self.cap_of(who), delta: decimal("0.000001"), own_epsilon_cap: None };
        self.says(who, &cap, Facts::BudgetDeclared { dataset, epsilon_cap: cap.epsilon_cap });
    }

    /// Institution 1 says that it has far more records by now, too many for the plan's delta, if this is the time that the story says so.
    pub(super) fn declare_more(&mut self, now: Twist) {
        if self.twist == now {
            let dataset = Self::dataset(1);
            let declaration = DatasetDeclaration { dataset, unit: Unit::Record, declared_units: 100_000_000 };
            self.says(1, &declaration, Facts::DatasetDeclared { dataset });
        }
    }

    /// Institution 1 raises its ledger between the rounds.
    pub(super) fn repair(&mut self) {
        let (dataset, log_size) = (Self::dataset(1), self.entries.len() as u64);
        let ledger_counter = if self.twist == Twist::RepairBelowTheLog { 5 } else { 15 };
        let epsilon = Some(self.epsilon(6));
        let repair = LedgerRepair { dataset, log_size, epsilon, ledger_counter, ledger_head: Sha256([77; 32]) };
        self.says(1, &repair, Facts::BudgetRepaired { dataset, ledger_counter });
    }

    /// Institution 1 pays for counts with noise between the rounds.
    pub(super) fn counts(&mut self) {
        let rho = decimal(if self.twist == Twist::CountsAboveTheCap { "0.5" } else { "0.001" });
        let ledger_counter = if self.twist == Twist::CountsOnAPaidCounter { 10 } else { 15 };
        let (dataset, unit, ledger_head) = (Self::dataset(1), Unit::Record, Sha256([78; 32]));
        let said = ReleaseSpend { dataset, unit, rho, ledger_counter, ledger_head };
        self.says(1, &said, Facts::BudgetReleased { dataset, ledger_counter });
    }

    /// An institution paid for a round that took no update of it, or so it says.
    pub(super) fn spent_alone(&mut self) {
        // Institution 3 sends nothing in this story; the others' updates are accepted.
        let told = [
            (Twist::SpentAlone, 3, RoundId(1), 1),
            (Twist::SpentAloneTwice, 3, RoundId(1), 2),
            (Twist::SpentAloneUnderstated, 3, RoundId(1), 1),
            (Twist::SpentBesideAnUpdate, 0, RoundId(1), 1),
            (Twist::SpentBeforeTheRound, 3, RoundId(2), 1),
        ];
        let Some((_, who, round, times)) = told.into_iter().find(|(twist, ..)| self.twist.tells(&[*twist])) else { return };
        let mut spend = self.spend(who, round);
        if self.twist == Twist::SpentAloneUnderstated {
            spend.epsilon_after = spend.epsilon_before;
        }
        let facts = Facts::BudgetSpent { dataset: spend.dataset, ledger_counter: spend.ledger_counter };
        let said = RoundSpend { task: TASK, round, spend };
        let key = self.people[who].clone();
        for _ in 0..times {
            let statement = Statement::sign(&said, &key);
            let draft = Draft::said(Actor::Institution, Some(ClientId::of(&public(&key))), statement, facts.clone());
            self.push(draft.in_round(TASK, round));
        }
    }

    pub(super) fn prepare(&mut self, plan: &[u8]) {
        (0..self.people.len()).for_each(|who| self.join(who));
        if self.twist != Twist::NoPolicy {
            let policy = Sha256(sha256(&[Signers::new().policy().text().as_bytes()]));
            let (said, facts) = (PolicyApproval { policy, replaces: None }, Facts::PolicyActivated { old: None, policy });
            self.activation = Some(self.admin_says(&said, facts.clone(), None));
            if self.twist == Twist::PolicyApprovalReplayed {
                self.admin_says(&said, facts, None);
            }
        }
        (0..self.people.len()).for_each(|who| self.declare(who));
        let digest = Plan::digest(plan);
        self.admin_says(&PlanApproval { task: TASK, plan: digest }, Facts::TaskApproved { plan: digest }, Some(TASK));
        for (twist, plan) in [(Twist::PlanApprovedAgain, digest), (Twist::PlanReplaced, PlanDigest([67; 32]))] {
            if self.twist == twist {
                self.admin_says(&PlanApproval { task: TASK, plan }, Facts::TaskApproved { plan }, Some(TASK));
            }
        }
        if self.twist == Twist::OtherBase {
            self.snapshot = SnapshotDigest([66; 32]);
        }
        self.push(Draft::server(Facts::TaskOpened { plan: digest, snapshot: self.snapshot }).in_task(TASK));
        self.previous_end = self.leaf();
        for who in 0..self.people.len() {
            let until = (self.twist == Twist::PrekeysExpired).then_some(Time(1));
            let keys = vec![Self::prekey(who).into(), Self::prekey(who).into()];
            let keys = Prekeys { task: TASK, first: RoundId(1), keys, nonces: None, until };
            let key = &self.people[who];
            let id = ClientId::of(&public(key));
            let facts = Facts::PrekeysPublished { first: RoundId(1), count: 2 };
            let draft = Draft::said(Actor::Decryptor, Some(id), Statement::sign(&keys, key), facts).in_task(TASK);
            self.push(draft);
        }
    }

    pub(super) fn prekey(who: usize) -> Vec<u8> {
        vec![u8::try_from(who).unwrap(); PREKEY_BYTES]
    }
}
