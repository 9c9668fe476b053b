//! Acts of administrators under a threshold (audit.md A14, A19): nothing has effect before the m-th of them said exactly the same.

#[path = "approvals/standing.rs"]
mod standing;
#[path = "approvals/trust.rs"]
mod trust;

use ed25519_dalek::SigningKey;
use protocol::entry::{Actor, Decision, Draft, Facts, LogEntry, Origin, Right, Ruling};
use protocol::history::{Clause, History};
use protocol::ids::{ClientId, LeafIndex, PlanDigest, PublicKey, Sha256, TaskId, TokenId};
use protocol::plan::PlanApproval;
use protocol::statement::{Payload, Statement, StatementKind};
use protocol::trust::{JoinRequest, Membership, PolicyApproval, TrustDocument};

const TASK: TaskId = TaskId([7; 16]);

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}
fn admin(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[10 + n; 32])
}

fn trust(threshold: u16) -> TrustDocument {
    TrustDocument {
        v: 1,
        federation: "test".into(),
        log_vkey: "test+00000000+AA==".into(),
        root_ca: Sha256([4; 32]),
        administrators: (1..=3).map(|n| public(&admin(n))).collect(),
        threshold,
        server: public(&SigningKey::from_bytes(&[1; 32])),
        previous: None,
    }
}

struct World {
    history: History,
    size: u64,
}

impl World {
    fn new(threshold: u16) -> Self {
        let trust = trust(threshold);
        let hash = TrustDocument::hash(&trust.to_bytes());
        let mut this = Self { history: History::new(trust), size: 0 };
        assert_eq!(this.append(&Draft::server(Facts::FederationCreated { trust: hash })), []);
        this
    }

    fn append(&mut self, draft: &Draft) -> Vec<Clause> {
        let seq = self.size;
        let (id, ts) = (format!("018f0000-0000-7000-8000-{seq:012x}"), format!("2026-01-01T00:00:{seq:02}.000000Z"));
        let origin = Origin { name: "test".into(), version: "0.1.0".into(), build: "test".into(), boot_ms: 0 };
        let stamp = self.history.stamp(draft, id, ts, origin);
        self.size += 1;
        self.history.apply(&LogEntry::new(stamp, draft).to_bytes()).into_iter().map(|v| v.clause).collect()
    }

    /// One administrator's word; keeps every rule.
    fn word<P: Payload>(&mut self, n: u8, said: &P, facts: &Facts, task: Option<TaskId>) -> LeafIndex {
        let draft = Draft::said(Actor::Administrator, None, Statement::sign(said, &admin(n)), facts.clone());
        let at = LeafIndex(self.size);
        assert_eq!(self.append(&Draft { task, ..draft }), []);
        at
    }

    fn asks(&mut self, n: u8) -> JoinRequest {
        let (request, broken) = self.asks_under(n, self.history.trust_hash());
        assert_eq!(broken, []);
        request
    }

    /// The same by an invitation that names this trust document; the rules that its entry breaks.
    fn asks_under(&mut self, n: u8, trust: Sha256) -> (JoinRequest, Vec<Clause>) {
        let key = SigningKey::from_bytes(&[50 + n; 32]);
        let request = JoinRequest {
            token: TokenId([n; 16]),
            trust,
            nonce: Sha256([5; 32]),
            name: format!("clinic-{}", n % 100),
            institution_key: public(&key),
            witness_vkey: "test+00000001+AA==".into(),
            tls_key: Sha256([6; 32]),
        };
        let facts = Facts::MemberJoinRequested { token: request.token, request: Membership::of(&request).request };
        let draft = Draft::said(Actor::Institution, Some(ClientId::of(&public(&key))), Statement::sign(&request, &key), facts);
        let broken = self.append(&draft);
        (request, broken)
    }

    fn admit(&mut self, n: u8, request: &JoinRequest) -> LeafIndex {
        let said = Membership::of(request);
        let facts = Facts::MemberJoined { request: said.request };
        self.word(n, &said, &facts, None)
    }

    /// A policy's approval as it is signed now, and its entry's facts.
    fn policy(&self, policy: Sha256) -> (PolicyApproval, Facts) {
        let replaces = self.history.policy_in_force();
        (PolicyApproval { policy, replaces }, Facts::PolicyActivated { old: replaces.map(|r| r.policy), policy })
    }

    fn activate(&mut self, n: u8, policy: Sha256) -> LeafIndex {
        let (said, facts) = self.policy(policy);
        self.word(n, &said, &facts, None)
    }

    /// What the log makes of an administrator's word that was signed at some time before.
    fn old_word(&mut self, n: u8, (said, facts): &(PolicyApproval, Facts)) -> Vec<Clause> {
        self.append(&Draft::said(Actor::Administrator, None, Statement::sign(said, &admin(n)), facts.clone()))
    }

    fn approve(&mut self, n: u8, plan: PlanDigest) -> LeafIndex {
        self.word(n, &PlanApproval { task: TASK, plan }, &Facts::TaskApproved { plan }, Some(TASK))
    }
}

#[test]
fn an_institution_is_a_member_where_the_second_of_two_admits_it() {
    let mut w = World::new(2);
    let request = w.asks(1);
    let who = ClientId::of(&request.institution_key);
    let first = w.admit(1, &request);
    assert!(w.history.members().is_empty() && w.history.key(&Sha256(who.0)).is_none());
    w.admit(1, &request);
    assert!(w.history.members().is_empty(), "one administrator counts once");
    let said = Membership::of(&request);
    let next = |n| Statement::sign(&said, &admin(n));
    assert!(w.history.takes_effect(&next(2)) && !w.history.takes_effect(&next(1)));
    let second = w.admit(3, &request);
    assert_eq!(w.history.members()[&who].joined, second);
    assert!(w.history.key(&Sha256(who.0)).is_some());
    let approval = w.history.approval(&said).unwrap();
    assert_eq!((approval.places(), approval.effective()), (vec![first, second], Some(second)));
    assert!(!w.history.takes_effect(&next(2)), "what has effect takes none again");
    let approval = w.history.approval_of(&next(3)).unwrap();
    assert_eq!((approval.by(next(3).signer()), approval.by(next(2).signer())), (Some(second), None));
}

/// Two words for different things are not two words for one.
#[test]
fn words_count_only_for_exactly_the_same() {
    let mut w = World::new(2);
    let (a, b) = (w.asks(1), w.asks(2));
    w.admit(1, &a);
    w.admit(2, &b);
    assert!(w.history.members().is_empty());
    w.approve(1, PlanDigest([1; 32]));
    w.approve(2, PlanDigest([2; 32]));
    assert!(w.history.task(TASK).is_none());
    let waiting: Vec<_> = w.history.waiting().into_iter().map(|(_, kind, a)| (kind, a.have())).collect();
    use StatementKind::{Membership as Member, Plan};
    assert_eq!(waiting, [(Member, 1), (Member, 1), (Plan, 1), (Plan, 1)]);
    w.approve(3, PlanDigest([2; 32]));
    assert_eq!(w.history.task(TASK).unwrap().plan_digest(), PlanDigest([2; 32]));
}

#[test]
fn a_policy_comes_back_only_with_as_many_words_again() {
    let mut w = World::new(2);
    let (a, b) = (Sha256([1; 32]), Sha256([2; 32]));
    w.activate(1, a);
    assert_eq!(w.history.policy(), None);
    let from = w.activate(2, a);
    assert_eq!(w.history.policy(), Some((a, from)));
    w.activate(1, b);
    let from = w.activate(2, b);
    assert_eq!(w.history.policy(), Some((b, from)));
    w.activate(1, a);
    assert_eq!(w.history.policy(), Some((b, from)), "the words of the first time do not count");
    let back = w.activate(3, a);
    assert_eq!(w.history.policy(), Some((a, back)));
}

/// Whoever has old statements of administrators has no policy by them, neither one that was in force nor one that was never completed.
#[test]
fn what_was_signed_over_another_policy_is_void() {
    let mut w = World::new(2);
    let [a, b, c] = [1, 2, 3].map(|n| Sha256([n; 32]));
    let first = w.policy(a);
    w.activate(1, a);
    w.activate(2, a);
    let partial = w.policy(b);
    w.activate(1, b);
    assert_eq!(w.history.waiting().len(), 1);
    w.activate(2, c);
    let from = w.activate(3, c);
    assert!(w.history.waiting().is_empty(), "what waited for a second word waits no more");
    for old in [&partial, &first] {
        for n in 1..=3 {
            assert_eq!(w.old_word(n, old), [Clause::Policy]);
        }
    }
    assert_eq!(w.history.policy(), Some((c, from)));
    // The same text in force at another place is another policy to replace.
    w.activate(1, a);
    w.activate(2, a);
    for n in 1..=3 {
        assert_eq!(w.old_word(n, &partial), [Clause::Policy]);
    }
    // Whose field says something else than what was signed is named too.
    let (said, _) = w.policy(b);
    let facts = Facts::PolicyActivated { old: Some(c), policy: b };
    assert_eq!(w.old_word(1, &(said, facts)), [Clause::FieldsDiffer]);
}

#[test]
fn with_a_threshold_of_one_every_word_has_effect() {
    let mut w = World::new(1);
    let request = w.asks(1);
    let joined = w.admit(2, &request);
    assert_eq!(w.history.members().values().next().unwrap().joined, joined);
    assert_eq!(w.activate(3, Sha256([1; 32])), w.history.policy().unwrap().1);
    w.approve(1, PlanDigest([1; 32]));
    assert!(w.history.task(TASK).is_some() && w.history.waiting().is_empty());
}

#[test]
fn nobody_elses_word_counts() {
    let mut w = World::new(2);
    let policy = Sha256([1; 32]);
    w.activate(1, policy);
    let server = SigningKey::from_bytes(&[1; 32]);
    let (said, facts) = w.policy(policy);
    let draft = Draft::said(Actor::Server, None, Statement::sign(&said, &server), facts);
    assert_eq!(w.append(&draft), [Clause::NotAdministrator]);
    assert_eq!(w.history.policy(), None);
    let bytes = |administrators: Vec<PublicKey>, threshold| TrustDocument { administrators, threshold, ..trust(1) }.to_bytes();
    let (a, b) = (public(&admin(1)), public(&admin(2)));
    assert!(TrustDocument::parse(&bytes(vec![a, b], 2)).is_ok());
    for (administrators, threshold) in [(vec![a, a], 2), (vec![a, b], 3), (vec![a], 0), (vec![], 1)] {
        assert!(TrustDocument::parse(&bytes(administrators, threshold)).is_err());
    }
}

/// A permission leads to the act right behind it (A16), and an entry that nobody here can read stands in between like any other.
#[test]
fn an_entry_of_a_later_version_parts_an_act_from_its_permission() {
    let mut world = World::new(1);
    let (allowed, invited) =
        (Decision::new(Ruling::Allow, Right::MemberInvite), Draft::server(Facts::MemberInvited { token: TokenId([1; 16]) }));
    let cause = |world: &World| {
        let origin = Origin { name: "test".into(), version: "0.1.0".into(), build: "test".into(), boot_ms: 0 };
        world.history.stamp(&invited, String::new(), String::new(), origin).cause
    };
    assert_eq!(world.append(&Draft::decided(Actor::Administrator, allowed)), []);
    assert_eq!(cause(&world), Some(LeafIndex(1)));
    let later: Vec<Clause> = world.history.apply(br#"{"v":2,"type":"of.a.later.version"}"#).into_iter().map(|v| v.clause).collect();
    assert_eq!((later.len(), cause(&world)), (1, None));
}
