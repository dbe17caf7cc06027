use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::timestamp::human_span;
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
    certificate::find(facts, Harm::Done, |place, certificate| {
        let age = facts.certificates_at.seconds_since(certificate.not_after);
        // As Go: at notAfter itself it is still valid.
        let expired = age > 0 && !certificate::is_replaced(place, certificate);
        expired.then(|| Wrong::new(format!("expired {} ago", human_span(age))).since(certificate.not_after))
    })
}
