use std::time::Duration;

use super::certificate;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-expiring-soon",
    title: "a certificate in use expires within days",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_expiring_soon.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::each(facts, |place, leaf| {
        let left = certificate::ends_within(facts, place, leaf, config.certificates.expiring_soon_days)?;
        Some(certificate::finding(facts, place, leaf, &format!("expires in {left}")))
    })
}
