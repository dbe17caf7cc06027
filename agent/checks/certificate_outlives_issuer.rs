use std::time::Duration;

use super::certificate::{self, Harm, Mend, Wrong};
use crate::config::Config;
use crate::facts::certificates::Place;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-outlives-issuer",
    title: "a certificate ends after the CA that issued it",
    severity: Severity::Warning,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_outlives_issuer.md"),
    examine,
};

/// A CA's end further off than this is nobody's worry yet, in days.
const HORIZON: i64 = 365;

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::find_by(facts, Harm::Ahead, issuer, |_, certificate| {
        let trust = certificate.trust.as_ref()?;
        let end = trust.authority_not_after?;
        let left = end.seconds_since(facts.certificates_at);
        // Nearer than this, certificate-expiring tells of the CA itself.
        let near = left > i64::from(config.certificates.expiring_days) * 86_400 && left < HORIZON * 86_400;
        (near && certificate.not_after > end).then(|| {
            Wrong::new(format!("outlives its CA, which ends in {}", human_span(left))).evidence(trust.authority.clone(), format!("notAfter {}", end.human()))
        })
    })
}

/// Its CA is what has to be renewed.
fn issuer(place: &Place) -> Mend {
    let authority = place.leaf().and_then(|leaf| leaf.trust.as_ref()).map_or("", |trust| trust.authority.as_str());
    Mend::CaFile(authority.split(" (CN=").next().unwrap_or_default().to_owned())
}
