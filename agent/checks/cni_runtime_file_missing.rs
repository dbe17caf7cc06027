use std::time::Duration;

use super::cni::{judged, look_at_its_pod};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-runtime-file-missing",
    title: "a file that the CNI plugin opens at run time is not there",
    severity: Severity::Critical,
    domain: Domain::Cni,
    // The plugin's pod writes it when it starts, some time after the node.
    settle: Duration::from_mins(1),
    explained_by: &[&super::cni_plugin_missing::CHECK],
    signals: &[],
    article: include_str!("cni_runtime_file_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    let Some((file, network)) = cni.in_effect() else { return Ok(Vec::new()) };
    let needed = cni.runtime_files.iter().filter(|needed| needed.provider == network.provider && !needed.exists);
    let found = needed.map(|needed| {
        let summary = format!("{} is not there, so the CNI plugin {} fails: no new pod gets a network", needed.path, network.provider);
        Finding::new(Component::Network, needed.path.clone(), summary)
            .evidence(needed.path.clone(), "does not exist")
            .evidence(cni.path_of(file), format!("in effect: {}", network.identity()))
            .remedy(look_at_its_pod(facts, cni, Some(&network.provider)))
    });
    Ok(found.collect())
}
