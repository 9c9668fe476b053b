//! `watch`.

use super::TROUBLE;
use super::args::WatchArgs;
use super::output::{Format, Trouble, answer, trouble};
use crate::watch::Watch;
use crate::{Severity, Verdict};
use serde_json::json;
use std::time::Duration;

fn tell(format: Format, v: &Verdict) {
    let cosigners = if v.quorum.cosigners.is_empty() { "nobody".to_owned() } else { v.quorum.cosigners.join(" ") };
    let text = format!("{} entries, {} findings, cosigned by {cosigners}: {}", v.tree_size, v.findings.len(), v.sentence());
    let data = json!({ "tree_size": v.tree_size, "root": v.root, "exit_code": v.exit_code, "quorum": v.quorum, "findings": v.findings,
        "equivocations": v.equivocations });
    answer(format, v.verified, &data, &text);
}

/// One line for each new checkpoint. Ends with the first that fails, or after so many.
pub(super) fn run(args: &WatchArgs) -> u8 {
    let mut watch = match Watch::new(&args.log.dir, args.log.options()) {
        Ok(watch) => watch,
        Err(e) => {
            trouble(args.format, Trouble::input("A39"), &e);
            return TROUBLE;
        }
    };
    let mut told = 0;
    loop {
        match watch.look() {
            Ok(None) => {}
            Ok(Some(verdict)) => {
                tell(args.format, &verdict);
                told += 1;
                let broken = [Severity::Integrity, Severity::Invariant].map(Severity::exit_code).contains(&verdict.exit_code);
                if broken || args.count.is_some_and(|count| told >= count) {
                    return verdict.exit_code;
                }
            }
            Err(e) => {
                trouble(args.format, Trouble::input("A39"), &e);
                return TROUBLE;
            }
        }
        std::thread::sleep(Duration::from_secs(args.every_s.max(1)));
    }
}
