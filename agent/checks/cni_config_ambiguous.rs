use std::time::Duration;

use super::cni::{judged, listing, put_aside};
use crate::config::Config;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-config-ambiguous",
    title: "more than one loadable CNI configuration",
    severity: Severity::Warning,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[&super::cni_config_wrong_first::CHECK, &super::cni_plugin_missing::CHECK],
    signals: &[],
    article: include_str!("cni_config_ambiguous.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    // Nobody takes the loopback file for a network; multus hands pods to the other file; `max_conf_num` may want several.
    let rivals: Vec<_> = cni.networks().filter(|(_, network)| network.provider != "loopback").collect();
    let Some((effective, network)) = cni.in_effect().filter(|(_, network)| network.provider != "multus") else { return Ok(Vec::new()) };
    let wanted = if cni.runtime.skips_bad_files() { 1 } else { cni.loads().count() };
    if rivals.len() <= wanted.max(1) || cni.default_network.is_some() {
        return Ok(Vec::new());
    }
    let why = if cni.runtime.skips_bad_files() { "it is the first that can be used" } else { "its name sorts first" };
    let finding = Finding::new(
        Component::Network,
        cni.conf_dir.value.clone(),
        format!("{} networks in {}; {} ({}) is in effect because {why}", rivals.len(), cni.conf_dir.value, effective.name, network.provider),
    );
    let finding = listing(cni, finding);
    // Only what surely came with a tool is named; of two cluster networks a person has to decide.
    let leftover = rivals.iter().find(|(file, network)| network.is_leftover() && file.name != effective.name);
    Ok(vec![match leftover {
        Some((file, _)) => finding.remedy(put_aside(&cni.path_of(file))),
        None => finding
            .remedy(format!("ls -l {}  # put aside (mv FILE FILE.disabled) what does not belong to the cluster's network plugin", quote(&cni.conf_dir.value))),
    }])
}
