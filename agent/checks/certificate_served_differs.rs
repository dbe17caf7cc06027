use std::time::Duration;

use super::certificate;
use crate::config::Config;
use crate::facts::certificates::{Certificate, Certificates, Server};
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-served-differs",
    title: "a server presents another certificate than the one in its file",
    severity: Severity::Warning,
    domain: Domain::Certificates,
    // The API server reads a changed file within a minute (apiserver/pkg/server/dynamiccertificates FileRefreshDuration).
    settle: Duration::from_secs(90),
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_served_differs.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let certificates = facts.certificates.ok()?;
    Ok(certificates.servers.iter().filter_map(|server| finding(facts, certificates, server)).collect())
}

fn finding(facts: &Facts, certificates: &Certificates, server: &Server) -> Option<Finding> {
    let place = certificates.place_of(server)?;
    let (file, presented) = (place.leaf()?, server.presents.as_ref()?.known()?);
    if presented.is_same(file) {
        return None;
    }
    let left = presented.not_after.seconds_since(facts.certificates_at);
    let end = if left >= 0 { format!("ends in {}", human_span(left)) } else { format!("expired {} ago", human_span(-left)) };
    let (name, address) = (certificate::name(place), &server.address);
    let summary = if presented.not_before < file.not_before {
        format!("{name} was replaced, and {address} still presents the old one, which {end}")
    } else {
        format!("{name} is not what {address} presents: that {end}")
    };
    let described = |certificate: &Certificate| format!("serial {}, {}", certificate.serial, certificate::describe(facts, place, certificate));
    let finding = Finding::new(certificate::component(place.role), place.path.clone(), summary)
        .evidence(server.address.clone(), described(presented).split("; a link to").next().unwrap_or_default())
        .evidence(place.path.clone(), described(file));
    Some(certificate::start_again(facts, place).into_iter().fold(finding, Finding::remedy))
}
