//! A report that an auditor reads (audit.md A43): one page that needs nothing else, from the log alone. Judges nothing that `verify` does not
//! judge; what it shows comes from the same verdict and the same fold.

mod duties;
mod events;
mod facts;
mod federation;
mod page;
mod plot;
mod privacy;
mod rights;
mod rounds;
mod verdict;

use crate::dir::Directory;
use crate::entries::{self, WalkError};
use crate::verdict::Verdict;
use crate::verify::{Options, VerifyError, verify_with};
use facts::{Chronicle, Facts};
use std::path::Path;

/// Language of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// 中文.
    Chinese,
}

impl Language {
    /// One of two phrasings. They stand side by side so that neither is changed alone.
    fn say<'a>(self, english: &'a str, chinese: &'a str) -> &'a str {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// There is no verdict.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The entries could not be read a second time.
    #[error(transparent)]
    Walk(#[from] WalkError),
}

/// Verifies the log in `dir` and tells what it says as one HTML page. A log that does not verify has a report too: it says so first.
///
/// # Errors
/// [`ReportError`].
///
/// # Privacy
/// Nothing but what stands in the log.
///
/// # Security
/// Names and texts of the log may be an attacker's: everything is escaped, the page has no script and loads nothing.
pub fn report(dir: &Path, options: &Options, language: Language) -> Result<(String, Verdict), ReportError> {
    let (verdict, facts) = verify_with(dir, options, |fold, _| Facts::of(fold))?;
    let mut chronicle = Chronicle::default();
    if facts.is_some() {
        let log = Directory::open(dir).map_err(WalkError::from)?;
        let root = verdict.root.as_deref().filter(|_| verdict.verified);
        let walked = entries::walk(&log, verdict.tree_size, root, |index, bytes| {
            chronicle.entry(index, bytes);
            Ok(())
        });
        match walked {
            // A log that does not verify may have holes; the verdict names them.
            Err(WalkError::NoBundle(_)) if !verdict.verified => {}
            other => other?,
        }
    }
    let facts = facts.unwrap_or_default();
    Ok((page::render(&page::Story { verdict: &verdict, facts: &facts, chronicle: &chronicle, language }), verdict))
}

#[cfg(test)]
mod rendered_tests;
#[cfg(test)]
mod tests;
