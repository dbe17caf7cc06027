use std::time::Duration;

use super::kubelet::quote;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "resolv-conf-truncated",
    title: "the resolv.conf that pods inherit names more servers than are used",
    severity: Severity::Warning,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("resolv_conf_truncated.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let path = &kubelet.resolv_conf.value;
    let servers = kubelet.surroundings.resolver.as_ref().map(|resolver| resolver.nameservers.as_slice()).unwrap_or_default();
    if servers.len() <= MOST {
        return Ok(Vec::new());
    }
    let summary = format!("{path} names {} servers, of which pods are given the first {MOST}", servers.len());
    let finding = Finding::new(Component::Network, path.clone(), summary);
    let finding = servers
        .iter()
        .skip(MOST)
        .take(5)
        .fold(finding, |finding, server| finding.evidence(server.source.clone(), format!("nameserver {} is left out", server.value)));
    Ok(vec![finding.remedy(format!("vi {}  # or what writes it: systemd-resolved, NetworkManager, cloud-init", quote(path)))])
}

/// `validation.MaxDNSNameservers` of `pkg/apis/core/validation`; glibc's MAXNS is the same.
const MOST: usize = 3;
