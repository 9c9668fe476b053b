//! Memberships that end and datasets that are withdrawn: what may follow, and what is found when it does not (audit.md A19, I2, I9).

use super::invariants::{WAITS, expect, expect_clean, verdict};
use super::twist::Twist;

const BARRED: &str = "I9: statement is by an institution whose membership is suspended, revoked or left";
const STANDING: &str = "I9: a standing changes from what it was";
const WITHDRAWN: &str = "I9: nothing is declared about or trained on a dataset that was withdrawn";

#[test]
fn memberships_that_end_by_the_rules_are_told_and_fail_nothing() {
    expect_clean(Twist::SuspendedAndResumed);
    expect_clean(Twist::Left);
    let stands = |twist| verdict(twist).members.iter().map(|m| (m.name.clone(), m.standing, m.reason)).collect::<Vec<_>>();
    assert!(stands(Twist::SuspendedAndResumed).iter().all(|(_, standing, reason)| *standing == "active" && reason.is_none()));
    let left = stands(Twist::Left).into_iter().filter(|(_, standing, _)| *standing != "active").collect::<Vec<_>>();
    assert_eq!(left, [("clinic-3".to_owned(), "left", Some("request"))]);
    assert!(crate::table::render(&verdict(Twist::Left)).contains("clinic-3 (left: request)"));
}

#[test]
fn an_accepted_update_of_a_revoked_institution_is_named_and_so_is_a_set_with_it() {
    expect(Twist::RevokedTakesPart, 3, BARRED);
    expect(Twist::RevokedTakesPart, 3, "I6: manifest is not endorsed by a quorum or contradicts the log");
    expect(Twist::RevokedInTheRound, 3, BARRED);
    expect(Twist::RevokedInTheRound, 3, "I2: a set is proposed of members in good standing alone");
    let accepted = verdict(Twist::RevokedInTheRound).findings;
    assert!(accepted.iter().any(|f| f.clause == BARRED && f.got == "round.update.accepted"), "{accepted:#?}");
    assert!(accepted.iter().all(|f| !f.clause.starts_with("I6")), "the roster is the one that the round began with");
}

#[test]
fn a_membership_ends_by_as_many_administrators_as_must() {
    expect(Twist::RevokedByOneOfTwo, 0, WAITS);
    let v = verdict(Twist::RevokedByOneOfTwo);
    assert!(v.members.iter().all(|m| m.standing == "active"));
    assert!(v.findings.iter().any(|f| f.got.contains("about a standing")));
}

#[test]
fn a_standing_follows_from_the_one_before() {
    expect(Twist::SuspendedAgainByOldWords, 3, STANDING);
    expect(Twist::ResumedAfterRevoked, 3, STANDING);
    assert!(verdict(Twist::SuspendedAgainByOldWords).members.iter().all(|m| m.standing == "active"), "old words do nothing");
}

#[test]
fn whoever_has_left_says_nothing_more() {
    expect(Twist::LeftAndDeclares, 3, BARRED);
}

#[test]
fn an_accepted_update_of_withdrawn_data_is_named() {
    expect_clean(Twist::DataWithdrawn);
    for twist in [Twist::DataWithdrawnInTheRound, Twist::WithdrawnDataTrained] {
        expect(twist, 3, WITHDRAWN);
        let findings = verdict(twist).findings;
        assert!(findings.iter().any(|f| f.clause.starts_with(WITHDRAWN) && f.got == "round.update.accepted"), "{twist:?}: {findings:#?}");
    }
}
