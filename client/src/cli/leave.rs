//! `leave`: the institution leaves its federation. Parses, calls, prints; knows no connection.

use super::answer::{Answer, Failure};
use super::{not_joined, runtime};
use crate::leave::{LeaveError, leave};
use crate::link::LinkError;
use clap::Args;
use protocol::membership::StandingReason;
use std::path::Path;

#[derive(Debug, Args)]
pub(super) struct Leave {
    /// Why: key-compromise, incident, misconduct, agreement, inactive, request, resolved, mistake
    #[arg(long, default_value = "request", value_name = "CODE", value_parser = reason)]
    reason: StandingReason,
    /// Yes, for good
    #[arg(long)]
    yes: bool,
}

fn reason(text: &str) -> Result<StandingReason, &'static str> {
    StandingReason::from_name(text).ok_or("not one of the codes")
}

pub(super) fn run(dir: &Path, options: &Leave) -> Result<Answer, Failure> {
    if !options.yes {
        return Err(Failure::trouble_text("not_confirmed", "leaving cannot be undone").hint("say --yes to leave for good"));
    }
    let left = runtime()?.block_on(leave(dir, options.reason)).map_err(|e| failure(&e))?;
    let shown =
        if left.is_mirrored { "this institution's mirror of the log" } else { "nobody but the server: ask another member for the entry" };
    Ok(Answer::table([
        ("left by entry", left.index.0.to_string()),
        ("shown by", shown.to_owned()),
        ("next", "keep this directory: its mirror and its ledger are the record of what was done and spent".to_owned()),
    ]))
}

fn failure(error: &LeaveError) -> Failure {
    match error {
        LeaveError::Store(e) if e.is_absent() => not_joined(error),
        LeaveError::Store(_) | LeaveError::Keys(_) | LeaveError::Entropy(_) => {
            Failure::trouble("bad_directory", error).hint("end concordat-client run first: one process uses the directory at a time")
        }
        LeaveError::Link(LinkError::Barred(_)) => {
            Failure::refused("membership_over", error).hint("whoever is suspended asks the administrators to revoke its membership")
        }
        LeaveError::Link(LinkError::NoMember) => {
            Failure::refused("not_enrolled", error).hint("if the TLS key was revoked, give concordat-client keys rotate first")
        }
        LeaveError::Link(_) | LeaveError::Interrupted(_) => {
            Failure::unreachable("not_reachable", error).hint("run the same command again: what is said twice is entered once")
        }
        LeaveError::Rejected(reason) => Failure::refused(reason.name(), error),
        LeaveError::NotMember => Failure::refused("not_enrolled", error),
        LeaveError::Mirror(_) | LeaveError::FalseReceipt => Failure::refused("log_contradicts", error),
    }
}
