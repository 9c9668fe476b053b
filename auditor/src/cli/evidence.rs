//! `verify-evidence`.

use super::TROUBLE;
use super::args::EvidenceArgs;
use super::output::{Trouble, answer, trouble};
use crate::evidence::{render, verify_evidence};
use serde_json::Value;

pub(super) fn run(args: &EvidenceArgs) -> u8 {
    match verify_evidence(&args.dir, args.trust_hash) {
        Ok(verdict) => {
            answer(args.format, verdict.verified, &serde_json::to_value(&verdict).unwrap_or(Value::Null), &render(&verdict));
            verdict.exit_code
        }
        Err(e) => {
            trouble(args.format, Trouble::input("A27"), &e);
            TROUBLE
        }
    }
}
