//! What members say of their own policies and budgets, and what is asked for on the server's host that leaves or goes on record (audit.md A19).

use super::*;
use crate::admin::Refusal;
use protocol::exhausted::{BudgetAccount, BudgetExhausted};
use protocol::ids::{PlanDigest, RoundId, SnapshotDigest, TaskId};
use protocol::plan::{PlanApproval, Unit};
use protocol::site_policy::SitePolicyDeclaration;
use protocol::trust::{BudgetDeclaration, DatasetDeclaration};

const TASK: TaskId = TaskId([3; 16]);
const DATASET: Sha256 = Sha256([4; 32]);

fn person() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn say<P: Payload>(driver: &mut Driver, who: ClientId, said: &P) -> Result<LeafIndex, Rejection> {
    let (reply, mut answer) = oneshot::channel();
    driver.request(who, Request::Declare { statement: Statement::sign(said, &person()) }, reply).unwrap();
    let response = answer.try_recv().unwrap().response;
    if let Response::Rejected { reason } = response {
        return Err(reason);
    }
    let Response::Receipt { index, .. } = response else { panic!("{response:?}") };
    Ok(index)
}

fn open_task(disk: &Disk, driver: &mut Driver) {
    let (plan, snapshot) = (PlanDigest([4; 32]), SnapshotDigest([5; 32]));
    let approval = Statement::sign(&PlanApproval { task: TASK, plan }, &administrator(disk));
    driver.append_one(Draft::said(Actor::Administrator, None, approval, Facts::TaskApproved { plan }).in_task(TASK)).unwrap();
    driver.append_one(Draft::server(Facts::TaskOpened { plan, snapshot }).in_task(TASK)).unwrap();
}

fn open_round(driver: &mut Driver, round: RoundId) -> LeafIndex {
    let previous_end = driver.log.history().task(TASK).unwrap().previous_end();
    driver.append_one(Draft::server(Facts::RoundOpened { previous_end }).in_round(TASK, round)).unwrap().index
}

#[test]
fn a_site_policy_is_taken_once_for_each_version() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let who = admit(&disk, &mut driver, &person(), &request());
    let (one, two) = (Sha256([1; 32]), Sha256([2; 32]));
    let first = SitePolicyDeclaration::next(None, one, driver.log.size()).unwrap();
    assert!(say(&mut driver, who, &first).is_ok());
    assert_eq!(say(&mut driver, who, &first), Err(Rejection::Policy), "it is there");
    let next = SitePolicyDeclaration::next(Some(one), two, driver.log.size()).unwrap();
    assert!(say(&mut driver, who, &next).is_ok());
    let told: Vec<Sha256> = driver.log.history().site_policies(who).iter().map(|(_, said)| said.new).collect();
    assert_eq!(told, [one, two]);
}

#[test]
fn a_budget_is_said_to_be_exhausted_in_a_round_once_until_there_may_be_room() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let who = admit(&disk, &mut driver, &person(), &request());
    let number = |text: &str| text.parse::<protocol::decimal::Decimal>().unwrap();
    let (epsilon_cap, delta, round) = (number("1"), number("0.000001"), RoundId::FIRST);
    say(&mut driver, who, &DatasetDeclaration { dataset: DATASET, unit: Unit::Record, declared_units: 120 }).unwrap();
    let cap = BudgetDeclaration { dataset: DATASET, epsilon_cap, delta, own_epsilon_cap: None };
    say(&mut driver, who, &cap).unwrap();
    open_task(&disk, &mut driver);
    let said = BudgetExhausted {
        task: TASK,
        round,
        dataset: DATASET,
        unit: Unit::Record,
        delta,
        epsilon_cap,
        account: BudgetAccount::Task,
        order: None,
        epsilon_before: number("0"),
        needed: number("1.5"),
        remaining: epsilon_cap,
        ledger_counter: 0,
        ledger_head: Sha256([9; 32]),
    };
    assert_eq!(say(&mut driver, who, &said), Err(Rejection::Policy), "no round is open");
    let opened = open_round(&mut driver, round);
    let unsound = BudgetExhausted { remaining: number("2"), ..said };
    assert_eq!(say(&mut driver, who, &unsound), Err(Rejection::Malformed), "there is enough");
    let told = say(&mut driver, who, &said).unwrap();
    assert_eq!(say(&mut driver, who, &said), Err(Rejection::Policy), "said already");
    let larger = BudgetDeclaration { epsilon_cap: number("2"), ..cap };
    say(&mut driver, who, &larger).unwrap();
    assert!(driver.log.history().datasets()[&(who, DATASET)].exhausted_in(TASK).is_none());
    let again = BudgetExhausted { epsilon_cap: number("2"), needed: number("2.5"), remaining: number("2"), ..said };
    let last = say(&mut driver, who, &again).unwrap();
    let decline = protocol::manifest::Decline { task: TASK, round, reason: Rejection::BudgetExhausted };
    let draft = Draft::said(Actor::Institution, Some(who), Statement::sign(&decline, &person()), Facts::RoundDeclined {});
    driver.append_one(draft.rejected(Rejection::BudgetExhausted).in_round(TASK, round)).unwrap();
    drop(driver);
    let entries = disk.entries();
    let causes = |at: LeafIndex| entries[usize::try_from(at.0).unwrap()].stamp.cause;
    assert_eq!((causes(told), causes(last)), (Some(opened), Some(opened)));
    assert_eq!(entries.last().unwrap().stamp.cause, Some(last), "the decline follows from it");
}

#[test]
fn nothing_is_deleted_of_a_task_that_goes_on_unless_that_is_said_and_nothing_is_handed_out_without_a_checkpoint() {
    let disk = Disk::new();
    let mut driver = disk.driver().unwrap();
    let delete = |driver: &mut Driver, task, unfinished| driver.admin(AdminRequest::DeleteChunks { task, keep: 0, unfinished }).unwrap();
    let refused = |reply: &AdminReply, expected| matches!(reply, AdminReply::Refused { reason } if *reason == expected);
    assert!(refused(&delete(&mut driver, Some(TASK), false), Refusal::NoSuchTask));
    open_task(&disk, &mut driver);
    assert!(refused(&delete(&mut driver, Some(TASK), false), Refusal::TaskGoesOn));
    let size = driver.log.size();
    for (task, unfinished) in [(None, false), (Some(TASK), true)] {
        let reply = delete(&mut driver, task, unfinished);
        assert!(matches!(reply, AdminReply::Deleted { rounds: 0, updates: 0, bytes: 0, left: 0 }), "{reply:?}");
    }
    assert!(refused(&driver.admin(AdminRequest::ExportLog {}).unwrap(), Refusal::NoCheckpoint));
    assert_eq!(driver.log.size(), size, "what is not done stands nowhere");
}
