use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-expiring",
    title: "a certificate in use expires within weeks",
    severity: Severity::Warning,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_expiring.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let days = &config.certificates;
    certificate::find(facts, Harm::Ahead, |place, certificate| {
        // What certificate-expiring-soon and certificate-rotation-overdue tell is not told twice.
        let told = certificate::ends_within(facts, place, certificate, days.expiring_soon_days).is_some() || certificate::is_overdue(facts, place, certificate);
        let left = certificate::ends_within(facts, place, certificate, days.expiring_days).filter(|_| !told)?;
        Some(Wrong::new(format!("expires in {}", human_span(left))))
    })
}
