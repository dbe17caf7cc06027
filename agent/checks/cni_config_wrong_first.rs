use std::time::Duration;

use super::cni::{judged, listing, put_aside};
use crate::config::Config;
use crate::facts::cni::{Cni, ConfFile, Network};
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-config-wrong-first",
    title: "the CNI configuration in effect is not the installed network plugin's",
    severity: Severity::Critical,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[&super::cni_plugin_missing::CHECK],
    signals: &[],
    article: include_str!("cni_config_wrong_first.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    let Some((effective, network)) = cni.in_effect() else { return Ok(Vec::new()) };
    let Some((wanted, owner)) = rightful(cni, network) else {
        // Which plugin is at work here decides it, and could not be seen: with a rival in the directory nothing is sure.
        let rivals = cni.networks().filter(|(_, other)| other.provider != network.provider && !other.is_leftover()).count();
        return cni.unseen.first().filter(|_| rivals > 0).map_or(Ok(Vec::new()), |blind| Err(blind.clone()));
    };
    let (path, ours) = (cni.path_of(effective), format!("{} of {}", wanted.name, owner.provider));
    let why = if let Some(named) = &cni.default_network {
        format!("cni_default_network ({}) names {}, not {ours}", named.source, network.identity())
    } else if effective.name < wanted.name {
        format!("{} ({}) sorts before {ours}", effective.name, network.provider)
    } else {
        format!("{} skips {ours} and takes {} ({})", cni.runtime.name(), effective.name, network.provider)
    };
    let mut finding = listing(cni, Finding::new(Component::Network, path.clone(), format!("{why}: new pods get the wrong network")));
    if let Some(mark) = cni.installed.get(&owner.provider) {
        finding = finding.evidence(mark.place(), format!("{} is at work on this node", owner.provider));
    }
    let pods = format!(
        "kubectl get pods -A -o wide --field-selector spec.nodeName={}  # delete those whose address is of the wrong network",
        quote(facts.node_name())
    );
    Ok(vec![finding.remedy(put_aside(&path)).remedy(pods)])
}

/// The file that should be in effect instead: that of a plugin at work here, where the one in effect is not.
/// What surely came with a tool yields to any network plugin's file.
fn rightful<'a>(cni: &'a Cni, effective: &Network) -> Option<(&'a ConfFile, &'a Network)> {
    let provider = effective.provider.as_str();
    if cni.installed.contains_key(provider) || provider == "multus" {
        return None;
    }
    let leaves_marks = matches!(provider, "flannel" | "calico" | "cilium" | "weave" | "antrea");
    let others = || cni.networks().filter(|(_, other)| other.provider != provider && !other.is_leftover());
    let at_work = others().find(|(_, other)| cni.installed.contains_key(&other.provider));
    if effective.is_leftover() {
        return at_work.or_else(|| others().find(|(_, other)| !other.is_generic())).or_else(|| others().next());
    }
    at_work.filter(|_| leaves_marks || effective.is_generic())
}
