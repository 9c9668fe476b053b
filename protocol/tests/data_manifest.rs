//! Data manifests in the log: what may be said, after what, and by whom (audit.md A19).

use ed25519_dalek::SigningKey;
use protocol::codec::encode;
use protocol::data_manifest::{CountClass, DataManifest, LegalBasis, Licence, Purpose};
use protocol::entry::{Actor, Draft, Facts, LogEntry, Origin};
use protocol::hash::sha256;
use protocol::history::{Clause, History};
use protocol::ids::{ClientId, PublicKey, Sha256, TokenId};
use protocol::plan::Unit;
use protocol::statement::Statement;
use protocol::trust::{DatasetDeclaration, JoinRequest, Membership, TrustDocument};

const DATASET: Sha256 = Sha256([8; 32]);

struct World {
    history: History,
    entries: Vec<Vec<u8>>,
    site: SigningKey,
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

impl World {
    /// A federation with one member, whose dataset is declared.
    fn new() -> Self {
        let [server, admin, site] = [1u8, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let trust = TrustDocument {
            v: 1,
            federation: "test".into(),
            log_vkey: "test+00000000+AA==".into(),
            root_ca: Sha256([4; 32]),
            administrators: vec![public(&admin)],
            threshold: 1,
            server: public(&server),
            previous: None,
        };
        let hash = TrustDocument::hash(&trust.to_bytes());
        let mut world = Self { history: History::new(trust), entries: Vec::new(), site };
        let ask = JoinRequest {
            token: TokenId([0; 16]),
            trust: hash,
            nonce: Sha256([5; 32]),
            name: "operator-a".into(),
            institution_key: public(&world.site),
            witness_vkey: "test+00000001+AA==".into(),
            tls_key: Sha256([6; 32]),
        };
        let membership = Membership::of(&ask);
        let request = membership.request;
        let declared = DatasetDeclaration { dataset: DATASET, unit: Unit::User, declared_units: 9_200 };
        let me = Some(world.me());
        for draft in [
            Draft::server(Facts::FederationCreated { trust: hash }),
            Draft::said(
                Actor::Institution,
                me,
                Statement::sign(&ask, &world.site),
                Facts::MemberJoinRequested { token: ask.token, request },
            ),
            Draft::said(Actor::Administrator, me, Statement::sign(&membership, &admin), Facts::MemberJoined { request }),
            Draft::said(Actor::Institution, me, Statement::sign(&declared, &world.site), Facts::DatasetDeclared { dataset: DATASET }),
        ] {
            assert_eq!(world.append(&draft), []);
        }
        world
    }

    fn me(&self) -> ClientId {
        ClientId::of(&public(&self.site))
    }

    fn append(&mut self, draft: &Draft) -> Vec<Clause> {
        let seq = self.entries.len() as u64;
        let (id, ts) = (format!("018f0000-0000-7000-8000-{seq:012x}"), format!("2026-01-01T00:00:{seq:02}.000000Z"));
        let origin = Origin { name: "test".into(), version: "0.1.0".into(), build: "test".into(), boot_ms: 0 };
        let stamp = self.history.stamp(draft, id, ts, origin);
        let bytes = LogEntry::new(stamp, draft).to_bytes();
        assert!(LogEntry::parse(&bytes).is_ok());
        let broken = self.history.apply(&bytes).into_iter().map(|v| v.clause).collect();
        self.entries.push(bytes);
        broken
    }

    fn say(&mut self, manifest: &DataManifest) -> Vec<Clause> {
        let facts = Facts::DatasetChanged { dataset: manifest.dataset, manifest: Sha256(sha256(&[&encode(manifest)])) };
        let draft = Draft::said(Actor::Institution, Some(self.me()), Statement::sign(manifest, &self.site), facts);
        self.append(&draft)
    }
}

fn manifest() -> DataManifest {
    DataManifest {
        dataset: DATASET,
        previous: None,
        manifest: Sha256([2; 32]),
        rules: Sha256([3; 32]),
        schema: Sha256([4; 32]),
        tokenizer: None,
        unit: Unit::User,
        records: CountClass::of(13_673),
        units: CountClass::of(9_200),
        licence: Licence::Internal,
        purpose: Purpose::Training,
        basis: LegalBasis::Research,
        retention_days: 365,
        period: None,
        quality_holds: true,
    }
}

#[test]
fn manifests_of_a_dataset_follow_each_other() {
    let mut w = World::new();
    assert_eq!(w.say(&manifest()), []);
    let first = w.history.data_manifests(w.me(), DATASET)[0];
    assert_eq!(first.manifest, manifest());
    assert_eq!(w.say(&DataManifest { retention_days: 30, ..manifest() }), [Clause::DataManifest], "the one before is not named");
    // What was said stands in the log all the same, so the next one names it.
    let second = w.history.data_manifests(w.me(), DATASET)[1].hash;
    assert_eq!(w.say(&DataManifest { previous: Some(second), ..manifest() }), []);
    assert_eq!(w.history.data_manifests(w.me(), DATASET).len(), 3);
}

#[test]
fn a_manifest_that_does_not_fit_is_told_by_its_rule() {
    let with = |change: &dyn Fn(&mut DataManifest)| {
        let mut m = manifest();
        change(&mut m);
        World::new().say(&m)
    };
    assert_eq!(with(&|m| m.dataset = Sha256([9; 32])), [Clause::DataManifest], "not declared");
    assert_eq!(with(&|m| m.unit = Unit::Record), [Clause::DataManifest], "another unit than declared");
    assert_eq!(with(&|m| m.retention_days = 0), [Clause::DataManifest]);
    assert_eq!(with(&|m| m.previous = Some(Sha256([1; 32]))), [Clause::DataManifest], "names one that is not there");
}

#[test]
fn nobody_else_speaks_for_the_institution_and_fields_are_those_that_were_signed() {
    let mut w = World::new();
    let hash = Sha256(sha256(&[&encode(&manifest())]));
    let facts = || Facts::DatasetChanged { dataset: DATASET, manifest: hash };
    let stranger = SigningKey::from_bytes(&[7; 32]);
    let draft = Draft::said(Actor::Institution, Some(w.me()), Statement::sign(&manifest(), &stranger), facts());
    assert_eq!(w.append(&draft), [Clause::Signature]);
    let other = Facts::DatasetChanged { dataset: DATASET, manifest: Sha256([0; 32]) };
    let draft = Draft::said(Actor::Institution, Some(w.me()), Statement::sign(&manifest(), &w.site), other);
    assert_eq!(w.append(&draft), [Clause::FieldsDiffer]);
    // Exact counts have no place: thirteen thousand six hundred and seventy-three is ten thousand, and so in no spelling.
    let all = w.entries.concat();
    assert!(!String::from_utf8_lossy(&all).contains("13673"));
}
