//! `prove` and `proof check`: proofs that travel without the log they are about.

use super::args::{CheckArgs, ProveArgs};
use super::log::cannot_show;
use super::output::{Trouble, answer, chain, create, trouble};
use super::{REFUSED, TROUBLE};
use crate::dir::{ReadError, read_file};
use crate::show::show;
use audit::MAX_ENTRY_BYTES;
use audit::fork::{ForkProof, MAX_FORK_BYTES};
use audit::hash::leaf_hash;
use audit::key::VerifierKey;
use audit::policy::{MAX_POLICY_BYTES, Opened, Policy};
use audit::proof::{MAX_PROOF_BYTES, ProofFormatError, Receipt, TlogProof};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(super) fn prove(args: &ProveArgs) -> u8 {
    let mut made = Vec::new();
    for &index in &args.indices {
        let shown = match show(&args.dir, index, true) {
            Ok(shown) => shown,
            Err(e) => return cannot_show(args.format, &e),
        };
        let Some(proof) = shown.proof else { continue };
        let (at, beside) = (args.out.join(format!("{index}.tlog-proof")), args.out.join(format!("{index}.entry")));
        let written =
            std::fs::create_dir_all(&args.out).and_then(|()| create(&at, &proof.encode())).and_then(|()| create(&beside, &shown.entry));
        if let Err(e) = written {
            trouble(args.format, Trouble::output("A13"), &e);
            return TROUBLE;
        }
        made.push(json!({"index": index, "leaf_hash": shown.leaf_hash, "hashes": proof.inclusion.0.len(), "proof": at, "entry": beside}));
    }
    let text = format!("{} proofs are in {}; each goes with its .entry file", made.len(), args.out.display());
    answer(args.format, true, &json!({ "proofs": made }), &text);
    0
}

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
enum Unchecked {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{} is not there", .0.display())]
    Absent(PathBuf),
    #[error("a proof of an entry is judged by the log's policy: give it with --policy")]
    NoPolicy,
    #[error("the policy cannot be read")]
    Policy(#[source] audit::policy::PolicyError),
    #[error("the log's key cannot be read")]
    Key(#[source] audit::key::KeyError),
    #[error("the file is no tlog-proof, no receipt and no proof of a fork")]
    Format(#[from] ProofFormatError),
}

fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Unchecked> {
    read_file(path, limit)?.ok_or_else(|| Unchecked::Absent(path.to_owned()))
}

pub(super) fn check(args: &CheckArgs) -> u8 {
    match judge(args) {
        Ok(Judged { holds, data, text }) => {
            answer(args.format, holds, &data, &text);
            if holds { 0 } else { REFUSED }
        }
        Err(e) => {
            trouble(args.format, Trouble::input("A39"), &e);
            TROUBLE
        }
    }
}

/// Whether a proof holds, and what it then says.
struct Judged {
    holds: bool,
    data: Value,
    text: String,
}

fn judge(args: &CheckArgs) -> Result<Judged, Unchecked> {
    let bytes = read(&args.file, MAX_FORK_BYTES.max(MAX_PROOF_BYTES + MAX_ENTRY_BYTES))?;
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
    if bytes.starts_with(b"{") {
        return judge_fork(args, &bytes, policy.as_ref());
    }
    let policy = policy.ok_or(Unchecked::NoPolicy)?;
    let (proof, entry) = if bytes.starts_with(b"c2sp.org/tlog-proof") {
        let beside = args.entry.clone().unwrap_or_else(|| args.file.with_extension("entry"));
        (TlogProof::parse(&bytes)?, read(&beside, MAX_ENTRY_BYTES)?)
    } else {
        let receipt = Receipt::parse(&bytes)?;
        (receipt.proof, receipt.entry)
    };
    Ok(judge_entry(&proof, &entry, &policy))
}

fn read_policy(path: &Path) -> Result<Policy, Unchecked> {
    let bytes = read(path, MAX_POLICY_BYTES)?;
    Policy::parse(&String::from_utf8_lossy(&bytes)).map_err(Unchecked::Policy)
}

fn names(policy: &Policy, opened: &Opened) -> Vec<String> {
    let signed = |w: &&audit::policy::Witness| opened.cosigners().contains_key(&w.key.public());
    policy.witnesses().iter().filter(signed).map(|w| w.name.clone()).collect()
}

fn judge_entry(proof: &TlogProof, entry: &[u8], policy: &Policy) -> Judged {
    let (index, leaf, hashes) = (proof.index, leaf_hash(entry).to_string(), proof.inclusion.0.len());
    match proof.verify(policy, entry) {
        Ok(opened) => {
            let (size, cosigners) = (opened.checkpoint().head.size, names(policy, &opened));
            let log = policy.log().to_string();
            let text = format!(
                "Proved: this is entry {index} of the log {log},\nunder a checkpoint of size {size} cosigned by {}.\nleaf {leaf}",
                cosigners.join(", ")
            );
            let data = json!({"kind": "entry", "holds": true, "index": index, "leaf_hash": leaf, "hashes": hashes, "size": size,
                "cosigners": cosigners, "log": log});
            Judged { holds: true, data, text }
        }
        Err(e) => {
            let reason = chain(&e);
            let data = json!({"kind": "entry", "holds": false, "index": index, "leaf_hash": leaf, "reason": reason});
            Judged { holds: false, data, text: format!("NOT PROVED: {reason}") }
        }
    }
}

fn judge_fork(args: &CheckArgs, bytes: &[u8], policy: Option<&Policy>) -> Result<Judged, Unchecked> {
    let proof = match ForkProof::parse(bytes) {
        Ok(proof) => proof,
        Err(e) => return Ok(no_fork(&e)),
    };
    let parse = |vkey: &String| vkey.parse::<VerifierKey>().map_err(Unchecked::Key);
    let mut given = args.log_key.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    given.extend(policy.map(|policy| policy.log().clone()));
    let stated = || [Some(&proof.log), proof.second_log.as_ref()].into_iter().flatten();
    let known = if given.is_empty() { stated().map(parse).collect::<Result<Vec<_>, _>>()? } else { given.clone() };
    Ok(match proof.check_by(&known, policy) {
        Ok(fork) => {
            let key = stated().cloned().collect::<Vec<_>>().join(" and, after a handover, ");
            let compared = if given.is_empty() { "in the proof: COMPARE with what you were told" } else { "as given" };
            let text = format!(
                "PROVED: the log told two stories. It signed root {}\nand, in a later note, root {} for size {}.\nThey are signed by {key} ({compared}).\n{}",
                fork.first_root,
                fork.second_root,
                fork.size,
                vouched(&fork.cosigned_both)
            );
            let mut data = serde_json::to_value(&fork).unwrap_or(Value::Null);
            if let Some(data) = data.as_object_mut() {
                data.extend([("kind".to_owned(), json!("fork")), ("holds".to_owned(), json!(true))]);
                data.extend([("log".to_owned(), json!(proof.log)), ("second_log".to_owned(), json!(proof.second_log))]);
                data.extend([("key_given".to_owned(), json!(!given.is_empty()))]);
            }
            Judged { holds: true, data, text }
        }
        Err(e) => no_fork(&e),
    })
}

fn vouched(both: &[String]) -> String {
    if both.is_empty() {
        "No witness of the policy given cosigned both.".to_owned()
    } else {
        format!("Cosigned both: {}.", both.join(", "))
    }
}

fn no_fork(e: &audit::fork::NoFork) -> Judged {
    let data = json!({"kind": "fork", "holds": false, "reason": e.to_string()});
    Judged { holds: false, data, text: format!("NOT PROVED: {e}") }
}
