//! `diff`.

use super::args::DiffArgs;
use super::output::{Format, Trouble, answer, create, tell, trouble};
use super::{REFUSED, TROUBLE};
use crate::diff::{self, Relation};
use serde_json::Value;

pub(super) fn diff(args: &DiffArgs) -> u8 {
    let difference = match diff::diff(&args.a, &args.b) {
        Ok(difference) => difference,
        Err(e) => {
            trouble(args.format, Trouble::input("A39"), &e);
            return TROUBLE;
        }
    };
    if let (Some(path), Some(proof)) = (&args.out, &difference.proof) {
        if let Err(e) = create(path, &proof.to_bytes()) {
            trouble(args.format, Trouble::output("A39"), &e);
            return TROUBLE;
        }
        if args.format == Format::Table {
            tell(&format!("the proof is in {}; check it with `concordat-audit proof check`", path.display()));
        }
    }
    let forked = difference.relation == Relation::Forked;
    answer(args.format, !forked, &serde_json::to_value(&difference).unwrap_or(Value::Null), &diff::render(&difference));
    if forked { REFUSED } else { 0 }
}
