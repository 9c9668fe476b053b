//! `evidence sidecar`: the name of this institution's dataset beside its own copy of the log, for whoever is given that copy, and away again
//! (audit.md A18). The log has a hash of it; no server and no other institution is told.

use super::answer::{Answer, Failure};
use super::evidence::opened;
use super::named_records;
use crate::config::Config;
use crate::data;
use crate::declared_policy;
use crate::files::{self, Item};
use crate::home::Home;
use crate::mirror::Mirror;
use crate::site_policy::SitePolicy;
use clap::Args;
use protocol::entry::LogEntry;
use protocol::ids::{ClientId, LeafIndex, Sha256};
use protocol::sidecar::{DIR, Sidecar, hidden, index_of, name_of};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct SidecarArgs {
    /// Erase it again: nothing in the log changes, and nobody finds the name in this copy any more
    #[arg(long)]
    erase: bool,
}

pub(super) fn run(home: &Home, args: &SidecarArgs, settings: impl FnOnce() -> Result<Config, Failure>) -> Result<Answer, Failure> {
    if args.erase {
        return erase(home);
    }
    let (identity, mirror) = opened(home)?;
    let (sidecar, entries) = told(home, &settings()?, &mirror, identity.client)?;
    for index in &entries {
        let path = dir(home).join(name_of(*index));
        files::replace(&path, &sidecar.to_bytes(), Item::Sidecar).map_err(|e| Failure::storage("storage_failed", &e))?;
    }
    let named: Vec<String> = entries.iter().map(ToString::to_string).collect();
    Ok(Answer::table([
        ("name", sidecar.value().to_owned()),
        ("told beside entries", named.join(", ")),
        ("directory", dir(home).display().to_string()),
        ("next", "whoever gets a copy of this mirror reads the name; evidence sidecar --erase takes it away again".to_owned()),
    ]))
}

fn dir(home: &Home) -> PathBuf {
    home.mirror().join(DIR)
}

/// The name of the dataset of the settings, and the entries in which it is hidden.
///
/// # Errors
/// [`Failure`], where no entry under a checkpoint declares it.
pub(super) fn told(home: &Home, config: &Config, mirror: &Mirror, me: ClientId) -> Result<(Sidecar, Vec<LeafIndex>), Failure> {
    let sidecar = data::sidecar(home, named_records(config)?).map_err(|e| Failure::trouble("bad_directory", &e))?;
    let entries = places(mirror, me, sidecar.committed())?;
    if entries.is_empty() {
        return Err(Failure::refused_text("not_declared", "no checkpoint of the log covers a declaration of these records yet")
            .hint("data.name of client.toml says which dataset is meant; concordat-client run declares it"));
    }
    Ok((sidecar, entries))
}

/// The SHA-256 of the site policy's file as it is now, and the entries in which it is hidden.
///
/// # Errors
/// [`Failure`], where no entry under a checkpoint declares it.
pub(super) fn told_policy(home: &Home, mirror: &Mirror, me: ClientId) -> Result<(Sidecar, Vec<LeafIndex>), Failure> {
    let (_, hash) = SitePolicy::read(&home.site_policy()).map_err(|e| Failure::trouble("bad_policy", &e))?;
    let sidecar = declared_policy::sidecar(home, hash).map_err(|e| Failure::trouble("bad_directory", &e))?;
    let entries = places(mirror, me, sidecar.committed())?;
    if entries.is_empty() {
        return Err(Failure::refused_text("not_declared", "no checkpoint of the log covers a declaration of this site policy yet")
            .hint("concordat-client run declares the policy that it begins with"));
    }
    Ok((sidecar, entries))
}

/// Where this institution's entries under a checkpoint have a hash that hides something.
fn places(mirror: &Mirror, me: ClientId, hash: Sha256) -> Result<Vec<LeafIndex>, Failure> {
    let mut entries = Vec::new();
    for entry in mirror.entries(mirror.published()) {
        let (index, bytes) = entry.map_err(|e| Failure::trouble("bad_mirror", &e))?;
        if LogEntry::parse(&bytes).is_ok_and(|e| e.institution == Some(me) && hidden(&e.facts) == Some(hash)) {
            entries.push(index);
        }
    }
    Ok(entries)
}

fn erase(home: &Home) -> Result<Answer, Failure> {
    let names = files::names(&dir(home), Item::Sidecar).map_err(|e| Failure::trouble("bad_mirror", &e))?;
    let ours: Vec<&String> = names.iter().filter(|n| index_of(n).is_some()).collect();
    for name in &ours {
        files::remove(&dir(home).join(name), Item::Sidecar).map_err(|e| Failure::storage("storage_failed", &e))?;
    }
    Ok(Answer::table([
        ("erased", ours.len().to_string()),
        ("next", "whoever was given a copy before has to erase it there too".to_owned()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erasing_takes_sidecars_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::new(root.path());
        let erased = |n: &str| format!("{:?}", erase(&home).unwrap()).contains(&format!("\"erased\", \"{n}\""));
        assert!(erased("0"), "nothing was told, nothing is to be erased");
        for name in ["7.json", "300.json", "note.txt"] {
            files::replace(&dir(&home).join(name), b"{}", Item::Sidecar).unwrap();
        }
        assert!(erased("2") && erased("0"));
        assert_eq!(files::names(&dir(&home), Item::Sidecar).unwrap(), ["note.txt"]);
    }
}
