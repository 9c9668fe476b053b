//! `evidence export`: what this institution hands to its own regulator (audit.md A27, A28): its declarations, spends and duties, each with a
//! proof that it stands in the log, the plans behind them, and on request its ledgers. `concordat-audit verify-evidence` checks the pack
//! without the rest of the log. No record or path is in it, and no name of data unless the institution tells it.

use super::answer::{Answer, Failure};
use super::ledger::mirror;
use super::not_joined;
use super::sidecar::{self, SidecarArgs};
use crate::config::Config;
use crate::files::{self, Item};
use crate::home::Home;
use crate::identity::Identity;
use crate::ledger::MAX_FILE;
use crate::mirror::Mirror;
use clap::{Args, Subcommand};
use protocol::entry::{Facts, LogEntry};
use protocol::ids::{ClientId, RoundId, TaskId};
use protocol::sidecar::{DIR, name_of};
use protocol::trust::TrustDocument;
use serde_json::json;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum EvidenceVerb {
    /// Write this institution's evidence for its regulator
    Export(ExportArgs),
    /// Tell the name of this institution's dataset, which the log has as a hash, beside its own copy of the log; or erase it there again
    Sidecar(SidecarArgs),
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Directory to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Add the privacy ledgers themselves, whose heads the log states
    #[arg(long)]
    with_ledger: bool,
    /// Add the site log, whose roots are anchored in the federation's log
    #[arg(long)]
    with_site_log: bool,
    /// Tell the name of the dataset of the settings, which the log has as a hash
    #[arg(long)]
    with_name: bool,
    /// Tell the SHA-256 of the site policy's file as it is now, which the log has hidden behind another hash
    #[arg(long)]
    with_policy: bool,
}

pub(super) fn run(home: &Home, verb: &EvidenceVerb, settings: impl FnOnce() -> Result<Config, Failure>) -> Result<Answer, Failure> {
    match verb {
        EvidenceVerb::Export(args) => export(home, args, settings),
        EvidenceVerb::Sidecar(args) => sidecar::run(home, args, settings),
    }
}

/// Who this institution is, and its copy of the log.
pub(super) fn opened(home: &Home) -> Result<(Identity, Mirror), Failure> {
    let identity = Identity::load(home).map_err(|e| not_joined(&e))?;
    let mirror =
        mirror(home)?.ok_or_else(|| Failure::trouble_text("no_log", "there is no copy of the log yet; run concordat-client run"))?;
    Ok((identity, mirror))
}

fn export(home: &Home, args: &ExportArgs, settings: impl FnOnce() -> Result<Config, Failure>) -> Result<Answer, Failure> {
    let (identity, mirror) = opened(home)?;
    // Before anything is written: what cannot be told leaves no half pack.
    let mut told = Vec::new();
    if args.with_name {
        told.push(sidecar::told(home, &settings()?, &mirror, identity.client)?);
    }
    if args.with_policy {
        told.push(sidecar::told_policy(home, &mirror, identity.client)?);
    }
    let pack = Pack { home, mirror: &mirror, me: identity.client, out: &args.out };
    let entries = pack.write(&identity)?;
    if args.with_ledger {
        pack.ledgers()?;
    }
    if args.with_site_log {
        pack.site_log()?;
    }
    for (sidecar, entries) in told {
        for index in entries {
            let name = format!("{DIR}/{}", name_of(index));
            pack.put(&name, &sidecar.to_bytes()).map_err(|e| Failure::trouble("not_written", &io_error(e)))?;
        }
    }
    let (anchors, anchored) = anchors(&mirror, identity.client);
    Ok(Answer::table([
        ("directory", args.out.display().to_string()),
        ("entries", entries.to_string()),
        ("checkpoint", mirror.published().to_string()),
        ("anchors of the site log", anchors_in_words(anchors, anchored)),
        ("check with", format!("concordat-audit verify-evidence {}", args.out.display())),
    ])
    .with_data(
        &json!({ "out": args.out, "entries": entries, "size": mirror.published(), "anchors": anchors, "anchored_entries": anchored }),
    ))
}

/// Anchors of this institution's site log under the newest checkpoint, and the entries that the last one covers.
fn anchors(mirror: &Mirror, me: ClientId) -> (u64, u64) {
    let covered = mirror.history().anchors(me).iter().filter(|(index, _)| index.0 < mirror.published());
    covered.fold((0, 0), |(count, _), (_, anchor)| (count + 1, anchor.size))
}

/// A pack that is made just after a connection was made again may be older than the last anchor: whoever reads it must know.
fn anchors_in_words(count: u64, entries: u64) -> String {
    match count {
        0 => "none: the mirror's newest checkpoint covers no anchor yet; keep the client connected until the next one, then export again"
            .to_owned(),
        _some => format!("{count}, the last one over {entries} entries; what the site log says later is anchored by nothing in this pack"),
    }
}

/// A pack while it is written.
struct Pack<'a> {
    home: &'a Home,
    mirror: &'a Mirror,
    me: ClientId,
    out: &'a Path,
}

/// Rounds in which this institution had an accepted update.
type Rounds = BTreeSet<(TaskId, RoundId)>;

impl Pack<'_> {
    fn write(&self, identity: &Identity) -> Result<u64, Failure> {
        let broken = |e| Failure::trouble("not_written", &io_error(e));
        let damaged = |e| Failure::trouble("bad_mirror", &e);
        std::fs::create_dir(self.out).map_err(broken)?;
        let rounds = self.rounds();
        let mut written = 0;
        for entry in self.mirror.entries(self.mirror.published()) {
            let (index, bytes) = entry.map_err(damaged)?;
            if LogEntry::parse(&bytes).is_ok_and(|e| self.concerns(&e, &rounds)) {
                let Some(receipt) = self.mirror.receipt(index).map_err(damaged)? else { continue };
                let bytes = receipt.encode().map_err(|e| Failure::trouble("bad_mirror", &e))?;
                self.put(&format!("entries/{:020}.receipt", index.0), &bytes).map_err(broken)?;
                written += 1;
            }
        }
        let trust = files::read(&self.home.mirror().join("trust.json"), TrustDocument::MAX_BYTES, Item::TrustDocument)
            .map_err(|e| Failure::trouble("bad_mirror", &e))?;
        self.put("trust.json", &trust).map_err(broken)?;
        let policy = self.mirror.policy_text().ok_or_else(|| Failure::trouble_text("no_policy", "no witness policy is in force yet"))?;
        self.put("policy.txt", policy.as_bytes()).map_err(broken)?;
        self.plans(&rounds)?;
        let about = json!({ "format": "concordat-evidence/v1", "federation": identity.federation, "institution": self.me,
            "name": identity.institution, "trust": TrustDocument::hash(&trust), "size": self.mirror.published() });
        self.put("evidence.json", format!("{about:#}\n").as_bytes()).map_err(broken)?;
        Ok(written)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.out.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, bytes)
    }

    fn rounds(&self) -> Rounds {
        let own = self.mirror.history().datasets().iter().filter(|((who, _), _)| *who == self.me);
        own.flat_map(|(_, d)| d.spends.iter().map(|r| (r.task, r.round))).collect()
    }

    /// Everything that names this institution; what everybody's standing rests on; and how the rounds ended that it paid for.
    fn concerns(&self, e: &LogEntry, rounds: &Rounds) -> bool {
        let own_round = e.task.zip(e.round).is_some_and(|at| rounds.contains(&at));
        let of_round = matches!(
            e.facts,
            Facts::SetCertified { .. } | Facts::SumOpened { .. } | Facts::RoundClosed { .. } | Facts::RoundAbandoned { .. }
        );
        let of_all = matches!(
            e.facts,
            Facts::FederationCreated { .. }
                | Facts::TrustChanged { .. }
                | Facts::PolicyActivated { .. }
                | Facts::TaskApproved { .. }
                | Facts::TaskOpened { .. }
        );
        e.institution == Some(self.me) || (own_round && of_round) || of_all
    }

    fn plans(&self, rounds: &Rounds) -> Result<(), Failure> {
        let tasks: BTreeSet<TaskId> = rounds.iter().map(|(task, _)| *task).collect();
        for task in tasks.iter().filter_map(|t| self.mirror.history().task(*t)) {
            let digest = task.plan_digest();
            let Some(bytes) = self.mirror.plan_bytes(digest).map_err(|e| Failure::trouble("bad_mirror", &e))? else { continue };
            self.put(&format!("plans/{digest}.cbor"), &bytes).map_err(|e| Failure::trouble("not_written", &io_error(e)))?;
        }
        Ok(())
    }

    fn site_log(&self) -> Result<(), Failure> {
        let bytes = files::read(&self.home.site_log(), crate::site_log::MAX_FILE, Item::SiteLog);
        let bytes = bytes.map_err(|e| Failure::trouble("bad_directory", &e))?;
        self.put("site/log.jsonl", &bytes).map_err(|e| Failure::trouble("not_written", &io_error(e)))
    }

    fn ledgers(&self) -> Result<(), Failure> {
        let trouble = |e| Failure::trouble("bad_directory", &e);
        for name in files::names(&self.home.ledger_dir(), Item::Ledger).map_err(trouble)?.iter().filter(|n| n.ends_with(".ledger")) {
            let bytes = files::read(&self.home.ledger_dir().join(name), MAX_FILE, Item::Ledger).map_err(trouble)?;
            self.put(&format!("ledger/{name}"), &bytes).map_err(|e| Failure::trouble("not_written", &io_error(e)))?;
        }
        Ok(())
    }
}

/// Why the pack could not be written: the user named the directory, so its state may be told.
#[derive(Debug, thiserror::Error)]
#[error("the evidence cannot be written there; name a directory that does not exist yet")]
struct NotWritten(#[source] io::Error);

fn io_error(e: io::Error) -> NotWritten {
    NotWritten(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_without_anchors_says_what_to_do() {
        assert!(anchors_in_words(0, 0).contains("export again"));
        assert!(anchors_in_words(2, 9).starts_with("2, the last one over 9 entries"));
    }
}
