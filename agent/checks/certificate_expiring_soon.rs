use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use super::certificate_rotation_overdue::not_rotated;
use crate::config::Config;
use crate::facts::timestamp::human_span;
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
    certificate::find(facts, Harm::Ahead, |place, certificate| {
        let left = certificate::ends_within(facts, place, certificate, config.certificates.expiring_soon_days)?;
        let overdue = certificate::is_overdue(facts, place, certificate);
        Some(if overdue { not_rotated(facts, left) } else { Wrong::new(format!("expires in {}", human_span(left))) })
    })
}
