use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::certificates::Role;
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
    certificate::find(facts, Harm::Done, |place, certificate| {
        let judged = place.role == Role::KubeletClient && certificate::is_leaf(place, certificate);
        let wrong = judged && !certificate.organizations.iter().any(|group| group == "system:nodes");
        wrong.then(|| Wrong::new("is not of the group system:nodes").stops("the API server forbids the kubelet everything"))
    })
}
