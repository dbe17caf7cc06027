use std::time::Duration;

use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-kubeconfig-missing",
    title: "the kubelet has neither a kubeconfig nor a bootstrap kubeconfig",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_kubeconfig_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let Some(kubeconfig) = kubelet.kubeconfig.as_ref().filter(|kubeconfig| kubeconfig.file.state == FileState::Missing) else { return Ok(Vec::new()) };
    let bootstrap = kubelet.bootstrap_kubeconfig.as_ref();
    // Without a configuration file either, nobody has joined this node yet: node-not-joined says so.
    if bootstrap.is_some_and(|file| file.state != FileState::Missing) || kubelet.config.as_ref().is_some_and(|config| config.state == FileState::Missing) {
        return Ok(Vec::new());
    }
    let path = &kubeconfig.file.path.value;
    let mut finding = Finding::new(
        Component::Kubelet,
        path.clone(),
        format!("the kubelet's kubeconfig {path} does not exist and there is no bootstrap kubeconfig, so the kubelet exits at start"),
    )
    .evidence(path.clone(), "no such file");
    if let Some(bootstrap) = bootstrap {
        finding = finding.evidence(bootstrap.path.value.clone(), "no such file (normal after a join)");
    }
    Ok(vec![finding.remedy(facts.new_kubelet_conf()).remedy("systemctl restart kubelet")])
}
