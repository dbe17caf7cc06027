use std::time::Duration;

use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "node-not-joined",
    title: "the node has not joined a cluster yet",
    severity: Severity::Info,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("node_not_joined.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    if kubelet.has_joined() {
        return Ok(Vec::new());
    }
    let Some(config) = kubelet.config.as_ref().filter(|config| config.state == FileState::Missing) else { return Ok(Vec::new()) };
    Ok(vec![
        // All of the machine waits for it, and not the kubelet alone.
        Finding::new(Component::Node, facts.node.root.clone(), "the node has not joined a cluster: it has neither a kubeconfig nor a kubelet configuration")
            .evidence(config.path.value.clone(), "no such file")
            .remedy("# on a control-plane node; what it prints is run here:")
            .remedy("kubeadm token create --print-join-command"),
    ])
}
