use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::certificates::{Place, Role};
use crate::facts::{Blind, Domain, Facts, Sourced};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-address-missing",
    title: "a serving certificate does not name the address it is called by",
    severity: Severity::Warning,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_address_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::find(facts, Harm::Done, |place, certificate| {
        let called = called(facts, place).into_iter().find(|called| !certificate.names.iter().any(|name| covers(name, &called.value)));
        let called = called.filter(|_| certificate::is_leaf(place, certificate))?;
        let names = if certificate.names.is_empty() { "no names".to_owned() } else { certificate.names.join(", ") };
        let wrong = Wrong::new(format!("does not name {}", called.value)).stops("whoever calls it by that and verifies it is refused");
        Some(wrong.replace().evidence(called.source, format!("calls it {}; the certificate names {names}", called.value)))
    })
}

/// By which names its clients call it. A kubelet is called by its node's name, where that is sure.
fn called(facts: &Facts, place: &Place) -> Vec<Sourced<String>> {
    let mut called = place.called.clone();
    if place.role == Role::KubeletServing {
        called.extend(certificate::sure_name(facts).cloned());
    }
    called
}

/// Go `crypto/x509` `matchHostnames`: without regard to case; `*` stands for one whole first label.
fn covers(name: &str, called: &str) -> bool {
    let name = name.trim_end_matches('.');
    let called = called.trim_end_matches('.');
    let same_address = || matches!((name.parse::<std::net::IpAddr>(), called.parse::<std::net::IpAddr>()), (Ok(name), Ok(called)) if name == called);
    let wildcard = || name.strip_prefix("*.").zip(called.split_once('.')).is_some_and(|(domain, (_, rest))| domain.eq_ignore_ascii_case(rest));
    name.eq_ignore_ascii_case(called) || same_address() || wildcard()
}
