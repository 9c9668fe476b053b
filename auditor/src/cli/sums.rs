//! `recompute`, and `verify` where there is more than the log.

use super::TROUBLE;
use super::args::{RecomputeArgs, VerifyArgs};
use super::output::{Trouble, answer, trouble};
use crate::recompute::{Given, Tick};
use crate::{Options, RecomputeError, Verdict, Wanted, recompute};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::ids::{GroupId, RoundId};
use serde_json::Value;

/// Bar, blocks, time left, and which sum.
const TEMPLATE: &str = "{bar:30} {pos}/{len} blocks, {eta} left, {msg}";

pub(super) fn recompute(args: &RecomputeArgs) -> u8 {
    let options = Options { trust_hash: args.trust_hash, ..Options::default() };
    let wanted = Wanted { task: args.task, round: RoundId(args.round), group: args.group.map(GroupId) };
    let given = Given { chunks: Some(&args.chunks), sums: None, snapshots: args.snapshots.as_deref() };
    let bar = bar();
    let made = recompute::recompute(&args.dir, given, wanted, &options, &|tick| {
        // Rounds before the wanted one may be made again too: each group is a bar of its own.
        bar.set_length(tick.all);
        show(&bar, tick);
        bar.set_position(tick.done);
    });
    bar.finish_and_clear();
    match made {
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

/// Verifies a log with what else is given.
pub(super) fn verify(args: &VerifyArgs) -> Result<Verdict, RecomputeError> {
    let [sums, chunks, snapshots] = [&args.sums, &args.chunks, &args.snapshots].map(Option::as_deref);
    if (sums, chunks) == (None, None) {
        return Ok(crate::verify(&args.log.dir, &args.log.options())?);
    }
    let bar = bar();
    let total = |blocks| bar.set_length(blocks);
    let verdict = recompute::everything(&args.log.dir, Given { chunks, sums, snapshots }, &args.log.options(), &total, &|tick| {
        show(&bar, tick);
        bar.inc(1);
    });
    bar.finish_and_clear();
    verdict
}

/// On a terminal's stderr; nothing where nobody looks.
fn bar() -> ProgressBar {
    ProgressBar::no_length().with_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, tick: Tick) {
    bar.set_message(format!("round {}, group {}", tick.round, tick.group));
}
