use std::time::Duration;

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-config-missing",
    title: "the container runtime has no CNI configuration to load",
    severity: Severity::Critical,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("cni_config_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let cni = facts.cni.ok()?;
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    if cni.candidates().next().is_some() {
        return Ok(Vec::new());
    }
    let dir = &cni.conf_dir.value;
    let saw = if cni.conf_dir_exists { "no .conf, .conflist or .json file" } else { "no such directory" };
    Ok(vec![
        Finding::new(Component::Network, dir.clone(), format!("no CNI configuration in {dir}: the node stays NotReady (NetworkPluginNotReady)"))
            .evidence(dir.clone(), saw)
            .remedy("kubectl -n kube-system get pods -o wide --field-selector spec.nodeName=\"$(hostname)\"  # is the network plugin's pod here, and why not?"),
    ])
}
