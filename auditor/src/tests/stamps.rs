//! The common fields of entries (audit.md A16) and what the server tells of itself (A19): honest ones pass, each bent one is named.

use super::invariants::{expect, expect_clean, verdict};
use super::story::tell;
use super::twist::Twist;

#[test]
fn fields_stand_in_one_order_in_one_federation_and_in_rising_time() {
    expect(Twist::FieldsInAnotherOrder, 1, "A15: entry is not of the schema in its one spelling");
    expect(Twist::OtherFederation, 1, "A16: federation is not that of the trust document");
    expect(Twist::TimeStands, 1, "A16: ts does not rise");
}

#[test]
fn an_actor_is_the_one_whom_the_log_knows() {
    expect_clean(Twist::Anchored);
    expect(Twist::ActorOfAnother, 3, "A16: actor is not the one whom the log knows in this role");
    expect(Twist::ActorWithAnotherKey, 3, "A16: actor is not the one whom the log knows in this role");
}

#[test]
fn a_cause_is_the_entry_that_led_here() {
    for twist in [Twist::CauseElsewhere, Twist::CauseToCome, Twist::CauseLeftOut] {
        expect(twist, 3, "A16: cause is not the entry that led here");
        let v = verdict(twist);
        assert!(v.findings.iter().all(|f| f.clause.contains("A16")), "one fault is one kind of finding: {:#?}", v.findings);
    }
}

#[test]
fn one_process_writes_from_its_start_to_its_end() {
    expect(Twist::OriginChanges, 3, "A16: origin changes without a start of the server's process");
}

#[test]
fn a_decision_stands_where_one_is_made_and_by_the_rule_of_its_table() {
    expect(Twist::RuleInvented, 3, "I12: a decision states a right");
    expect(Twist::DecisionLeftOut, 3, "I12: a decision states a right");
}

#[test]
fn a_permission_is_given_to_somebody_whom_its_rule_fits_and_leads_to_its_use() {
    expect_clean(Twist::Allowed);
    let entries = tell(Twist::Allowed).entries;
    let released = entries.iter().rposition(|e| String::from_utf8_lossy(e).contains("\"type\":\"model.released\"")).unwrap();
    assert!(String::from_utf8_lossy(&entries[released]).contains(&format!("\"cause\":{},", released - 1)));
    expect(Twist::AllowedToAStranger, 3, "A16: actor is not the one whom the log knows in this role");
    expect(Twist::AllowedToAMember, 3, "I12: a decision states a right");
}

#[test]
fn a_restart_tells_what_changed_and_only_what_did() {
    expect_clean(Twist::Restarted);
    expect(Twist::UpgradedFromAnother, 3, "I11: old and new program or settings");
    expect(Twist::UpgradedToTheSame, 3, "I11: old and new program or settings");
}

#[test]
fn a_witness_goes_missing_and_returns_in_turn() {
    expect_clean(Twist::WitnessAway);
    for twist in [Twist::WitnessReturnsOnly, Twist::WitnessAwayTwice, Twist::WitnessOfAnother] {
        expect(twist, 3, "A19: a witness goes missing and returns in turn");
    }
}

#[test]
fn an_update_begins_once_and_leads_to_its_acceptance() {
    expect_clean(Twist::Begun);
    expect(Twist::BegunTwice, 3, "I1: accepted twice for one round and group");
}
