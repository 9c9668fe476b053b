//! One log for each rule that breaks only it: found with its clause and its exit code (audit.md A51).

use super::fixture::{Signers, head_of, write};
use super::story::tell;
use super::twist::Twist;
use crate::{Check, Options, Severity, Verdict, verify};
use audit::checkpoint::Checkpoint;
use audit::cosign::cosign;
use audit::reader::{CHECKPOINT_PATH, note_path};
use audit::tree::TreeHead;

pub(super) fn verdict(twist: Twist) -> Verdict {
    verify(write(&tell(twist).files()).path(), &Options::default()).unwrap()
}

#[track_caller]
pub(super) fn expect(twist: Twist, exit_code: u8, clause: &str) {
    let v = verdict(twist);
    let hit = v.findings.iter().any(|f| f.clause.contains(clause) && f.severity.exit_code() == exit_code);
    assert!(hit && v.exit_code == exit_code, "{twist:?}: exit {}, {:#?}", v.exit_code, v.findings);
    assert_eq!(v.verified, exit_code == 0);
}

#[test]
fn an_honest_log_verifies_and_tells_what_happened() {
    let v = verdict(Twist::None);
    assert_eq!((v.exit_code, v.findings.as_slice()), (0, [].as_slice()));
    assert!(v.verified && v.checks.iter().all(|c| c.passed && c.run));
    assert_eq!((v.members.len(), v.tasks.len(), v.notes), (4, 1, 4));
    assert_eq!((v.quorum.cosigners.as_slice(), v.quorum.met), (["w1".to_owned(), "w2".to_owned()].as_slice(), true));
    let rounds = &v.tasks[0].rounds;
    assert!(rounds.iter().all(|r| r.state == "closed" && r.groups[0].cohort == 3 && r.groups[0].key_sum_confirmed && r.epsilon.len() == 3));
    assert_eq!(rounds.len(), 2);
    let text = crate::table::render(&v);
    assert!(text.contains("Everything that was checked holds.") && text.contains("Not verified:"));
}

#[test]
fn an_alarm_of_the_server_is_told_and_fails_nothing_by_itself() {
    let v = verdict(Twist::SumFails);
    let told: Vec<_> = v.findings.iter().filter(|f| f.clause.contains("C62")).collect();
    assert_eq!((v.exit_code, told.len(), told[0].severity), (0, 1, Severity::Notice), "{:#?}", v.findings);
    assert!(told[0].got.starts_with("false-sum") && told[0].got.contains(&"42".repeat(32)), "{}", told[0].got);
}

#[test]
fn two_signed_sets_are_named() {
    expect(Twist::TwoSets, 3, "I4: a decryptor signed two sets");
}

#[test]
fn a_spend_above_the_signed_cap_is_named() {
    expect(Twist::CapExceeded, 3, "I8: epsilon is above the signed cap");
}

#[test]
fn an_understated_epsilon_is_recomputed() {
    expect(Twist::EpsilonUnderstated, 3, "I8: epsilon is not below its recomputation");
}

#[test]
fn steps_that_do_not_add_up_are_named() {
    expect(Twist::StepsRepeated, 3, "I8: steps add up");
}

#[test]
fn a_mechanism_other_than_the_plans_is_named() {
    expect(Twist::OtherNoise, 3, "I8: a spend states the mechanism of the plan");
}

#[test]
fn a_spend_is_judged_by_what_was_declared_for_its_round() {
    expect_clean(Twist::DeclaredMoreLater);
    expect_clean(Twist::DeclaredMoreInTheRound);
    expect(Twist::DeclaredMoreBetween, 3, "I8: a spend states the mechanism of the plan");
}

#[test]
fn a_falling_ledger_counter_is_named() {
    expect(Twist::LedgerFalls, 3, "I8: ledger counter does not rise");
}

#[test]
fn a_counter_that_names_two_entries_is_named() {
    expect(Twist::LedgerCloned, 3, "I8: one ledger counter names one entry");
}

#[test]
fn an_epsilon_that_begins_anew_is_named() {
    expect(Twist::EpsilonRestarts, 3, "I8: epsilon does not continue from the last spend");
    expect(Twist::EpsilonRestarts, 3, "I8: epsilon is not below its recomputation");
}

#[test]
fn an_epsilon_that_falls_is_named() {
    expect(Twist::EpsilonFalls, 3, "I8: epsilon does not continue from the last spend");
}

#[test]
fn payments_without_an_update_are_reported_as_spent() {
    expect(Twist::PaymentSkipped, 0, "I8: steps that were paid and have no accepted update count as spent");
    expect(Twist::PaymentSkipped, 0, "I8: a gap between two spends counts as spent");
}

#[test]
fn a_repaired_ledger_is_reported_and_stays_above_the_log() {
    expect(Twist::LedgerRepaired, 0, "I8: a ledger was raised to what the log shows");
    expect(Twist::RepairBelowTheLog, 3, "I8: ledger counter does not rise");
    expect(Twist::SpendBelowTheRepair, 3, "I8: ledger counter does not rise");
}

/// privacy.md D28: what was paid for counts is added to what the tasks cost; one ledger entry pays once.
#[test]
fn counts_beside_the_tasks_are_added_up_against_the_signed_cap() {
    expect_clean(Twist::CountsPaid);
    expect(Twist::CountsOnAPaidCounter, 3, "I8: ledger counter does not rise");
    expect(Twist::CountsOnAPaidCounter, 3, "I8: one ledger counter names one entry");
    expect(Twist::CountsAboveTheCap, 3, "I8: all tasks and releases of a dataset together stay under the signed cap");
}

/// audit.md A21: what was paid for nothing is told, counted once, and recomputed like any spend.
#[test]
fn a_spend_without_an_update_stands_alone_after_its_round() {
    const ALONE: &str = "A21: a spend stands alone once, after the end of a round";
    expect_clean(Twist::SpentAlone);
    let round = &verdict(Twist::SpentAlone).tasks[0].rounds[0];
    assert!(round.epsilon.iter().any(|e| e.institution == "clinic-3"), "{:?}", round.epsilon);
    for twist in [Twist::SpentAloneTwice, Twist::SpentBesideAnUpdate, Twist::SpentBeforeTheRound] {
        expect(twist, 3, ALONE);
    }
    expect(Twist::SpentAloneUnderstated, 3, "I8: epsilon is not below its recomputation");
}

/// A19, I8: who says that its budget is exhausted says it once, in the round that it declines, and is held to it by what the log adds up to.
#[test]
fn a_budget_that_is_said_to_be_exhausted_is_and_nothing_more_is_paid_from_it() {
    const SAID: &str = "A19: a budget is said to be exhausted";
    const FALSE: &str = "I8: a budget is said to be exhausted only where";
    expect_clean(Twist::Exhausted);
    expect_clean(Twist::ExhaustedAgainUnderMore);
    expect(Twist::ExhaustedTwice, 3, SAID);
    expect(Twist::ExhaustedOtherwiseStated, 1, "A17: entry fields differ from the signed payload");
    expect(Twist::ExhaustedAndDeclinedForNothing, 3, "A16: cause is not the entry that led here");
    for twist in [Twist::ExhaustedFalsely, Twist::ExhaustedTaskFalsely] {
        expect(twist, 3, FALSE);
    }
    expect(Twist::ExhaustedAndPaid, 3, "I8: nothing is paid for a task whose budget was said to be exhausted");
}

#[test]
fn a_cohort_below_the_minimum_is_named() {
    expect(Twist::OneMember, 3, "I3");
}

/// privacy.md D7, D22: own noise is recomputed as what was charged, the figure against coalitions as what was stated.
#[test]
fn modes_in_which_noise_is_shared_are_recomputed_too() {
    let v = verdict(Twist::Hybrid);
    assert!(v.verified && v.findings.is_empty(), "{:#?}", v.findings);
    expect(Twist::HybridOverstated, 3, "I8: what a plan states against coalitions");
}

/// D11: noise is calibrated for a cohort; a certificate over fewer is found, though they are more than two.
#[test]
fn a_certificate_below_the_calibrated_number_is_named() {
    expect(Twist::HybridBelowMinimum, 3, "I3: set size is outside the limits");
    expect(Twist::HybridBelowMinimum, 3, "I4: certificate is not a quorum's signatures over one set");
}

#[test]
fn a_foreign_header_in_the_set_is_named() {
    expect(Twist::ForeignHeader, 3, "I2");
}

#[test]
fn an_opening_by_a_stranger_is_named() {
    expect(Twist::StrangerOpens, 3, "I5: opening is not by a committee member");
}

#[test]
fn an_opening_that_contradicts_itself_is_named() {
    expect(Twist::OpeningLies, 3, "I5: check values add up");
}

/// C56: with three answers of threshold two nothing proves which of them lies, so all are named beside the member, which is not at fault.
#[test]
fn an_opening_that_fits_its_own_lie_is_a_dispute_and_no_finding_against_an_honest_header() {
    expect(Twist::OpeningBends, 3, "else the two dispute (C56)");
    let v = verdict(Twist::OpeningBends);
    assert!(v.findings.iter().all(|f| !f.clause.contains("for all but at most d answers")), "{:#?}", v.findings);
    let disputes = v.findings.iter().filter(|f| f.got.contains("neither is proven wrong")).count();
    assert_eq!(disputes, 2 * 3, "in each of two rounds, with each of three decryptors");
    let rounds = &v.tasks[0].rounds;
    assert!(rounds.iter().all(|r| r.groups[0].key_sum_confirmed), "the sum comes out as stated");
}

/// C57: a key that has expired is deleted, and a manifest that names it asks for shares that nobody can open.
#[test]
fn a_manifest_whose_opening_ends_after_its_prekeys_is_named() {
    expect(Twist::PrekeysExpired, 3, "I6: manifest is not endorsed by a quorum or contradicts the log");
}

#[test]
fn a_key_sum_that_openings_do_not_give_is_named() {
    expect(Twist::WrongKeySum, 3, "A37");
}

#[test]
fn a_second_update_of_one_institution_is_named() {
    expect(Twist::AcceptedTwice, 3, "I1");
}

#[test]
fn an_update_after_the_end_is_named() {
    expect(Twist::UpdateAfterTheEnd, 3, "I7");
}

#[test]
fn a_manifest_with_another_roster_is_named() {
    expect(Twist::WrongRoster, 3, "I6");
}

#[test]
fn a_manifest_below_its_quorum_is_named() {
    expect(Twist::FewEndorsements, 3, "I6");
}

#[test]
fn a_certificate_below_its_quorum_is_named() {
    expect(Twist::FewSignatures, 3, "I4");
}

#[test]
fn a_task_that_opens_with_other_weights_is_named() {
    expect(Twist::OtherBase, 3, "I6: a task opens with the weights of its plan");
}

#[test]
fn a_statement_of_somebody_who_was_not_admitted_is_named() {
    expect(Twist::StrangerDeclares, 1, "A17: statement is not signed by a key enrolled at this index");
}

#[test]
fn a_release_and_anchors_that_keep_the_rules_are_told_and_fail_nothing() {
    expect_clean(Twist::Released);
    expect_clean(Twist::Anchored);
}

#[test]
fn a_release_of_what_no_round_gave_or_without_its_base_is_named() {
    expect(Twist::ReleaseOfAnotherModel, 3, "I10: a release names a model");
    expect(Twist::ReleaseWithoutItsBase, 3, "I10: a release names a model");
    expect(Twist::ReleaseByAMember, 3, "A19: statement is not an administrator's");
}

pub(super) const WAITS: &str = "A14: what administrators say has effect where as many said it as the trust document asks for";

#[test]
fn a_release_needs_as_many_administrators_as_the_trust_document_asks_for() {
    expect_clean(Twist::ReleaseByBoth);
    let both = &verdict(Twist::ReleaseByBoth).releases;
    assert_eq!((both.len(), both[0].approvals, both[0].needed), (1, 2, 2));
    for twist in [Twist::ReleaseByOneOfTwo, Twist::ReleaseByOneTwice] {
        expect(twist, 0, WAITS);
        assert!(verdict(twist).releases.is_empty(), "{twist:?}");
    }
}

#[test]
fn a_withdrawal_needs_as_many_administrators_as_a_release() {
    expect(Twist::WithdrawalByBoth, 0, "A19: a released model was withdrawn");
    expect(Twist::WithdrawalByOneOfTwo, 0, WAITS);
    let v = verdict(Twist::WithdrawalByOneOfTwo);
    assert!(v.releases[0].withdrawn.is_none() && v.findings.iter().all(|f| !f.clause.contains("was withdrawn")));
    assert!(verdict(Twist::WithdrawalByBoth).releases[0].withdrawn.is_some());
}

/// A server that goes on as if one word were enough is found by what it does next.
#[test]
fn what_one_of_two_administrators_says_makes_no_member_no_policy_and_no_task() {
    expect(Twist::MembershipByOneOfTwo, 1, "A17: statement is not signed by a key enrolled at this index");
    expect(Twist::PolicyByOneOfTwo, 1, "A12: a policy is the one that administrators activated");
    expect(Twist::PlanByOneOfTwo, 3, "I7: entry names a task that was not approved");
    for twist in [Twist::MembershipByOneOfTwo, Twist::PolicyByOneOfTwo, Twist::PlanByOneOfTwo] {
        let v = verdict(twist);
        assert!(v.findings.iter().any(|f| f.clause.contains(WAITS) && f.severity == Severity::Notice), "{twist:?}");
    }
}

/// training.md M20: the gates of the plan, with the log's own figures where it has them.
#[test]
fn a_release_states_its_gates_and_passes_them_or_says_why_not() {
    const GATES: &str = "M20: a release states the gates of its plan";
    let v = verdict(Twist::GatesPassed);
    assert_eq!((v.exit_code, v.findings.as_slice()), (0, [].as_slice()));
    let release = &v.releases[0];
    let gates: Vec<_> = release.gates.iter().map(|g| (g.code, g.figure.as_str(), g.passed, g.from_log)).collect();
    assert_eq!(gates[1..], [("cohort", "3", true, true), ("accuracy", "0.93", true, false)]);
    assert!(gates[0].0 == "epsilon" && gates[0].2 && (release.approvals, release.needed, release.withdrawn) == (1, 1, None));
    assert!(v.not_verified.iter().any(|n| n.starts_with("figures of gates that no log shows")));
    assert!(!verdict(Twist::Released).not_verified.iter().any(|n| n.starts_with("figures of gates")));
    let text = crate::table::render(&v);
    assert!(text.contains("accuracy 0.93") && text.contains("(stated)") && text.contains("cohort 3") && text.contains("(from the log)"));

    expect(Twist::GateOverridden, 0, "M20: a release was made although a gate was not passed");
    assert_eq!(verdict(Twist::GateOverridden).releases[0].overridden, Some("research"));
    for twist in
        [Twist::GateNotPassed, Twist::GateOverriddenForNothing, Twist::GateLeftOut, Twist::GateFigureInvented, Twist::GateWithoutEvaluation]
    {
        expect(twist, 3, GATES);
    }
}

#[test]
fn a_withdrawal_is_told_and_only_a_released_model_is_withdrawn_once() {
    expect(Twist::Withdrawn, 0, "A19: a released model was withdrawn");
    expect(Twist::WithdrawnTwice, 3, "I10: a withdrawal names a model that was released");
    expect(Twist::WithdrawnUnreleased, 3, "I10: a withdrawal names a model that was released");
}

#[test]
fn statements_are_verified_by_the_key_of_their_time() {
    expect_clean(Twist::StatementKeyRotated);
    expect(Twist::StatementKeyByAnother, 1, "A17: statement is not signed by a key enrolled at this index");
    expect(Twist::StatementKeyUnproved, 1, "A17: a new statement key signs the change that names it");
    expect(Twist::OldStatementKey, 3, "I9: nothing is accepted from a statement key that its institution has replaced");
}

/// The newest note of a log whose first witness took another key, written anew.
fn with_newest_note(twist: Twist, note: impl Fn(TreeHead) -> Vec<u8>) -> Verdict {
    let draft = tell(twist);
    let (mut files, head) = (draft.files(), head_of(&draft.entries));
    for path in [note_path(head.size), CHECKPOINT_PATH.to_owned()] {
        files.insert(path, note(head));
    }
    verify(write(&files).path(), &Options::default()).unwrap()
}

#[test]
fn a_witness_cosigns_with_the_key_that_the_policy_of_the_size_names() {
    expect_clean(Twist::WitnessRotated);
    expect(Twist::OldWitnessNamed, 3, "A12: an activated policy names no witness key that its institution had replaced");
    expect(Twist::WitnessRevoked, 0, "A12: the policy in force names a witness key that administrators revoked");
    // The key before, where the policy names the next one: one cosignature of two counts.
    let v = with_newest_note(Twist::WitnessRotated, |head| Signers::new().note(head, 2));
    assert_eq!((v.exit_code, v.quorum.met, v.quorum.cosigners.as_slice()), (4, false, ["w2".to_owned()].as_slice()));
    assert!(v.findings.iter().any(|f| f.clause.contains("A35.2")), "{:#?}", v.findings);
}

#[test]
fn times_of_a_witness_do_not_fall_with_its_key() {
    let at = |time: u64| {
        let signers = Signers::after_a_rotation();
        let v = with_newest_note(Twist::WitnessRotated, |head| {
            let mut note = Checkpoint { origin: "demo/log".to_owned(), head }.sign(&signers.log).unwrap();
            let times = [time, 1_700_000_000 + head.size];
            let lines: Vec<_> = signers.witnesses.iter().zip(times).map(|(w, t)| cosign(w, t, note.text()).unwrap()).collect();
            note.add(&lines).unwrap();
            note.encode()
        });
        (v.exit_code, v.findings.iter().any(|f| f.clause.starts_with("A10: times of one witness never fall")))
    };
    assert_eq!(at(1_800_000_000), (0, false));
    assert_eq!(at(1_700_000_000), (1, true), "before its last cosignature under the old key");
}

/// Old statements of administrators are in every copy of the log: with them a server alone neither releases nor withdraws.
#[test]
fn a_release_or_a_withdrawal_that_is_brought_again_is_named_and_has_no_effect() {
    expect(Twist::ReleaseReplayed, 3, "I10: a release names the last withdrawal of its model");
    let v = verdict(Twist::ReleaseReplayed);
    assert!(v.releases.len() == 1 && v.releases[0].withdrawn.is_some(), "{:?}", v.releases);
    expect(Twist::WithdrawalReplayed, 3, "I10: a withdrawal names a model that was released");
    let v = verdict(Twist::WithdrawalReplayed);
    assert_eq!(v.releases.iter().map(|r| r.withdrawn.is_some()).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_review_speaks_about_what_stood_before_it_and_is_signed_by_somebody_known() {
    expect_clean(Twist::Reviewed);
    expect(Twist::ReviewOfTheFuture, 3, "A39: a review speaks about entries that stood before it");
    expect(Twist::ReviewByAStranger, 3, "I9: statement is not by an enrolled institution");
    expect(Twist::ReviewUnderAnotherTrust, 3, "A39: a review names a trust document of this log");
}

#[test]
fn a_model_that_was_released_again_can_be_withdrawn_again_and_once() {
    expect(Twist::ReleasedAgain, 0, "A19: a released model was withdrawn");
    expect(Twist::WithdrawnTwiceAfterReleasedAgain, 3, "I10: a withdrawal names a model that was released");
}

#[test]
fn only_the_institution_itself_declines_and_only_what_it_said() {
    expect_clean(Twist::Declined);
    expect(Twist::DeclineInvented, 1, "A17: statement is not signed");
    expect(Twist::DeclineOfAnotherRound, 1, "A17: entry fields differ from the signed payload");
    expect(Twist::DeclineForAnotherReason, 1, "A17: entry fields differ from the signed payload");
}

#[test]
fn an_institution_is_enrolled_once_under_a_name_and_by_a_token_of_its_own() {
    expect(Twist::EnrolledTwice, 3, "I9: an institution is enrolled once");
    expect(Twist::NameTaken, 3, "I9: an institution is enrolled once");
    expect(Twist::JoinedForAnother, 1, "A17: entry fields differ from the signed payload");
    expect(Twist::TokenNeverMade, 3, "A19: a request to join names a token");
    expect(Twist::TokenUsedTwice, 3, "A19: a request to join names a token");
}

#[test]
fn another_plan_under_the_name_of_an_approved_task_is_named() {
    expect_clean(Twist::PlanApprovedAgain);
    expect(Twist::PlanReplaced, 3, "I7: the round or task is not in a state that allows this");
}

#[test]
fn a_certificate_is_renewed_for_a_member_and_its_own_key() {
    expect_clean(Twist::Renewed);
    expect(Twist::RenewedForAnotherKey, 3, "I9: a certificate is renewed for an enrolled institution");
}

#[test]
fn a_key_is_rotated_and_one_that_was_replaced_or_revoked_never_comes_back() {
    expect_clean(Twist::KeyRotated);
    expect(Twist::KeyRotatedBack, 3, "I9: a key is rotated from the one that the log has");
    expect_clean(Twist::KeyRevoked);
    expect(Twist::RenewedForARevokedKey, 3, "I9: a certificate is renewed for an enrolled institution");
}

/// Old statements of administrators are in every copy of the log: with them a server alone puts no policy in force.
#[test]
fn an_approval_of_a_policy_that_is_brought_again_is_named() {
    expect(Twist::PolicyApprovalReplayed, 3, "I11: an approved policy names the one that is in force before it");
}

#[test]
fn counts_and_sizes_that_an_entry_states_are_counted_again() {
    expect(Twist::EndMiscounted, 3, "I7: a task's end states");
    expect(Twist::SetOfAnEarlierTree, 3, "I2: a set is proposed for a tree");
    expect(Twist::SetOfALaterTree, 3, "I2: a set is proposed for a tree");
    expect(Twist::SetSignedElsewhere, 3, "I4: a decryptor signs the number and the tree size");
    expect(Twist::JoinListMiscounted, 3, "I6: a join list has as many institutions");
}

#[test]
fn roots_of_reviews_and_recoveries_are_those_of_the_log() {
    expect(Twist::ReviewOfAnotherTree, 3, "A39: a review names the root");
    expect(Twist::RecoveredToAnotherTree, 3, "A32: a recovery names the root");
    let left = verdict(Twist::Reviewed).not_verified;
    assert!(left.iter().all(|line| !line.starts_with("roots")), "what was compared is not called unverified: {left:?}");
}

#[test]
fn an_entry_in_a_role_that_its_signer_does_not_have_is_named() {
    expect(Twist::ActorDiffers, 3, "I12: who acted is who signed");
}

#[test]
fn a_recovery_states_the_size_of_the_log_before_it() {
    expect_clean(Twist::Recovered);
    expect(Twist::RecoveredElsewhere, 3, "A32: a recovery states the size of the log");
}

#[test]
fn no_number_of_threads_changes_a_verdict() {
    for twist in [Twist::None, Twist::ForgedStatement, Twist::TwoSets, Twist::UnknownType, Twist::SequenceJumps, Twist::StrangerDeclares] {
        let dir = write(&tell(twist).files());
        let on = |n| verify(dir.path(), &Options { threads: std::num::NonZeroUsize::new(n), ..Options::default() }).unwrap();
        assert_eq!((on(2), on(7)), (on(1), on(1)), "{twist:?}");
    }
}

#[test]
fn a_watched_log_is_held_against_what_it_said_before() {
    let draft = tell(Twist::None);
    let whole = write(&draft.files());
    let mut watch = crate::watch::Watch::new(whole.path(), Options::default()).unwrap();
    assert_eq!(watch.look().unwrap().map(|v| v.exit_code), Some(0));
    assert!(watch.look().unwrap().is_none(), "nothing new, no verdict");
    // The same log as it was two checkpoints ago, whole and well signed, takes its place.
    let mut short = tell(Twist::None);
    short.published.truncate(3);
    short.entries.truncate(usize::try_from(*short.published.last().unwrap()).unwrap());
    let old = write(&short.files());
    assert_eq!(verify(old.path(), &Options::default()).unwrap().exit_code, 0, "by itself it looks whole");
    std::fs::remove_dir_all(whole.path()).unwrap();
    std::fs::rename(old.path(), whole.path()).unwrap();
    let verdict = watch.look().unwrap().unwrap();
    assert!(verdict.exit_code == 1 && verdict.findings.iter().any(|f| f.clause.contains("holds every entry that it signed")));
    assert_eq!(watch.look().unwrap().map(|v| v.exit_code), Some(1), "and goes on failing");
}

#[test]
fn a_review_is_signed_over_what_was_verified_and_its_findings() {
    use protocol::statement::Statement;
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let v = verdict(Twist::TwoSets);
    let signed = crate::review::sign(&v, (0, v.tree_size - 1), &key).unwrap();
    let statement: Statement = protocol::codec::decode(&signed.statement, 1 << 16).unwrap();
    let said: protocol::release::Review = statement.verify().unwrap();
    assert_eq!((said.size, said.exit_code, said.root.to_hex()), (v.tree_size, 3, v.root.clone().unwrap()));
    assert_eq!(said.findings.0, protocol::hash::sha256(&[&signed.findings]));
    assert!(String::from_utf8(signed.findings).unwrap().contains("I4: a decryptor signed two sets"));
    let few = crate::review::sign(&v, (0, 1), &key).unwrap();
    assert!(!String::from_utf8(few.findings).unwrap().contains("I4:"), "findings of other entries are not of this review");
    assert!(crate::review::sign(&v, (0, v.tree_size), &key).is_err());
    assert!(crate::review::sign(&verdict(Twist::ForgedStatement), (0, 1), &key).is_err());
}

/// I7: after a round's end only its chunks may go, and the log says how much that was.
#[test]
fn chunks_are_deleted_on_record_after_their_round_and_once() {
    expect_clean(Twist::ChunksDeleted);
    let deleted: Vec<bool> = verdict(Twist::ChunksDeleted).tasks[0].rounds.iter().map(|r| r.chunks_deleted.is_some()).collect();
    assert_eq!(deleted, [true, false]);
    for twist in [Twist::ChunksDeletedTwice, Twist::ChunksDeletedMiscounted, Twist::ChunksDeletedInTheRound] {
        expect(twist, 3, "I7: sealed chunks are deleted of a round that is over");
    }
}

#[test]
fn a_copy_that_was_handed_out_is_of_this_log() {
    expect_clean(Twist::Exported);
    expect(Twist::ExportedOfTheFuture, 3, "A19: a copy of the log is of entries that stood before it");
    expect(Twist::ExportOfAnotherTree, 3, "A19: a copy that the server handed out has the root");
}

/// A19, I11: by what policy an institution judges is not told, but that it is another one is, each after the one before.
#[test]
fn a_site_policy_is_declared_after_the_one_before_it() {
    const FOLLOWS: &str = "I11: a declared site policy is another one than the institution's last";
    expect_clean(Twist::SitePolicies);
    for twist in [Twist::SitePolicyFromNowhere, Twist::SitePolicyTwice, Twist::SitePolicyTooEarly] {
        expect(twist, 3, FOLLOWS);
    }
    expect(Twist::SitePolicyOtherwiseStated, 1, "A17: entry fields differ from the signed payload");
}

#[test]
fn a_site_log_that_shrinks_is_named() {
    expect(Twist::AnchorFalls, 3, "I14: a site log grows");
}

#[track_caller]
pub(super) fn expect_clean(twist: Twist) {
    let v = verdict(twist);
    assert_eq!((v.exit_code, v.findings.as_slice()), (0, [].as_slice()), "{twist:?}");
}

#[test]
fn a_forged_statement_is_an_integrity_failure() {
    expect(Twist::ForgedStatement, 1, "A17");
}

#[test]
fn a_jump_in_the_sequence_is_an_integrity_failure() {
    expect(Twist::SequenceJumps, 1, "A16");
}

#[test]
fn a_trust_document_other_than_entry_0_names_is_an_integrity_failure() {
    expect(Twist::WrongTrust, 1, "A14");
}

#[test]
fn a_manifest_whose_checkpoint_is_too_old_is_named() {
    expect(Twist::StaleCheckpoint, 3, "I6: a manifest names a checkpoint");
}

#[test]
fn a_join_under_another_trust_document_is_named() {
    expect(Twist::OtherTrustShown, 3, "A14: an institution joins");
}

#[test]
fn a_field_that_contradicts_the_certificate_is_an_integrity_failure() {
    expect(Twist::OtherCertificateNamed, 1, "A17: entry fields agree");
}

#[test]
fn a_task_without_a_quorum_policy_is_incomplete() {
    expect(Twist::NoPolicy, 4, "A12");
}

#[test]
fn unknown_types_are_reported_and_fail_only_when_strict() {
    let dir = write(&tell(Twist::UnknownType).files());
    let v = verify(dir.path(), &Options::default()).unwrap();
    assert!(v.exit_code == 0 && v.findings.iter().any(|f| f.severity == Severity::Notice && f.check == Check::Entries));
    let strict = Options { strict: true, ..Options::default() };
    assert_eq!(verify(dir.path(), &strict).unwrap().exit_code, 4);
}
