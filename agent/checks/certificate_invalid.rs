use std::time::Duration;

use crate::checks::certificate::component;
use crate::config::Config;
use crate::facts::certificates::PlaceState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-invalid",
    title: "a certificate file in use holds no certificate",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_invalid.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let certificates = facts.certificates.ok()?;
    Ok(certificates
        .places
        .iter()
        .filter(|place| place.in_use)
        .filter_map(|place| {
            let PlaceState::Invalid(why) = &place.state else { return None };
            Some(
                Finding::new(component(place.role), place.path.clone(), format!("{} ({}) is no usable certificate: {why}", place.path, place.role.name()))
                    .evidence(place.location(), why.clone())
                    .remedy(format!("openssl x509 -noout -subject -enddate -in {}  # then restore it, or renew it with kubeadm certs renew", place.path)),
            )
        })
        .collect())
}
