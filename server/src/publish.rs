//! Publication of checkpoints: one note at a time is shown to the witnesses; a quorum makes it the published one (audit.md A24, A30, A33).

use crate::durable;
use crate::log::Log;
use crate::presence::{News, Presence};
use audit::checkpoint::Checkpoint;
use audit::key::VerifierKey;
use audit::note::{Note, parse_lines};
use audit::policy::{Opened, Policy, Witness, default_quorum};
use audit::reader::{CHECKPOINT_PATH, note_path, policy_path};
use protocol::history::History;
use protocol::ids::Sha256;
use protocol::rotation::witness_id;
use protocol::time::Time;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Longest time that an entry stands without a checkpoint although nobody waits for one (A29): denials and declarations too.
const PERIOD_MS: u64 = 60_000;
/// How long a note is shown before it is an alarm that no quorum cosigns it (A33).
const ALARM_MS: u64 = 15 * 60_000;

/// Gathers cosignatures.
#[derive(Default)]
pub(crate) struct Publisher {
    policy: Option<Policy>,
    published: u64,
    latest: Vec<u8>,
    current: Option<(u64, Note)>,
    wanted: u64,
    /// Since when there are entries under no checkpoint.
    uncovered: Option<Time>,
    /// Since when a checkpoint is wanted in vain, and whether that was told.
    waiting: Option<(Time, bool)>,
    /// What the policy's witnesses owe, by their keys.
    presences: BTreeMap<[u8; 32], Presence>,
}

impl Publisher {
    /// Takes up the policy in force and the last published note of an existing log.
    pub(crate) fn open(log: &Log) -> io::Result<Self> {
        let mut this = Self { policy: read_policy(log)?, ..Self::default() };
        // A crash may have come between publishing a note and keeping it.
        if let (Some(policy), Ok(bytes)) = (&this.policy, std::fs::read(log.root().join(CHECKPOINT_PATH)))
            && let Some(opened) = Note::parse(&bytes).ok().and_then(|note| open_at(policy, log, note))
        {
            this.published = opened.checkpoint().head.size;
            durable::write_new(&log.root().join(note_path(this.published)), &bytes)?;
            this.latest = bytes;
        }
        Ok(this)
    }

    /// Entries under a published quorum checkpoint.
    pub(crate) fn published(&self) -> u64 {
        self.published
    }
    /// That checkpoint.
    pub(crate) fn latest(&self) -> &[u8] {
        &self.latest
    }
    pub(crate) fn has_policy(&self) -> bool {
        self.policy.is_some()
    }
    pub(crate) fn adopt(&mut self, policy: Policy) {
        self.presences.retain(|key, _| policy.witnesses().iter().any(|w| w.key.public() == *key));
        self.policy = Some(policy);
    }
    /// What entries name the witnesses of the policy in force by.
    pub(crate) fn named(&self) -> impl Iterator<Item = Sha256> {
        let witnesses = self.policy.as_ref().map(Policy::witnesses).unwrap_or_default();
        witnesses.iter().map(|w| witness_id(&w.key.to_string()))
    }
    /// Whether the policy in force can go on with another key of the log.
    pub(crate) fn can_follow(&self, key: &VerifierKey) -> bool {
        self.policy.as_ref().is_none_or(|policy| policy.with_log(key).is_ok())
    }
    /// Goes on with the key that the log has handed over to.
    pub(crate) fn follow(&mut self, log: &Log) -> io::Result<()> {
        if let Some(policy) = read_policy(log)? {
            self.adopt(policy);
        }
        Ok(())
    }
    /// What is new about the witnesses, for a log that knows which are missing.
    pub(crate) fn news(&self, now: Time, is_missing: impl Fn(&Sha256) -> bool) -> Vec<News> {
        self.presences.values().filter_map(|s| s.news(now, &is_missing)).collect()
    }
    pub(crate) fn want(&mut self, size: u64) {
        self.wanted = self.wanted.max(size);
    }

    /// Time passes over a log of `size` entries: what nobody asked a checkpoint for gets one too. True once when a quorum has been waited for
    /// for so long that somebody should look (A33).
    pub(crate) fn passes(&mut self, now: Time, size: u64) -> bool {
        if self.policy.is_none() || size <= self.published {
            (self.uncovered, self.waiting) = (None, None);
            return false;
        }
        let since = *self.uncovered.get_or_insert(now);
        if now.ms_since(since) >= PERIOD_MS {
            self.uncovered = None;
            self.want(size);
        }
        if self.wanted <= self.published {
            self.waiting = None;
            return false;
        }
        let (since, told) = self.waiting.get_or_insert((now, false));
        let alarm = !*told && now.ms_since(*since) >= ALARM_MS;
        *told |= alarm;
        alarm
    }

    /// The note that witnesses should see now, if a new one must be shown.
    pub(crate) fn start(&mut self, log: &Log, now: Time) -> Option<Vec<u8>> {
        let busy = self.current.as_ref().is_some_and(|(size, _)| *size >= self.wanted);
        let policy = self.policy.as_ref().filter(|_| self.published < self.wanted && !busy)?;
        let note = Note::parse(log.note()).ok()?;
        let bytes = note.encode();
        for key in policy.witnesses().iter().map(|w| &w.key) {
            let presence = || Presence::new(witness_id(&key.to_string()));
            self.presences.entry(key.public()).or_insert_with(presence).shown(now);
        }
        self.current = Some((log.size(), note));
        Some(bytes)
    }

    /// The note that is being shown, for a witness that comes late.
    pub(crate) fn showing(&self) -> Option<Vec<u8>> {
        self.current.as_ref().map(|(_, n)| n.encode())
    }

    /// Takes in a cosignature line; a quorum publishes the note. A line that does not verify is ignored (F14); one that comes after the
    /// quorum shows at least that its witness is there.
    pub(crate) fn cosigned(&mut self, log: &Log, size: u64, line: &str) -> io::Result<bool> {
        let (Some(policy), Ok(lines)) = (&self.policy, parse_lines(line)) else { return Ok(false) };
        let current = self.current.as_ref().filter(|(of, _)| *of == size).map(|(_, note)| note.clone());
        let (is_current, late) = (current.is_some(), size == self.published);
        let Some(mut note) = current.or_else(|| Note::parse(&self.latest).ok().filter(|_| late)) else { return Ok(false) };
        if lines.len() != 1 || note.add(&lines).is_err() {
            return Ok(false);
        }
        let Some(opened) = open_at(policy, log, note.clone()) else { return Ok(false) };
        // Whoever signed this line, and not all that signed the note: of a published one they may have done so before this process began.
        let here = policy.witnesses().iter().filter(|w| lines.iter().any(|l| l.claims(&w.key)));
        for key in here.map(|w| w.key.public()) {
            self.presences.entry(key).and_modify(|p| p.cosigned(size));
        }
        if !is_current {
            return Ok(false);
        }
        self.current = Some((size, note));
        if !opened.has_quorum() {
            return Ok(false);
        }
        let bytes = opened.note().encode();
        // Published, then kept (A30): a kept note above the published one would look like a checkpoint that was put back.
        durable::replace(&log.root().join(CHECKPOINT_PATH), &bytes)?;
        durable::write_new(&log.root().join(note_path(size)), &bytes)?;
        (self.published, self.latest, self.current) = (size, bytes, None);
        (self.uncovered, self.waiting) = (None, None);
        Ok(true)
    }
}

/// The usual policy of a federation: all members in good standing are witnesses, `⌊(n+f)/2⌋+1` of them a quorum (A11).
pub(crate) fn compose(history: &History) -> Option<Policy> {
    let log: VerifierKey = history.trust().log_vkey.parse().ok()?;
    let witnesses: Vec<Witness> = history
        .active()
        // A witness that was revoked is in no policy until its institution has another one.
        .filter(|(_, m)| m.cosigns(m.witness()))
        .take(audit::policy::MAX_WITNESSES)
        .map(|(_, m)| Some(Witness { name: m.name.clone(), key: m.witness_vkey.parse().ok()? }))
        .collect::<Option<_>>()?;
    Policy::compose(&log, &witnesses, Some(default_quorum(witnesses.len()))).ok()
}

/// Where an artefact lies in a log's directory.
pub(crate) fn artefact_path(root: &Path, hash: &Sha256) -> std::path::PathBuf {
    let hex = hash.to_hex();
    root.join("artefacts").join(&hex[..2]).join(hex)
}

/// A note under the witnesses of a policy and the key of the log that signs a tree of its size.
fn open_at(policy: &Policy, log: &Log, note: Note) -> Option<Opened> {
    let size = note.text().parse::<Checkpoint>().ok()?.head.size;
    policy.with_log(log.keys().at(size)).ok()?.open_note(note).ok()
}

/// The policy that the log says is in force; its file is written again if a crash came before it was. Where a key of the log took over under it,
/// it goes on with that key in it (A12, A14).
fn read_policy(log: &Log) -> io::Result<Option<Policy>> {
    let Some((hash, index)) = log.history().policy() else { return Ok(None) };
    let from = index.0 + 1;
    let bytes = durable::read_limited(&artefact_path(log.root(), &hash), audit::policy::MAX_POLICY_BYTES as u64)?;
    durable::write_new(&log.root().join(policy_path(from)), &bytes)?;
    let Some(mut policy) = std::str::from_utf8(&bytes).ok().and_then(|t| Policy::parse(t).ok()) else { return Ok(None) };
    for (size, key) in log.keys().handovers().filter(|(size, _)| *size > from) {
        policy = policy.with_log(key).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        durable::write_new(&log.root().join(policy_path(size)), policy.text().as_bytes())?;
    }
    Ok(Some(policy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use audit::cosign::cosign;
    use audit::key::{KeyType, SignerKey};
    use audit::note::write_lines;
    use protocol::entry::{Draft, Facts};
    use protocol::hash::sha256;
    use protocol::ids::TokenId;

    fn publisher() -> Publisher {
        let log = SignerKey::new("demo/log", KeyType::Note, &[1; 32]).unwrap();
        let witness = SignerKey::new("w1", KeyType::Cosignature, &[2; 32]).unwrap();
        let named = [Witness { name: "w1".into(), key: witness.verifier().clone() }];
        Publisher { policy: Policy::compose(log.verifier(), &named, Some(1)).ok(), published: 5, wanted: 5, ..Publisher::default() }
    }

    #[test]
    fn entries_that_nobody_waits_for_are_covered_once_a_minute() {
        let mut p = publisher();
        let at = |seconds: u64| Time(1_000_000 + seconds * 1000);
        assert!(!p.passes(at(0), 5) && p.wanted == 5, "nothing new");
        // Two denials, twenty seconds apart: one checkpoint, a minute after the first.
        p.passes(at(10), 6);
        p.passes(at(30), 7);
        p.passes(at(69), 7);
        assert_eq!(p.wanted, 5);
        p.passes(at(70), 7);
        assert_eq!(p.wanted, 7);
        // Under a checkpoint the clock starts again with the next entry.
        (p.published, p.uncovered) = (7, None);
        p.passes(at(71), 7);
        p.passes(at(500), 8);
        p.passes(at(559), 8);
        assert_eq!(p.wanted, 7);
        p.passes(at(560), 8);
        assert_eq!(p.wanted, 8);
    }

    #[test]
    fn a_quorum_that_does_not_come_is_an_alarm_once() {
        let mut p = publisher();
        let at = |minutes: u64| Time(minutes * 60_000);
        p.want(6);
        let alarms: Vec<u64> = (1..60).filter(|minute| p.passes(at(*minute), 6)).collect();
        assert_eq!(alarms, [16], "fifteen minutes after the first look");
        // A quorum came; the next wait is another one.
        (p.published, p.waiting) = (6, None);
        p.passes(at(60), 6);
        p.want(7);
        let alarms: Vec<u64> = (61..120).filter(|minute| p.passes(at(*minute), 7)).collect();
        assert_eq!(alarms, [76]);
    }

    #[test]
    fn without_a_policy_nothing_is_published() {
        let mut p = Publisher { policy: None, ..publisher() };
        assert!((0..100).all(|minute| !p.passes(Time(minute * 60_000), 9)));
        assert_eq!(p.wanted, 5);
    }

    fn witness(n: u8) -> SignerKey {
        SignerKey::new(&format!("w{n}"), KeyType::Cosignature, &[n; 32]).unwrap()
    }

    /// What this witness answers to the tree that the log has now.
    fn line(log: &Log, n: u8) -> String {
        let note = Note::parse(log.note()).unwrap();
        write_lines(&[cosign(&witness(n), 1_000, note.text()).unwrap()])
    }

    #[test]
    fn a_line_that_comes_after_a_restart_calls_nobody_back_but_its_witness() {
        let dir = tempfile::tempdir().unwrap();
        crate::init::init(dir.path(), "demo", &dir.path().join("admin.key")).unwrap();
        let (_, mut log, _) = crate::init::open(&Layout::new(dir.path())).unwrap();
        let named = [1, 2].map(|n| Witness { name: format!("w{n}"), key: witness(n).verifier().clone() });
        let policy = Policy::compose(log.key().verifier(), &named, Some(1)).unwrap();
        let (size, late) = (log.size(), line(&log, 2));
        let mut before = Publisher::default();
        before.adopt(policy.clone());
        before.want(size);
        before.start(&log, Time(0)).unwrap();
        assert!(before.cosigned(&log, size, &line(&log, 1)).unwrap(), "one is a quorum");
        // The next process begins with what was published, and shows a newer note.
        let mut after = Publisher { published: size, latest: before.latest, ..Publisher::default() };
        after.adopt(policy);
        log.append(&[Draft::server(Facts::MemberInvited { token: TokenId([1; 16]) })]).unwrap();
        after.want(log.size());
        after.start(&log, Time(0)).unwrap();
        assert!(!after.cosigned(&log, size, &late).unwrap());
        let second = Sha256(sha256(&[witness(2).verifier().to_string().as_bytes()]));
        assert_eq!(after.news(Time(1), |_| true), [News::Returned(second, size)]);
    }
}
