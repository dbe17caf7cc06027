use std::time::Duration;

use super::certificate;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-expired",
    title: "a certificate in use has expired",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_expired.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::each(facts, |place, leaf| {
        let age = facts.certificates_at.seconds_since(leaf.not_after);
        (age >= 0)
            .then(|| certificate::finding(facts, place, leaf, &format!("expired {} ago", crate::facts::timestamp::human_span(age))).since(Some(leaf.not_after)))
    })
}
