use std::time::Duration;

use super::kubelet::{RESTART, consequence, edit, quote};
use crate::config::Config;
use crate::facts::kubelet::{File, FileState};
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

/// Where kubeadm writes it, and can write it again from the cluster's ConfigMap `kubelet-config`.
const KUBEADM: &str = "/var/lib/kubelet/config.yaml";

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    if !kubelet.has_joined() {
        return Ok(Vec::new());
    }
    let missing = |file: &&File| file.state == FileState::Missing;
    let config = kubelet.config.as_ref().filter(missing).map(|file| {
        let path = &file.path.value;
        let remedy = if path == KUBEADM { format!("kubeadm upgrade node phase kubelet-config && {RESTART}") } else { edit(&file.path) };
        finding(facts, file, "configuration").remedy(remedy)
    });
    let directory = kubelet.config_dir.as_ref().filter(missing).map(|file| {
        let remedy = format!("mkdir -p {} && {RESTART}", quote(&file.path.value));
        finding(facts, file, "configuration directory").remedy(remedy)
    });
    Ok(config.into_iter().chain(directory).collect())
}

fn finding(facts: &Facts, file: &File, what: &str) -> Finding {
    let path = &file.path.value;
    Finding::new(Component::Kubelet, path.clone(), format!("the kubelet's {what} {path} does not exist, so {}", consequence(facts)))
        .evidence(file.path.source.clone(), format!("names {path}"))
        .evidence(path.clone(), "no such file or directory")
}
