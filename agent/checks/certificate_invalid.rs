use std::time::Duration;

use super::certificate;
use crate::config::Config;
use crate::facts::certificates::{Place, PlaceState};
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
    // Its clientCAFile is kubelet-client-ca-missing's business.
    let client_ca = facts.kubelet.known().and_then(|kubelet| Some(kubelet.client_ca_file.as_ref()?.path.value.as_str()));
    let judged = certificates.places.iter().filter(|place| place.in_use && Some(place.path.as_str()) != client_ca);
    Ok(judged.filter_map(|place| finding(facts, place)).collect())
}

fn finding(facts: &Facts, place: &Place) -> Option<Finding> {
    let why = match &place.state {
        PlaceState::Invalid(why) => why.as_str(),
        PlaceState::Missing => "the file does not exist",
        PlaceState::Certificates(_) | PlaceState::Unreadable(_) => return None,
    };
    let so = certificate::reader(facts, place).map_or_else(String::new, |program| format!(", so {program} does not start"));
    let mut finding = Finding::new(certificate::component(place.role), place.path.clone(), format!("{} cannot be used{so}", certificate::name(place)));
    let target = place.target.as_ref().map_or_else(String::new, |target| format!("; a link to {target}"));
    finding = finding.evidence(place.location(), format!("{why}{target}"));
    if let Some(named_by) = &place.named_by {
        finding = finding.evidence(named_by.clone(), format!("names {}", place.path));
    }
    Some(certificate::replacement(facts, place).into_iter().fold(finding, Finding::remedy))
}
