use std::time::Duration;

use super::kubelet::{RESTART, edit, quote};
use crate::config::Config;
use crate::facts::certificates::Role;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "node-name-mismatch",
    title: "the kubelet calls itself otherwise than its certificate does",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("node_name_mismatch.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    // A distribution that embeds the kubelet may give it a name that is written elsewhere.
    let known = kubelet.command_line_source != "default";
    let Some(name) = kubelet.surroundings.node_name.as_ref().filter(|_| known) else { return Ok(Vec::new()) };
    let places = &facts.certificates.ok()?.places;
    let certificate = places.iter().filter(|place| place.in_use && place.role == Role::KubeletClient).find_map(|place| Some((place, place.leaf()?)));
    let Some((place, certified)) = certificate.and_then(|(place, leaf)| Some((place, leaf.common_name.strip_prefix("system:node:")?))) else {
        return Ok(Vec::new());
    };
    if certified == name.value {
        return Ok(Vec::new());
    }
    let summary = format!("the kubelet calls itself {}, and its certificate is for the node {certified}, so the API server lets it touch neither", name.value);
    let finding = Finding::new(Component::Kubelet, name.value.clone(), summary)
        .evidence(name.source.clone(), format!("the node is called {}", name.value))
        .evidence(place.location(), format!("CN=system:node:{certified}"));
    let told = facts.node.name.as_ref().filter(|told| told.value == certified && told.source != name.source);
    let finding = told.map_or_else(|| finding.clone(), |told| finding.clone().evidence(told.source.clone(), format!("the cluster calls it {}", told.value)));
    let is_flag = name.source.ends_with("--hostname-override");
    Ok(vec![if is_flag { finding.remedy(edit(name)) } else { finding.remedy(format!("hostnamectl set-hostname {} && {RESTART}", quote(certified))) }])
}
