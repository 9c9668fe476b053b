//! A review of a part of a log, signed by whoever made it (audit.md A39, A45): the record that somebody examined what was recorded.
//! The findings stay with the reviewer; their hash goes into the log. Knows no key file.

use crate::finding::{Finding, Place};
use crate::verdict::Verdict;
use ed25519_dalek::SigningKey;
use protocol::codec;
use protocol::hash::sha256;
use protocol::ids::Sha256;
use protocol::release::Review;
use protocol::statement::Statement;
use serde::Serialize;

/// What a reviewer keeps: hashed as these exact bytes.
#[derive(Serialize)]
struct Findings<'a> {
    format: &'static str,
    federation: &'a Option<String>,
    tree_size: u64,
    root: &'a Option<String>,
    first: u64,
    last: u64,
    exit_code: u8,
    findings: Vec<&'a Finding>,
    not_verified: &'a [&'static str],
}

/// A review, ready to be kept and to be handed to the server.
pub struct Signed {
    /// The findings, as the reviewer keeps them.
    pub findings: Vec<u8>,
    /// The statement's bytes, as `concordat-server review` takes them.
    pub statement: Vec<u8>,
    /// What it says.
    pub review: Review,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoReview {
    /// The log's integrity fails, or it is not whole: nobody can say what was examined.
    #[error("the log's integrity fails or entries are missing: a review would speak about nothing that stands")]
    NotWhole,
    /// Entries that are not there.
    #[error("entries {first} to {last} are not all below the checkpoint, which covers {size}")]
    Beyond {
        /// First one asked for.
        first: u64,
        /// Last one asked for.
        last: u64,
        /// Entries covered.
        size: u64,
    },
}

/// Signs what a verification of the whole log found about entries `first` to `last`, and about files.
///
/// # Errors
/// [`NoReview`].
pub fn sign(verdict: &Verdict, (first, last): (u64, u64), key: &SigningKey) -> Result<Signed, NoReview> {
    let whole = verdict.exit_code != crate::Severity::Integrity.exit_code() && verdict.entries == verdict.tree_size;
    let hash = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<Sha256>().ok());
    let (true, Some(trust), Some(root)) = (whole, hash(&verdict.trust_hash), hash(&verdict.root)) else {
        return Err(NoReview::NotWhole);
    };
    let size = verdict.tree_size;
    if first > last || last >= size {
        return Err(NoReview::Beyond { first, last, size });
    }
    let concerns = |f: &&Finding| match f.place {
        Place::Index(index) => (first..=last).contains(&index),
        Place::Path(_) => true,
    };
    let kept = Findings {
        format: "concordat-review/v1",
        federation: &verdict.federation,
        tree_size: size,
        root: &verdict.root,
        first,
        last,
        exit_code: verdict.exit_code,
        findings: verdict.findings.iter().filter(concerns).collect(),
        not_verified: &verdict.not_verified,
    };
    let mut findings = serde_json::to_vec_pretty(&kept).map_err(|_| NoReview::NotWhole)?;
    findings.push(b'\n');
    let hash = Sha256(sha256(&[&findings]));
    let review = Review { trust, first, last, size, root, findings: hash, exit_code: verdict.exit_code };
    Ok(Signed { findings, statement: codec::encode(&Statement::sign(&review, key)), review })
}
