//! Updates that keep to a schedule (privacy.md D12): real programs, real clocks.

use super::*;
use privacy::ledger::{Event, PrivacyLedger};
use protocol::time::Time;

/// When the only round of an institution was paid, sealed and sent, as its ledger says; nothing before it says all three.
fn dates(f: &Federation, index: usize) -> Option<[Time; 3]> {
    let all = files(&f.dir.path().join(name(index)).join("ledger"));
    let ledgers: Vec<_> = all.iter().filter(|path| path.extension().is_some_and(|e| e == "ledger")).collect();
    let [ledger] = ledgers.as_slice() else { panic!("{all:?}") };
    let entries = PrivacyLedger::load(&std::fs::read(ledger).unwrap()).unwrap().entries;
    let at = |of: fn(&Event) -> bool| entries.iter().find(|e| of(&e.event)).map(|e| e.at);
    Some([at(|e| matches!(e, Event::Reserved(_)))?, at(|e| matches!(e, Event::Sealed { .. }))?, at(|e| matches!(e, Event::Sent { .. }))?])
}

/// The time follows from manifest and plan, so it is one for all. Nothing that headers name tells another, and receipts come after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_a_schedule_all_updates_leave_at_one_time_and_no_ledger_tells_another() {
    let mut f = Federation::under("upload_at = \"scheduled\"\n", &[40, 90]).await;
    let plan = f.propose(&plan_toml(1, 40_000, 1).replace("decryptors = 4", "decryptors = 2")).await;
    f.ended().await;
    opened_sums_are_exact(&f, &plan, plan.groups.len(), &[0, 1]);
    let ([paid, sealed, sent], [paid_there, sealed_there, sent_there]) = until(async || dates(&f, 0).zip(dates(&f, 1))).await;
    assert_eq!([paid, paid_there, sealed_there], [sealed; 3]);
    assert!(sent >= sealed && sent_there >= sealed, "an update left too early: {sealed:?} {sent:?} {sent_there:?}");
}
