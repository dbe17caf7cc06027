use std::time::Duration;

use super::cni::{judged, look_at_its_pod};
use crate::config::Config;
use crate::facts::cni::{Binary, Cni, ConfFile, Network};
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-plugin-missing",
    title: "a CNI plugin's binary is missing or not executable",
    severity: Severity::Critical,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("cni_plugin_missing.md"),
    examine,
};

/// What the package kubernetes-cni holds (containernetworking/plugins); all others are installed by a network plugin's pod.
const REFERENCE: [&str; 18] = [
    "bandwidth",
    "bridge",
    "dhcp",
    "dummy",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "sbr",
    "static",
    "tap",
    "tuning",
    "vlan",
    "vrf",
];

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    let Some((file, network)) = judged_network(cni) else { return Ok(Vec::new()) };
    let loopback = cni.needs_loopback.then_some("loopback");
    let kinds = network.binaries().chain(loopback).filter_map(|kind| Some((kind, cni.binaries.get(kind)?)));
    let mut missing: Vec<(&str, &Binary)> = kinds.filter(|(_, binary)| binary.cannot_run()).collect();
    missing.sort_unstable_by_key(|(kind, _)| *kind);
    missing.dedup_by_key(|(kind, _)| *kind);
    if missing.is_empty() { Ok(Vec::new()) } else { Ok(vec![finding(facts, cni, (file, network), &missing)]) }
}

/// The network that pods get, or would get: a runtime that skips files without their plugins skips to the wrong one.
fn judged_network(cni: &Cni) -> Option<(&ConfFile, &Network)> {
    let effective = cni.in_effect();
    if !cni.runtime.skips_bad_files() {
        return effective;
    }
    let wanted = |network: &Network| cni.default_network.as_ref().is_none_or(|wanted| wanted.value == network.name);
    let skipped = cni.networks().find(|(_, network)| wanted(network) && !network.is_leftover() && !network.has_unknown_version() && !cni.is_usable(network));
    match (skipped, effective) {
        (Some(skipped), Some(effective)) if skipped.0.name > effective.0.name => Some(effective),
        (skipped, effective) => skipped.or(effective),
    }
}

fn finding(facts: &Facts, cni: &Cni, (file, network): (&ConfFile, &Network), missing: &[(&str, &Binary)]) -> Finding {
    let (path, runtime) = (cni.path_of(file), cni.runtime.name());
    let consequence = match cni.in_effect() {
        Some((effective, _)) if effective.name == file.name => "no new pod gets a network".to_owned(),
        Some((other, _)) => format!("{runtime} skips {} and uses {}", file.name, other.name),
        None => format!("{runtime} skips {}, and the node stays NotReady", file.name),
    };
    let names: Vec<_> = missing.iter().map(|(kind, _)| *kind).collect();
    let (plugins, problem) = match (missing, missing.iter().all(|(_, binary)| matches!(binary, Binary::NotExecutable(_)))) {
        ([_], true) => ("plugin", "is not executable"),
        ([_], false) => ("plugin", "is missing"),
        (_, true) => ("plugins", "are not executable"),
        (_, false) => ("plugins", "are missing"),
    };
    let mut finding = Finding::new(Component::Network, path.clone(), format!("the CNI {plugins} {} {problem}: {consequence}", names.join(", ")));
    if network.binaries().any(|kind| names.contains(&kind)) {
        finding = finding.evidence(path, network.identity());
    }
    if cni.needs_loopback && names.contains(&"loopback") {
        finding = finding.evidence(runtime, "runs the plugin loopback for every pod");
    }
    for dir in &cni.bin_dirs {
        let lacking: Vec<_> = missing.iter().filter(|(_, binary)| !matches!(binary, Binary::NotExecutable(_))).map(|(kind, _)| *kind).collect();
        let source = if dir.source == "default" { String::new() } else { format!(" ({})", dir.source) };
        if !lacking.is_empty() {
            finding = finding.evidence(dir.value.clone(), format!("where {runtime} looks{source}: no file {}", lacking.join(", ")));
        }
    }
    for (_, binary) in missing {
        match binary {
            Binary::NotExecutable(at) => finding = finding.evidence(at.clone(), "not executable"),
            Binary::Elsewhere(at) => finding = finding.evidence(at.clone(), format!("it lies here, where {runtime} does not look")),
            _ => {}
        }
    }
    remedies(facts, cni, network, missing, finding)
}

fn remedies(facts: &Facts, cni: &Cni, network: &Network, missing: &[(&str, &Binary)], mut finding: Finding) -> Finding {
    for (_, binary) in missing {
        if let Binary::NotExecutable(at) = binary {
            finding = finding.remedy(format!("ls -l {0} && chmod 755 {0}", quote(at)));
        }
    }
    let elsewhere = missing.iter().find_map(|(_, binary)| match binary {
        Binary::Elsewhere(at) => at.rsplit_once('/'),
        _ => None,
    });
    if let (Some((there, _)), Some(here)) = (elsewhere, cni.bin_dirs.first()) {
        finding = finding.remedy(format!(
            "mkdir -p {0} && ln -s {there}/* {0}/  # or name {there} in {1}'s configuration and restart it",
            quote(&here.value),
            cni.runtime.name()
        ));
    }
    let gone = || missing.iter().filter(|(_, binary)| **binary == Binary::Missing);
    if gone().any(|(kind, _)| REFERENCE.contains(kind)) {
        finding = finding.remedy("apt-get install --reinstall kubernetes-cni  # or: dnf reinstall kubernetes-cni");
    }
    if gone().any(|(kind, _)| !REFERENCE.contains(kind)) {
        finding = finding.remedy(look_at_its_pod(facts, cni, Some(&network.provider)));
    }
    finding
}
