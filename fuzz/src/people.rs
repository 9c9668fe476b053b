//! Files that people write for server and clients: plans, settings, a site's policy.

use client::central::CentralPlan;
use client::site_policy::{OwnEpsilonCap, SitePolicy};
use protocol::decimal::Decimal;
use server::plan_file::{AnyPlanFile, CountFile, PlanFile};
use std::path::Path;

/// Plan files are of one kind or none.
pub fn plan_files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (trains, counts) = (PlanFile::parse(text).is_ok(), CountFile::parse(text).is_ok());
    match AnyPlanFile::parse(text) {
        Ok(AnyPlanFile::Train(_)) => assert!(trains && !counts),
        Ok(AnyPlanFile::Count(_)) => assert!(counts && !trains),
        Err(_) => assert!(!trains && !counts),
    }
    if CentralPlan::parse(text).is_ok() {
        assert!(!trains && !counts, "a federation's plan would be trained without its noise");
    }
}

/// Settings of both programs lie inside their limits, and none of them is a number of the plan's.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = client::config::Config::parse(text) {
        assert!((1..=3600).contains(&config.reconnect_max.as_secs()) && config.tier.is_none_or(|tier| !tier.is_empty()));
        assert!(config.data.is_none_or(|data| !data.name.is_empty() && !data.text_field.is_empty() && !data.label_field.is_empty()));
    }
    if let Ok(config) = server::config::Config::parse(text, Path::new("server.toml")) {
        assert!((2..=10_000).contains(&config.max_connections) && config.receive_memory_bytes >= 8 << 20);
    }
}

/// A policy states limits that limit something.
pub fn policies(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policy) = SitePolicy::parse(text) else { return };
    assert!(policy.max_eps_total > Decimal::ZERO && policy.min_noise_multiplier > Decimal::ZERO && policy.cohort_min >= 2);
    assert!(policy.max_delta > Decimal::ZERO && policy.max_delta < Decimal::ONE);
    assert!(!matches!(policy.own_epsilon_cap, Some(OwnEpsilonCap::AtMost(cap)) if cap == Decimal::ZERO));
}
