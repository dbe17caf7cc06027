use std::time::Duration;

use super::kubelet::quote;
use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "static-pod-path-missing",
    title: "the directory of static pods does not exist",
    severity: Severity::Warning,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("static_pod_path_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let (Some(path), Some(FileState::Missing)) = (&kubelet.static_pod_path, &kubelet.surroundings.static_pods) else { return Ok(Vec::new()) };
    if !kubelet.has_joined() {
        return Ok(Vec::new());
    }
    Ok(vec![
        Finding::new(Component::Kubelet, path.value.clone(), format!("staticPodPath {} does not exist: the kubelet runs no static pods", path.value))
            .evidence(path.source.clone(), format!("names {}", path.value))
            .evidence(path.value.clone(), "no such file or directory")
            .remedy(format!("mkdir -p {}", quote(&path.value))),
    ])
}
