//! `log`: what is done to the log's own files: recovered with no server running, handed out by one that runs.

use super::output::{Failure, Output};
use super::{Dir, call, unexpected};
use crate::admin::{AdminReply, AdminRequest};
use crate::durable;
use crate::layout::Layout;
use crate::recover::handout::hand_out;
use crate::recover::{OwnTail, RecoverError, recover};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum LogVerb {
    /// Build the log again from a copy of an institution's mirror, after files were lost or an old backup came back
    Recover(RecoverArgs),
    /// Hand out a copy of the log for an auditor, whole up to the newest checkpoint, on record
    ///
    /// The server must run: it says how far a quorum's checkpoint covers the log, and writes into the log that a copy of that much was handed out.
    /// The copy has what A2 lists, but for the server's own state and for sidecars.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    dir: Dir,
    /// Directory to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    #[command(flatten)]
    dir: Dir,
    /// A copy of an institution's `mirror` directory
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// A note, receipt or proof that the log signed and that the recovered log must reach, such as an institution's
    /// `witness/mirrored.note`; repeatable
    #[arg(long, value_name = "FILE")]
    note: Vec<PathBuf>,
    /// Give up entries of this server that no quorum of witnesses has seen and that the mirror contradicts: a backup that was started has
    /// begun such a history. They are kept in the old directory; whoever holds a receipt for one of them has an alarm
    #[arg(long)]
    give_up_own: bool,
    /// Where the proof goes if the mirror and the log's signed notes contradict each other
    #[arg(long, value_name = "FILE", default_value = "fork.json")]
    proof: PathBuf,
}

pub(super) fn run(verb: &LogVerb, output: &Output) -> Result<(), Failure> {
    let args = match verb {
        LogVerb::Recover(args) => args,
        LogVerb::Export(args) => return export(args, output),
    };
    let own = if args.give_up_own { OwnTail::GivenUp } else { OwnTail::Binds };
    let done = recover(&Layout::new(&args.dir.dir), &args.from, &args.note, own).map_err(|e| refuse(e, &args.proof))?;
    let kept = done.kept.as_ref().map_or_else(String::new, |path| format!("\nthe old directory is kept as {}", path.display()));
    let text = format!(
        "the log has {} entries again ({} were here); entry {} says so{kept}\nstart the server; a round that was under way will be abandoned",
        done.size, done.before, done.size
    );
    output.value(&json!({ "before": done.before, "size": done.size, "root": done.root, "kept": done.kept }), &text);
    Ok(())
}

fn export(args: &ExportArgs, output: &Output) -> Result<(), Failure> {
    if args.out.exists() {
        return Err(Failure::input(anyhow::anyhow!("{} is there already; name a directory to make", args.out.display())));
    }
    let AdminReply::Exported { size, index } = call(&args.dir.dir, &AdminRequest::ExportLog {})? else { return Err(unexpected()) };
    hand_out(&Layout::new(&args.dir.dir), size, &args.out).map_err(Failure::trouble)?;
    let shown = args.out.display();
    let text =
        format!("{size} entries are in {shown}; entry {index} says so\ncheck them with concordat-audit verify {shown} --trust-hash HASH");
    output.value(&json!({ "out": args.out, "size": size, "entry": index.0 }), &text);
    Ok(())
}

fn refuse(e: RecoverError, path: &Path) -> Failure {
    if let RecoverError::Forked { proof, .. } = &e {
        let written = durable::write_new(path, &proof.to_bytes());
        let shown = path.display();
        return match written {
            Ok(()) => Failure::checked(
                "forked",
                anyhow::Error::new(e).context(format!(
                    "the proof is in {shown}; anybody checks it with `concordat-audit proof check {shown}`. If this directory is an old \
                     backup that was started, --give-up-own recovers without what it began"
                )),
            ),
            Err(w) => Failure::checked(
                "forked",
                anyhow::Error::new(w).context(format!(
                    "the proof of a fork could not be written to {shown}; name a file that does not exist yet with --proof"
                )),
            ),
        };
    }
    if e.is_refusal() { Failure::checked("refused", e) } else { Failure::trouble(e) }
}
