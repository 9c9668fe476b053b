//! Entries whose common fields say something else than the log before them (audit.md A16), bent after they were written.

use super::super::twist::Twist;
use protocol::entry::{Decision, EntryKind, LogEntry, Rule, Stamp};
use protocol::ids::{LeafIndex, Sha256};

type Bend = fn(LogEntry) -> Vec<u8>;

/// The entry as the story has it.
pub(super) fn bend(twist: Twist, kind: EntryKind, bytes: Vec<u8>) -> Vec<u8> {
    let bends: [(Twist, EntryKind, Bend); 12] = [
        (Twist::OtherFederation, EntryKind::TaskOpened, |e| with(e, |s| s.federation = "other".into())),
        (Twist::TimeStands, EntryKind::TaskOpened, |e| with(e, |s| s.ts = "2026-01-02T03:04:05.000000Z".into())),
        (Twist::ActorOfAnother, EntryKind::SiteAnchored, |e| with(e, named_another)),
        (Twist::ActorWithAnotherKey, EntryKind::TaskEnded, |e| with(e, |s| s.who.spki = Some(Sha256([66; 32])))),
        (Twist::CauseElsewhere, EntryKind::RoundClosed, |e| with(e, |s| s.cause = s.cause.map(|at| LeafIndex(at.0 - 1)))),
        (Twist::CauseToCome, EntryKind::RoundClosed, |e| with(e, |s| s.cause = Some(LeafIndex(s.seq + 1)))),
        (Twist::ExhaustedAndDeclinedForNothing, EntryKind::RoundDeclined, |e| with(e, |s| s.cause = s.cause.map(|at| LeafIndex(at.0 - 1)))),
        (Twist::CauseLeftOut, EntryKind::SetProposed, |e| with(e, |s| s.cause = None)),
        (Twist::OriginChanges, EntryKind::TaskOpened, |e| with(e, |s| s.origin.boot_ms += 1)),
        (Twist::RuleInvented, EntryKind::AuthzDenied, |e| decided(e, |d| d.map(|d| Decision { rule: Rule::Host, ..d }))),
        (Twist::DecisionLeftOut, EntryKind::AuthzDenied, |e| decided(e, |_| None)),
        (Twist::FieldsInAnotherOrder, EntryKind::TaskEnded, swapped),
    ];
    match bends.into_iter().find(|(of, at, _)| (*of, *at) == (twist, kind)) {
        Some((.., bend)) => bend(LogEntry::parse(&bytes).unwrap()),
        None => bytes,
    }
}

fn named_another(stamp: &mut Stamp) {
    stamp.who.uri = Some("spiffe://demo/institution/clinic-2/client/agent".into());
}

fn with(mut entry: LogEntry, change: fn(&mut Stamp)) -> Vec<u8> {
    change(&mut entry.stamp);
    entry.to_bytes()
}

fn decided(entry: LogEntry, change: fn(Option<Decision>) -> Option<Decision>) -> Vec<u8> {
    LogEntry { decision: change(entry.decision), ..entry }.to_bytes()
}

fn swapped(entry: LogEntry) -> Vec<u8> {
    let text = String::from_utf8(entry.to_bytes()).unwrap();
    text.replacen("\"v\":1,", "", 1)
        .replacen('{', "{\"outcome\":\"ok\",\"v\":1,", 1)
        .replacen("},\"outcome\":\"ok\",", "},", 1)
        .into_bytes()
}
