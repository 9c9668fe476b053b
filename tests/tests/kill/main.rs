//! Real processes that end at once, as by `kill -9`, at the edges between disk and wire, and start again on the same directory
//! (transport-storage.md F1, F2, P1, P2, P4, P7, S16; privacy.md D60, D66; crypto.md C39, C44; audit.md A30, A31, A52).
//!
//! What is failure here: an entry that somebody has seen and that is gone; a tree that went back; noise drawn twice or before it was paid;
//! other bytes sent after a restart; a log that does not verify; a federation that does not come to its end. What is not: slowness.
//!
//! Edges are scripts: `step subject`, several in order, the last one being where the process ends (see [`role`]). An institution ends, one
//! after another, at those of [`INSTITUTION`]; the server at those of [`SERVER`]; while somebody joins the server at those of [`JOINING`]
//! and the newcomer at those of [`NEWCOMER`]. Each list says what must come of it. `log recover` ends at each of its edges in turn ([`recovery`]),
//! and the server at those of a handover of its log's key and of a deletion of sealed updates ([`operator`]).

mod books;
mod federation;
mod operator;
mod recovery;
mod role;
mod seen;

use books::Books;
use federation::Federation;
use protocol::entry::EntryKind;

/// Where an institution ends. Between two of them it has started again and the federation has gone on.
const INSTITUTION: &[&str] = &[
    // Before the first round: a ledger, prekeys and a schedule half made.
    "written ledger/created",
    "before .public",
    "durable ledger/registered",
    // As a decryptor: remembered and not said, then said again.
    "durable record/endorsed",
    // Nothing is paid: the round is taken part in after all.
    "before ledger/reserved",
    // Paid, from here on: void, never drawn again.
    "written ledger/reserved",
    // Still a decryptor of that round.
    "renamed shares/",
    "written record/signed",
    "durable record/opened",
    "seen paid",
    "seen trained",
    "seen drawn",
    "renamed /parts/",
    // Sealed and whole, from here on: the same bytes again, in the same round.
    "renamed /index",
    "before ledger/sealed",
    "durable ledger/sealed",
    "said upload/part",
    "saying upload/commit",
    "received upload/receipt",
    "written ledger/sent",
    // As a witness: stored and not said.
    "renamed witness/state",
    "renamed tile/",
];
/// Rounds of that task: five payments are void, one update is sent again and again, one round is undisturbed.
const INSTITUTION_ROUNDS: u64 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_institution_that_ends_at_any_edge_pays_once_and_sends_the_same_bytes() {
    let (mut f, plan) = Federation::with_task(INSTITUTION_ROUNDS, [INSTITUTION[0], "", ""]).await;
    let mut books = Books::default();
    for (at, edge) in INSTITUTION.iter().enumerate() {
        f.until_dead(edge, |f| &mut f.clients[0]).await;
        books.check_institution(&f, 0, plan.task);
        f.clients[0] = f.client(0, INSTITUTION.get(at + 1).unwrap_or(&""));
        books.check_logs(&mut f).await;
    }
    f.ended().await;
    let members = books.close(&mut f, plan.task).await;
    assert_eq!(members.len() as u64, INSTITUTION_ROUNDS, "no round is lost by one institution's end");
    let with = members.iter().filter(|(_, m)| m.contains(&0)).map(|(round, _)| *round).collect::<Vec<_>>();
    assert_eq!(with, [INSTITUTION_ROUNDS - 1, INSTITUTION_ROUNDS], "five payments came to nothing, what was sealed was sent");
}

/// Where the server ends. It abandons the round that was under way and goes on with the next one.
const SERVER: &[&str] = &[
    // A batch that was not yet signed is discarded.
    "appending round.opened, synced pending-",
    // Signed, from here on: completed at the next start.
    "appending round.update.accepted, renamed log-guard",
    "appending round.update.accepted, renamed .state/tree",
    "appending round.set.signed, written tile/entries",
    // Durable and said to nobody: acceptance, certificate, end.
    "appended round.update.accepted",
    "appended round.set.certified",
    "appended round.closed",
    // A part that is durable and not acknowledged; one that is half written.
    "renamed chunks/",
    "written chunks/",
    // The next weights are there, and no entry names them.
    "durable models/",
    // A checkpoint that the witnesses have signed and nobody has seen.
    "appended round.opened, before /checkpoint",
    "appended round.opened, renamed /checkpoint",
    // The task has ended and nobody knows.
    "appended task.ended",
];
/// Rounds of that task: one for each of those ends, and one that must close.
const SERVER_ROUNDS: u64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_at_any_edge_loses_nothing_that_it_said() {
    let (mut f, plan) = Federation::with_task(SERVER_ROUNDS, [""; federation::MEMBERS]).await;
    let mut books = Books::default();
    f.kill_server();
    books.server_ended(&f);
    for edge in SERVER {
        f.serve(edge).await;
        books.check_logs(&mut f).await;
        f.until_dead(edge, |f| f.server.as_mut().expect("a server")).await;
        books.server_ended(&f);
    }
    f.serve("").await;
    f.ended().await;
    let members = books.close(&mut f, plan.task).await;
    assert!(members.contains_key(&SERVER_ROUNDS), "nobody disturbed the last round: {members:?}");
}

/// Every edge of one append in turn, whatever it is (audit.md A30, A31, A52): what was not signed never was, what was is completed, and nothing
/// stands there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_ends_at_any_edge_is_whole_or_never_was() {
    let (mut f, mut books) = (Federation::found().await, Books::default());
    f.invite(0).await;
    f.kill_server();
    books.server_ended(&f);
    let (mut edge, mut entered) = (1, 1);
    loop {
        let script = format!("appending member.invited, {} {edge}", role::ANY);
        f.serve(&script).await;
        books.check_logs(&mut f).await;
        let now = Books::count(&f, EntryKind::MemberInvited);
        assert!((entered..=entered + 1).contains(&now), "{script}: {now} entries after {entered}");
        entered = now;
        if f.try_invite(1).await.is_some() {
            break;
        }
        f.until_dead(&script, |f| f.server.as_mut().expect("a server")).await;
        books.server_ended(&f);
        edge += 1;
    }
    assert!(edge > 20, "{edge} edges: an append that writes so little was not looked at");
    f.kill_server();
    books.server_ended(&f);
    f.serve("").await;
    books.check_logs(&mut f).await;
    assert_eq!(Books::count(&f, EntryKind::MemberInvited), entered + 1, "what was answered stands there, once");
}

/// Everybody ends at the same time, with updates on their way, and starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_federation_that_ends_all_at_once_goes_on_where_its_disks_are() {
    let (mut f, plan) = Federation::with_task(2, [""; federation::MEMBERS]).await;
    let mut books = Books::default();
    f.until("no update comes", async |f| (Books::count(f, EntryKind::UpdateAccepted) > 0).then_some(())).await;
    f.kill_all();
    books.server_ended(&f);
    (0..federation::MEMBERS).for_each(|index| books.check_institution(&f, index, plan.task));
    f.serve("").await;
    f.clients = (0..federation::MEMBERS).map(|index| f.client(index, "")).collect();
    f.ended().await;
    let members = books.close(&mut f, plan.task).await;
    // Whoever is back first begins; nobody is waited for.
    assert!(members.get(&2).is_some_and(|m| m.len() >= 2), "nobody disturbed the next round: {members:?}");
}

/// Where somebody ends who joins.
const NEWCOMER: &[&str] = &[
    "renamed keys/",
    "written join/request",
    "durable join/request",
    // The administrator has admitted them: from here on, what was received is written down.
    "renamed tls/root",
    "durable mirror/trust",
    "synced identity",
];
/// The first of those that needs the administrator.
const ADMITTED: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_ends_while_joining_joins_with_the_same_token() {
    let mut f = Federation::found().await;
    let line = f.invite(0).await;
    for (at, edge) in NEWCOMER.iter().enumerate() {
        f.clients = vec![f.joiner(0, &line, edge)];
        if at == ADMITTED {
            let request = f.until("nobody asks to join", async |f| f.pending(0).await.pop()).await;
            f.approve(&request).await;
        }
        f.until_dead(edge, |f| &mut f.clients[0]).await;
    }
    f.clients = vec![f.joiner(0, &line, "")];
    let status = f.until("nobody joins", async |f| f.clients[0].ended()).await;
    assert!(status.success(), "{status}: {}", f.story());
    assert_eq!(Books::count(&f, EntryKind::MemberJoinRequested), 1, "one request");
    assert_eq!(Books::count(&f, EntryKind::MemberJoined), 1);
}

/// Where the server ends while somebody joins.
const JOINING: &[&str] = &["before requests", "durable requests", "appended member.join.requested", "appended member.joined"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_outlives_a_server_that_ends_while_it_is_used() {
    for edge in JOINING {
        let mut f = Federation::found().await;
        let line = f.invite(0).await;
        f.kill_server();
        f.serve(edge).await;
        let (home, again) = (f.home(0), line.clone());
        let first = tokio::spawn(async move { client::join::join(&home, &again, federation::PATIENCE, &mut |_| {}).await });
        if edge.ends_with("member.joined") {
            let request = f.until("nobody asks to join", async |f| f.pending(0).await.pop()).await;
            f.try_approve(&request).await;
        }
        f.until_dead(edge, |f| f.server.as_mut().expect("a server")).await;
        first.abort();
        f.serve("").await;
        let home = f.home(0);
        let second = tokio::spawn(async move { client::join::join(&home, &line, federation::PATIENCE, &mut |_| {}).await });
        if !edge.ends_with("member.joined") {
            let waiting = f.until("nobody asks to join", async |f| Some(f.pending(0).await).filter(|p| !p.is_empty())).await;
            assert_eq!(waiting.len(), 1, "{edge}: one institution, one request");
            f.approve(&waiting[0]).await;
        }
        let joined = second.await.unwrap();
        assert!(joined.is_ok(), "{edge}: {joined:?}\n{}", f.story());
    }
}
