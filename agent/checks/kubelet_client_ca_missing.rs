use std::time::Duration;

use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-client-ca-missing",
    title: "the kubelet's client CA file is missing or holds no certificate",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_client_ca_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let Some(file) = &kubelet.client_ca_file else { return Ok(Vec::new()) };
    let saw = match &file.state {
        FileState::Missing => "does not exist".to_owned(),
        FileState::Invalid(fault) => format!("holds no certificate: {}", fault.message),
        FileState::Valid | FileState::Unreadable(_) => return Ok(Vec::new()),
    };
    let path = &file.path.value;
    let finding = Finding::new(Component::Kubelet, path.clone(), format!("the kubelet's clientCAFile {path} {saw}, so the kubelet exits at start"))
        .evidence(file.path.source.clone(), format!("clientCAFile: {path}"))
        .evidence(path.clone(), saw);
    let usual = "/etc/kubernetes/pki/ca.crt";
    let config = file.path.source.split(':').next().unwrap_or_default();
    Ok(vec![if path != usual && config.starts_with('/') {
        finding.remedy(format!("sed -i 's#clientCAFile:.*#clientCAFile: {usual}#' {config} && systemctl restart kubelet"))
    } else {
        finding.remedy(format!("scp CONTROL-PLANE:{usual} {path} && systemctl restart kubelet"))
    }])
}
