use std::time::Duration;

use super::kubelet::{consequence, edit_at, faults};
use crate::config::Config;
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
    // With a bootstrap kubeconfig the kubelet writes itself a new one (bootstrap.go `LoadClientConfig`).
    let Some(first) = kubeconfig.file.faults().first().filter(|_| !kubelet.can_bootstrap()) else { return Ok(Vec::new()) };
    let path = &kubeconfig.file.path.value;
    let summary = format!("the kubelet's kubeconfig {path} cannot be used, so {}", consequence(facts));
    let finding = faults(Finding::new(Component::Kubelet, path.clone(), summary), path, kubeconfig.file.faults());
    // What can be pointed at can be mended in place; a credential or a whole file that is lost is made anew.
    let lost = first.message.starts_with("not YAML") || first.message.starts_with("client-");
    Ok(vec![match first.line {
        Some(line) if !lost => finding.remedy(edit_at(path, Some(line))),
        _ => facts.new_kubelet_conf().into_iter().fold(finding, Finding::remedy),
    }])
}
