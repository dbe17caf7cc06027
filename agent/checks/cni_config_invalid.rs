use std::time::Duration;

use super::cni::{judged, look_at_its_pod, put_aside};
use crate::config::Config;
use crate::facts::cni::{Cni, ConfFile, ConfState, Network};
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-config-invalid",
    title: "the CNI configuration that the runtime loads is invalid",
    severity: Severity::Critical,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("cni_config_invalid.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    let invalid = cni.candidates().filter(|file| stops_at(cni, file)).filter_map(|file| {
        let ConfState::Invalid(fault) = &file.state else { return None };
        let path = cni.path_of(file);
        let effect = if cni.runtime.skips_bad_files() { "no other file is left" } else { "containerd loads no other" };
        let found = Finding::new(Component::Network, path.clone(), format!("{path} is invalid, and {effect}: no pod gets a network"));
        Some(remedies(facts, cni, &path, found.evidence(fault.place(&path), fault.message.clone())))
    });
    let version = cni.in_effect().filter(|(_, network)| network.has_unknown_version());
    Ok(invalid.chain(version.map(|(file, network)| unknown_version(facts, cni, file, network))).collect())
}

/// Whether the runtime gives up because of this file: containerd at any of those it loads, the others when none is left.
pub(super) fn stops_at(cni: &Cni, file: &ConfFile) -> bool {
    if cni.runtime.skips_bad_files() { cni.networks().next().is_none() } else { cni.loads().any(|loaded| loaded.name == file.name) }
}

/// containerd loads it and is content; every plugin refuses it when a pod starts.
fn unknown_version(facts: &Facts, cni: &Cni, file: &ConfFile, network: &Network) -> Finding {
    let path = cni.path_of(file);
    let summary = format!("{path} has a cniVersion that does not exist, {:?}: its plugins refuse it, and no new pod gets a network", network.cni_version);
    let found = Finding::new(Component::Network, path.clone(), summary)
        .evidence(path.clone(), format!("cniVersion {:?}; plugins know up to 1.1.0", network.cni_version));
    remedies(facts, cni, &path, found)
}

fn remedies(facts: &Facts, cni: &Cni, path: &str, found: Finding) -> Finding {
    let provider = cni.installed.keys().next().map(String::as_str);
    let written_again = cni.installed.values().any(|mark| mark.pod_logs.is_some());
    let found = if cni.networks().any(|(other, _)| cni.path_of(other) != path) {
        found.remedy(put_aside(path))
    } else {
        found.remedy(format!("python3 -m json.tool {}  # mend it; the runtime watches the directory", quote(path)))
    };
    if written_again { found.remedy(look_at_its_pod(facts, cni, provider)) } else { found }
}
