//! `privacy`: figures for planning (privacy.md D54), ledgers (D65), releases (D28), statements (D68) and the empirical audit (D70).

use super::answer::{Answer, Failure};
use super::ledger::{self, LedgerArgs};
use super::privacy_audit::{self, AuditArgs};
use super::privacy_figures::{self, CalibrateArgs, EpsilonArgs};
use super::release::{self, ReleaseArgs};
use super::statement::{self, StatementArgs};
use crate::config::Config;
use crate::home::Home;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum PrivacyVerb {
    /// Epsilon of a number of noised steps
    Epsilon(EpsilonArgs),
    /// Noise multiplier that keeps a number of steps within an epsilon
    Calibrate(CalibrateArgs),
    /// The institution's privacy ledgers
    Ledger(LedgerArgs),
    /// A count of this institution's records, with noise that its ledger pays for
    Release(ReleaseArgs),
    /// What this institution promises about its records in one task
    Statement(StatementArgs),
    /// Look for less privacy than is claimed: statistics of the noise, attacks on the mechanism, on a run and on a trained model
    Audit(AuditArgs),
}

/// `settings` are read only where a verb needs the institution's records.
pub(super) fn run(home: &Home, verb: &PrivacyVerb, settings: &dyn Fn() -> Result<Config, Failure>) -> Result<Answer, Failure> {
    match verb {
        PrivacyVerb::Epsilon(args) => privacy_figures::epsilon(args),
        PrivacyVerb::Calibrate(args) => privacy_figures::calibrate(*args),
        PrivacyVerb::Ledger(args) => ledger::run(home, args),
        PrivacyVerb::Release(args) => release::run(home, args, &settings()?),
        PrivacyVerb::Statement(args) => statement::run(home, args),
        PrivacyVerb::Audit(args) => privacy_audit::run(home, args, settings),
    }
}
