use std::time::Duration;

use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-config-missing",
    title: "the kubelet's configuration file does not exist",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_config_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let Some(config) = kubelet.config.as_ref().filter(|config| config.state == FileState::Missing) else { return Ok(Vec::new()) };
    if !kubelet.has_joined() {
        return Ok(Vec::new());
    }
    let path = &config.path.value;
    Ok(vec![
        Finding::new(Component::Kubelet, path.clone(), format!("the kubelet's configuration {path} does not exist, so the kubelet exits at start"))
            .evidence(config.path.source.clone(), format!("names {path}"))
            .evidence(path.clone(), "no such file")
            .remedy("kubeadm upgrade node phase kubelet-config && systemctl restart kubelet"),
    ])
}
