//! `recompute`.

use super::TROUBLE;
use super::args::RecomputeArgs;
use super::output::{Trouble, answer, trouble};
use crate::{Options, RecomputeError, Wanted, recompute};
use protocol::ids::{GroupId, RoundId};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

pub(super) fn recompute(args: &RecomputeArgs) -> u8 {
    let options = Options { trust_hash: args.trust_hash, ..Options::default() };
    let wanted = Wanted { task: args.task, round: RoundId(args.round), group: args.group.map(GroupId) };
    match recompute::recompute(&args.dir, &args.chunks, wanted, &options, &progress) {
        Ok(made) => {
            let data = serde_json::to_value(&made).unwrap_or(Value::Null);
            answer(args.format, made.exit_code == 0, &data, &recompute::render(&made));
            made.exit_code
        }
        Err(e) => {
            let code = if matches!(e, RecomputeError::Verify(_) | RecomputeError::Chunks(_)) { "bad_input" } else { "not_found" };
            trouble(args.format, Trouble { code, ..Trouble::input("A37") }, &e);
            TROUBLE
        }
    }
}

/// Blocks done, on one line of a terminal; nothing where nobody looks.
fn progress(group: GroupId, done: u64, all: u64) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let end = if done == all { "\n" } else { "" };
        write!(stderr, "\rgroup {group}: block {done} of {all}{end}").and_then(|()| stderr.flush()).unwrap_or(());
    }
}
