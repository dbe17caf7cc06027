use std::time::Duration;

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-config-ambiguous",
    title: "more than one loadable CNI configuration",
    severity: Severity::Warning,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[&super::cni_config_wrong_first::CHECK],
    signals: &[],
    article: include_str!("cni_config_ambiguous.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let cni = facts.cni.ok()?;
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let networks: Vec<_> = cni.networks().collect();
    let (Some((effective, network)), true) = (cni.in_effect(), networks.len() > 1) else { return Ok(Vec::new()) };
    let mut finding = Finding::new(
        Component::Network,
        cni.conf_dir.value.clone(),
        format!("{} CNI configurations; {} ({}) is in effect because it sorts first", networks.len(), effective.name, network.provider),
    );
    for (file, network) in &networks {
        let state = if file.name == effective.name { "in effect" } else { "ignored" };
        finding = finding.evidence(cni.path_of(file), format!("{state}: network {}, {}", network.name, network.provider));
    }
    Ok(vec![finding.remedy(format!("ls -l {}  # move away what does not belong to the network plugin", cni.conf_dir.value))])
}
