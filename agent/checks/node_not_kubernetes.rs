use std::time::Duration;

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "node-not-kubernetes",
    title: "this machine shows no sign of being a Kubernetes node",
    severity: Severity::Info,
    domain: Domain::Node,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("node_not_kubernetes.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    Ok(vec![
        Finding::new(Component::Node, facts.node.root.clone(), "this machine shows no sign of being a Kubernetes node; nothing is judged missing")
            .evidence("/etc/kubernetes, /var/lib/kubelet, kubelet.service", "none of them is there"),
    ])
}
