//! The one spelling of an entry: what comes back, what is refused, and where each field stands.

use super::*;
use crate::entry::Right;
use crate::ids::HeaderDigest;

fn entry() -> LogEntry {
    let stamp = Stamp {
        seq: 7,
        id: "018f0000-0000-7000-8000-000000000000".into(),
        ts: "2026-01-02T03:04:05.000006Z".into(),
        who: Identity { uri: Some("spiffe://demo/institution/server/server/main".into()), spki: Some(Sha256([9; 32])) },
        origin: Origin { name: "concordat-server".into(), version: "0.1.0".into(), build: "test".into(), boot_ms: 5 },
        federation: "demo".into(),
        cause: Some(LeafIndex(6)),
    };
    let draft = Draft::server(Facts::UpdateDropped { header: HeaderDigest([3; 32]) })
        .in_round(TaskId([1; 16]), RoundId(2))
        .in_group(GroupId(0))
        .rejected(Rejection::BadShares);
    LogEntry::new(stamp, &draft)
}

#[test]
fn an_entry_comes_back_from_its_bytes() {
    let e = entry();
    assert_eq!(LogEntry::parse(&e.to_bytes()).unwrap(), e);
}

#[test]
fn only_one_spelling_is_accepted() {
    let text = String::from_utf8(entry().to_bytes()).unwrap();
    for other in [
        text.replacen("\"seq\":7", "\"seq\": 7", 1),
        text.replacen("\"seq\":7", "\"seq\":7,\"seq\":7", 1),
        text.replacen("\"v\":1,\"seq\":7", "\"seq\":7,\"v\":1", 1),
        format!("{text}\n"),
    ] {
        assert_eq!(LogEntry::parse(other.as_bytes()), Err(EntryError::NotCanonical), "{other}");
    }
    let unknown = text.replacen("\"header\"", "\"extra\":1,\"header\"", 1);
    assert_eq!(LogEntry::parse(unknown.as_bytes()), Err(EntryError::Unknown));
}

#[test]
fn one_pass_and_the_slow_reading_agree() {
    let text = String::from_utf8(entry().to_bytes()).unwrap();
    let mut altered = vec![text.clone(), text.replacen("\"v\":1", "\"v\":2", 1), text.replacen("rejected", "refused", 1)];
    altered.extend((0..text.len()).map(|cut| text[..cut].to_owned()));
    altered.extend((0..text.len()).map(|at| format!("{}0{}", &text[..at], &text[at + 1..])));
    for line in altered {
        let slow = match LogEntry::parse_slowly(line.as_bytes()) {
            Ok(e) if e.to_bytes() != line.as_bytes() => Err(EntryError::NotCanonical),
            other => other,
        };
        assert_eq!(LogEntry::parse(line.as_bytes()), slow, "{line}");
    }
}

#[test]
fn fields_of_a_type_are_sorted_by_name_and_all_written() {
    let digest = crate::ids::CertificateDigest([1; 32]);
    let samples = [
        Facts::ProcessStopped {},
        Facts::SiteAnchored { size: 3, root: Sha256([2; 32]) },
        Facts::SumOpened {
            certificate: digest,
            sum_root: crate::ids::SumRoot([2; 32]),
            key_sum: crate::ids::KeySumDigest([3; 32]),
            values: crate::ids::ValueDigest([4; 32]),
            residual_ratio: "0.9".parse().unwrap(),
        },
    ];
    for facts in samples {
        let Ok(Value::Object(mut expected)) = serde_json::to_value(&facts) else { panic!("facts are an object") };
        expected.remove("type");
        let e = LogEntry { facts, ..entry() };
        let text = String::from_utf8(e.to_bytes()).unwrap();
        let fields: String = expected.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        assert!(text.contains(&format!("\"code\":\"bad_shares\",\"cause\":6{fields}}}")), "{text} has not {fields}");
    }
}

#[test]
fn every_type_has_its_own_name() {
    let names: std::collections::BTreeSet<_> = EntryKind::ALL.iter().map(|k| k.name()).collect();
    assert_eq!(names.len(), EntryKind::ALL.len());
}

/// audit.md A16: the fields in their order, and nothing where there is nothing to say.
#[test]
fn common_fields_stand_in_the_order_of_the_design() {
    let text = String::from_utf8(entry().to_bytes()).unwrap();
    let hex = |byte: u8| hex::encode([byte; 32]);
    let expected = format!(
        "{{\"v\":1,\"seq\":7,\"id\":\"018f0000-0000-7000-8000-000000000000\",\"ts\":\"2026-01-02T03:04:05.000006Z\",\
         \"type\":\"round.update.dropped\",\
         \"actor\":{{\"uri\":\"spiffe://demo/institution/server/server/main\",\"role\":\"server\",\"spki\":\"{}\"}},\
         \"origin\":{{\"name\":\"concordat-server\",\"version\":\"0.1.0\",\"build\":\"test\",\"boot_ms\":5}},\
         \"federation\":\"demo\",\"task\":\"{}\",\"round\":2,\"group\":0,\
         \"subject\":{{\"kind\":\"update\",\"hash\":\"{}\"}},\
         \"outcome\":\"rejected\",\"code\":\"bad_shares\",\"cause\":6,\"header\":\"{}\"}}",
        hex(9),
        hex::encode([1; 16]),
        hex(3),
        hex(3)
    );
    assert_eq!(text, expected);
    let denied = Draft::decided(Actor::Stranger, Decision::new(Ruling::Deny, Right::MemberJoin));
    let stamp = Stamp { who: Identity::default(), cause: None, ..entry().stamp };
    let text = String::from_utf8(LogEntry::new(stamp, &denied).to_bytes()).unwrap();
    let order = [
        "\"actor\":{\"role\":\"stranger\"},\"origin\"",
        "\"decision\":{\"ruling\":\"deny\",\"right\":\"member.join\",\"rule\":\"token\",\"policy\":",
    ];
    assert!(order.iter().all(|part| text.contains(part)) && text.ends_with("},\"outcome\":\"ok\"}"), "{text}");
    assert!(!text.contains("cause") && !text.contains("subject"), "{text}");
    assert_eq!(LogEntry::parse(text.as_bytes()).unwrap().decision, denied.decision);
}

#[test]
fn a_subject_other_than_that_of_the_facts_and_fields_in_another_order_are_refused() {
    let text = String::from_utf8(entry().to_bytes()).unwrap();
    let header = hex::encode([3; 32]);
    for other in [
        text.replacen(&header, &hex::encode([4; 32]), 1),
        text.replacen("\"kind\":\"update\"", "\"kind\":\"set\"", 1),
        text.replacen(&format!("\"subject\":{{\"kind\":\"update\",\"hash\":\"{header}\"}},"), "", 1),
        text.replacen("\"code\":\"bad_shares\",\"cause\":6", "\"cause\":6,\"code\":\"bad_shares\"", 1),
        text.replacen("\"task\"", "\"institution\":null,\"task\"", 1),
    ] {
        assert_ne!(other, text);
        assert_eq!(LogEntry::parse(other.as_bytes()), Err(EntryError::NotCanonical), "{other}");
    }
    for other in ["\"kind\":\"gossip\"", "\"kind\":\"update\",\"note\":1"] {
        let other = text.replacen("\"kind\":\"update\"", other, 1);
        assert_eq!(LogEntry::parse(other.as_bytes()), Err(EntryError::Malformed), "{other}");
    }
    let bare = text.replacen("\"role\":\"server\",", "", 1);
    assert_eq!(LogEntry::parse(bare.as_bytes()), Err(EntryError::Malformed));
}
