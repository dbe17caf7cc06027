use std::time::Duration;

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-config-wrong-first",
    title: "the CNI configuration in effect is not the installed network plugin's",
    severity: Severity::Critical,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("cni_config_wrong_first.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let cni = facts.cni.ok()?;
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let Some((effective, network)) = cni.in_effect() else { return Ok(Vec::new()) };
    let leftover = matches!(network.provider.as_str(), "podman" | "cri-o" | "bridge" | "loopback");
    let owner = cni.networks().find(|(_, other)| {
        other.provider != network.provider
            && (cni.installed.contains_key(&other.provider) || (leftover && !matches!(other.provider.as_str(), "podman" | "cri-o" | "bridge" | "loopback")))
    });
    let Some((wanted, owner)) = owner.filter(|_| !cni.installed.contains_key(&network.provider)) else { return Ok(Vec::new()) };
    let (path, other) = (cni.path_of(effective), cni.path_of(wanted));
    let mut finding = Finding::new(
        Component::Network,
        path.clone(),
        format!("{} ({}) sorts before {} of {}: pods get the wrong network", effective.name, network.provider, wanted.name, owner.provider),
    )
    .evidence(path.clone(), format!("in effect: network {}, {}", network.name, network.provider))
    .evidence(other, format!("ignored: network {}, {}", owner.name, owner.provider));
    if let Some(mark) = cni.installed.get(&owner.provider) {
        finding = finding.evidence(mark.clone(), format!("{} is installed", owner.provider));
    }
    Ok(vec![finding.remedy(format!("mv {path} /root/ && systemctl restart containerd  # then delete the pods that got the wrong network"))])
}
