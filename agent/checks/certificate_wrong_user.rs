use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::certificates::Role;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-wrong-user",
    title: "the kubelet's client certificate names another node",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[&super::node_name_mismatch::CHECK],
    signals: &[],
    article: include_str!("certificate_wrong_user.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let name = certificate::sure_name(facts);
    certificate::find(facts, Harm::Done, |place, certificate| {
        let judged = place.role == Role::KubeletClient && certificate::is_leaf(place, certificate);
        let named = certificate.common_name.strip_prefix("system:node:");
        let wrong = judged && named.is_none_or(|named| name.as_ref().is_some_and(|name| name.value != named));
        let user = format!("is that of {}", if certificate.common_name.is_empty() { "nobody" } else { &certificate.common_name });
        let wrong = wrong.then(|| Wrong::new(user).stops("the API server forbids the kubelet this node"))?;
        Some(match &name {
            Some(name) => wrong.evidence(name.source.clone(), format!("names this node {}", name.value)),
            None => wrong,
        })
    })
}
