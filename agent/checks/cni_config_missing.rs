use std::time::Duration;

use super::cni::{judged, listing, look_at_its_pod};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-config-missing",
    title: "the container runtime has no CNI configuration to load",
    severity: Severity::Critical,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[&super::node_not_joined::CHECK],
    signals: &[],
    article: include_str!("cni_config_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    let dir = &cni.conf_dir.value;
    let finding = |summary: String| Finding::new(Component::Network, dir.clone(), summary);
    let remedy = look_at_its_pod(facts, cni, None);
    if cni.candidates().next().is_none() {
        let saw = match (cni.conf_dir_exists, cni.files.is_empty()) {
            (false, _) => "no such directory",
            (true, true) => "empty",
            (true, false) => "no .conf, .conflist or .json file",
        };
        let summary = format!("no CNI configuration in {dir}: the node stays NotReady (NetworkPluginNotReady)");
        let found = listing(cni, finding(summary).evidence(dir.clone(), saw));
        let source = cni.conf_dir.source.as_str();
        let found = if source == "default" { found } else { found.evidence(source, format!("{} is told to look there", cni.runtime.name())) };
        return Ok(vec![found.remedy(remedy)]);
    }
    let Some(wanted) = cni.default_network.as_ref().filter(|wanted| cni.networks().all(|(_, network)| network.name != wanted.value)) else {
        return Ok(Vec::new());
    };
    let summary = format!("no file in {dir} defines the network {}, the only one CRI-O would use: the node stays NotReady", wanted.value);
    let found = finding(summary).evidence(wanted.source.clone(), format!("cni_default_network = {:?}", wanted.value));
    Ok(vec![
        listing(cni, found).remedy(remedy).remedy("grep -rn cni_default_network /etc/crio/  # or name a network that is there, then: systemctl restart crio"),
    ])
}
