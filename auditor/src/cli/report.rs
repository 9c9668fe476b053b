//! `report`.

use super::TROUBLE;
use super::args::{ReportArgs, Tongue};
use super::output::{Trouble, answer, create, trouble};
use crate::report::{Language, report};
use serde_json::json;

pub(super) fn run(args: &ReportArgs) -> u8 {
    let language = match args.language {
        Tongue::En => Language::English,
        Tongue::Zh => Language::Chinese,
    };
    let (page, verdict) = match report(&args.log.dir, &args.log.options(), language) {
        Ok(made) => made,
        Err(e) => {
            trouble(args.format, Trouble::input("A43"), &e);
            return TROUBLE;
        }
    };
    if let Err(e) = create(&args.html, page.as_bytes()) {
        trouble(args.format, Trouble::output("A43"), &e);
        return TROUBLE;
    }
    let data = json!({"html": args.html, "bytes": page.len(), "verified": verdict.verified, "exit_code": verdict.exit_code});
    answer(args.format, verdict.verified, &data, &format!("{}\nthe report is in {}", verdict.sentence(), args.html.display()));
    verdict.exit_code
}
