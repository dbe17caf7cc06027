use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::certificates::Role;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-embedded-stale",
    title: "kubelet.conf holds an older certificate than the rotated one",
    severity: Severity::Warning,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_embedded_stale.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::find(facts, Harm::Ahead, |place, certificate| {
        // An expired one is told by certificate-expired.
        let left = certificate.not_after.seconds_since(facts.certificates_at);
        let judged = place.role == Role::KubeletClient && certificate::is_leaf(place, certificate) && left >= 0;
        let better = certificate::better(facts, place).filter(|better| judged && better.leaf().is_some_and(|leaf| leaf.not_after > certificate.not_after))?;
        let wrong = Wrong::new(format!("in {} is older than the rotated one and ends in {}", place.path, human_span(left)));
        let wrong = wrong.stops("the kubelet will not start again");
        Some(wrong.evidence(better.path.clone(), better.leaf().map_or_else(String::new, |leaf| certificate::describe(facts, better, leaf))))
    })
}
