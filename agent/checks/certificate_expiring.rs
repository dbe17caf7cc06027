use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
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
        let left = certificate::ends_within(facts, place, certificate, days.expiring_days)?;
        let soon = certificate::ends_within(facts, place, certificate, days.expiring_soon_days).is_some();
        (!soon).then(|| Wrong::new(format!("expires in {left}")))
    })
}
