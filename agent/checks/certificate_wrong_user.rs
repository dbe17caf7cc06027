use std::time::Duration;

use super::certificate;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-wrong-user",
    title: "the kubelet's client certificate names another node",
    severity: Severity::Critical,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_wrong_user.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    certificate::each(facts, |place, leaf| {
        let wanted = format!("system:node:{}", facts.node_name());
        let known = facts.node.name.is_some() || !leaf.common_name.starts_with("system:node:");
        let wrong = place.role == crate::facts::certificates::Role::KubeletClient && known && leaf.common_name != wanted;
        wrong.then(|| certificate::finding(facts, place, leaf, &format!("is CN={}, where this node is {wanted}", leaf.common_name)))
    })
}
