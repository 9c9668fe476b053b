//! `watch`.

use super::TROUBLE;
use super::args::WatchArgs;
use super::output::{Format, Trouble, print, print_json, trouble};
use crate::watch::Watch;
use crate::{Severity, Verdict};
use serde_json::json;
use std::time::Duration;

fn tell(format: Format, v: &Verdict) {
    let cosigners = v.quorum.cosigners.join(" ");
    match format {
        Format::Table => print(&format!(
            "{} entries, {} findings, cosigned by {}: {}",
            v.tree_size,
            v.findings.len(),
            if cosigners.is_empty() { "nobody" } else { &cosigners },
            v.sentence()
        )),
        Format::Json => print_json(
            if v.verified { "ok" } else { "error" },
            "data",
            &json!({ "tree_size": v.tree_size, "root": v.root, "exit_code": v.exit_code, "quorum": v.quorum, "findings": v.findings,
                "equivocations": v.equivocations }),
        ),
    }
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
