use std::time::Duration;

use super::certificate;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-wrong-group",
    title: "the kubelet's client certificate is not of the group system:nodes",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_wrong_group.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::each(facts, |place, leaf| {
        let wrong = place.role == crate::facts::certificates::Role::KubeletClient && !leaf.organizations.iter().any(|group| group == "system:nodes");
        wrong.then(|| certificate::finding(facts, place, leaf, "lacks the group O=system:nodes: the API server forbids everything to this kubelet"))
    })
}
