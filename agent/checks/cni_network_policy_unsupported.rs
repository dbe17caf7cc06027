use std::time::Duration;

use super::cni::judged;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-network-policy-unsupported",
    title: "the network plugin enforces no NetworkPolicy",
    severity: Severity::Info,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[&super::cni_config_wrong_first::CHECK],
    signals: &[],
    article: include_str!("cni_network_policy_unsupported.md"),
    examine,
};

/// Those that enforce policies beside flannel.
const ENFORCERS: [&str; 6] = ["calico", "cilium", "weave", "antrea", "kube-router", "ovn-kubernetes"];
/// k3s and RKE2 have a policy controller built in.
const EMBEDDED: &str = "/var/lib/rancher/";

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    let Some((file, network)) = cni.in_effect().filter(|(_, network)| network.provider == "flannel") else { return Ok(Vec::new()) };
    let enforced = cni.policy_engine.is_some() || ENFORCERS.iter().any(|name| cni.installed.contains_key(*name)) || cni.conf_dir.value.starts_with(EMBEDDED);
    if enforced {
        return Ok(Vec::new());
    }
    if let Some(blind) = cni.unseen.first() {
        return Err(blind.clone());
    }
    let finding = Finding::new(Component::Network, network.provider.clone(), "flannel enforces no NetworkPolicy: such objects are accepted and do nothing")
        .evidence(cni.path_of(file), format!("in effect: {}", network.identity()));
    Ok(vec![finding.remedy("kubectl get networkpolicy -A  # if there are any: Calico (canal), Cilium or kube-network-policies enforces them")])
}
