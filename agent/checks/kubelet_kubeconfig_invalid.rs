use std::time::Duration;

use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-kubeconfig-invalid",
    title: "the kubelet's kubeconfig cannot be used",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_kubeconfig_invalid.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let Some(kubeconfig) = &kubelet.kubeconfig else { return Ok(Vec::new()) };
    let FileState::Invalid(fault) = &kubeconfig.file.state else { return Ok(Vec::new()) };
    let path = &kubeconfig.file.path.value;
    Ok(vec![
        Finding::new(Component::Kubelet, path.clone(), format!("the kubelet cannot use its kubeconfig {path}: {}", fault.message))
            .evidence(fault.place(path), fault.message.clone())
            .remedy(facts.new_kubelet_conf())
            .remedy("systemctl restart kubelet"),
    ])
}
