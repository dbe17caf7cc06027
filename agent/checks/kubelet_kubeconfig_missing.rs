use std::time::Duration;

use super::kubelet::{consequence, edit, faults};
use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-kubeconfig-missing",
    title: "the kubelet has neither a kubeconfig nor a usable bootstrap kubeconfig",
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
    let unseen = bootstrap.is_some_and(|file| matches!(file.state, FileState::Unreadable(_)));
    // Without a configuration file either, nobody has joined this node yet: node-not-joined says so.
    let never_joined = !kubelet.has_joined() && kubelet.config.as_ref().is_some_and(|config| config.state == FileState::Missing);
    if kubelet.can_bootstrap() || unseen || never_joined {
        return Ok(Vec::new());
    }
    let path = &kubeconfig.file.path.value;
    let summary = format!("the kubelet's kubeconfig {path} does not exist, and no bootstrap kubeconfig can be used, so {}", consequence(facts));
    let mut finding = Finding::new(Component::Kubelet, path.clone(), summary)
        .evidence(kubeconfig.file.path.source.clone(), format!("names {path}"))
        .evidence(path.clone(), "no such file");
    if let Some(bootstrap) = bootstrap {
        let path = &bootstrap.path.value;
        finding = match &bootstrap.state {
            FileState::Invalid(found) => faults(finding, path, found),
            _ => finding.evidence(path.clone(), "no such file (normal after a join)"),
        };
    }
    let usual = path == "/etc/kubernetes/kubelet.conf";
    Ok(vec![if usual { facts.new_kubelet_conf().into_iter().fold(finding, Finding::remedy) } else { finding.remedy(edit(&kubeconfig.file.path)) }])
}
