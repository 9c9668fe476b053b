//! `verify` and `show`.

use super::args::{ShowArgs, VerifyArgs};
use super::output::{Format, Trouble, answer, print, print_json, trouble};
use super::{REFUSED, TROUBLE};
use crate::show::ShowError;
use crate::{show, table};
use serde_json::{Value, json};

pub(super) fn verify(args: &VerifyArgs) -> u8 {
    match super::sums::verify(args) {
        Ok(verdict) => {
            let data = serde_json::to_value(&verdict).unwrap_or(Value::Null);
            answer(args.format, verdict.verified, &data, &table::render(&verdict));
            verdict.exit_code
        }
        Err(e) => {
            trouble(args.format, Trouble::input("A38"), &e);
            TROUBLE
        }
    }
}

/// An entry that its checkpoint does not cover is checked and false; the rest is trouble with what was given.
pub(super) fn cannot_show(format: Format, e: &ShowError) -> u8 {
    trouble(format, Trouble { code: "not_shown", clause: "A39", hint: "see `concordat-audit verify`" }, e);
    if matches!(e, ShowError::Unproved(_)) { REFUSED } else { TROUBLE }
}

pub(super) fn show(args: &ShowArgs) -> u8 {
    let shown = match show::show(&args.dir, args.index, args.proof) {
        Ok(shown) => shown,
        Err(e) => return cannot_show(args.format, &e),
    };
    let proof = shown.proof.map(|p| String::from_utf8_lossy(&p.encode()).into_owned());
    let text = String::from_utf8_lossy(&shown.entry).into_owned();
    match args.format {
        Format::Table => print(&[Some(text), proof].into_iter().flatten().collect::<Vec<_>>().join("\n\n")),
        Format::Json => {
            let entry: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            print_json("ok", "data", &json!({"entry": entry, "leaf_hash": shown.leaf_hash, "proof": proof}));
        }
    }
    0
}
