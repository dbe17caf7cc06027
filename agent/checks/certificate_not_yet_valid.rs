use std::time::Duration;

use super::certificate;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-not-yet-valid",
    title: "a certificate in use is not valid yet",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_not_yet_valid.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::each(facts, |place, leaf| {
        (leaf.not_before > facts.certificates_at)
            .then(|| certificate::finding(facts, place, leaf, &format!("is valid only from {}: is the clock right?", leaf.not_before.human())))
    })
}
