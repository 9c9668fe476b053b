//! `verify-model`.

use super::TROUBLE;
use super::args::ModelArgs;
use super::output::{Trouble, answer, trouble};
use crate::model::{Given, render, verify_model};
use serde_json::Value;

pub(super) fn run(args: &ModelArgs) -> u8 {
    let options = crate::Options { trust_hash: args.trust_hash, ..crate::Options::default() };
    let given = Given { public_key: args.public_key.clone(), log: args.log.clone(), options };
    match verify_model(&args.dir, &given) {
        Ok(verdict) => {
            answer(args.format, verdict.verified, &serde_json::to_value(&verdict).unwrap_or(Value::Null), &render(&verdict));
            verdict.exit_code
        }
        Err(e) => {
            trouble(args.format, Trouble::input("A44"), &e);
            TROUBLE
        }
    }
}
