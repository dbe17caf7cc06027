use std::time::Duration;

use super::kubelet::{RESTART, consequence, quote, replace};
use crate::config::Config;
use crate::facts::certificates::PlaceState;
use crate::facts::kubelet::{File, FileState};
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-client-ca-missing",
    title: "the kubelet's client CA file is missing or holds no certificate",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_client_ca_missing.md"),
    examine,
};

/// Where kubeadm puts the cluster's CA.
const USUAL: &str = "/etc/kubernetes/pki/ca.crt";

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    if !kubelet.has_joined() {
        return Ok(Vec::new());
    }
    let Some(file) = &kubelet.client_ca_file else { return Ok(Vec::new()) };
    let (what, saw) = match &file.state {
        FileState::Missing => ("does not exist", "no such file".to_owned()),
        FileState::Invalid(faults) => ("holds no certificate", faults.first().map_or_else(String::new, |fault| fault.message.clone())),
        FileState::Valid | FileState::Unreadable(_) => return Ok(Vec::new()),
    };
    let path = &file.path.value;
    let summary = format!("the kubelet's client CA file {path} {what}, so {}", consequence(facts));
    Ok(vec![
        Finding::new(Component::Kubelet, path.clone(), summary)
            .evidence(file.path.source.clone(), format!("names {path}"))
            .evidence(path.clone(), saw)
            .remedy(remedy(facts, file)),
    ])
}

/// A path that is not the usual one, while the usual file is there, is a slip of the pen. Else the file is made again:
/// a kubeadm node's kubeconfig trusts the same CA.
fn remedy(facts: &Facts, file: &File) -> String {
    let path = &file.path.value;
    let usual_is_there = facts.certificates.known().is_some_and(|certificates| {
        certificates.places.iter().any(|place| place.path == USUAL && place.entry.is_none() && matches!(place.state, PlaceState::Certificates(_)))
    });
    if path != USUAL && usual_is_there {
        return replace(&file.path, path, USUAL);
    }
    let kubeconfig = facts.kubelet.known().and_then(|kubelet| kubelet.kubeconfig.as_ref()).map_or("/etc/kubernetes/kubelet.conf", |k| &k.file.path.value);
    format!("awk '/certificate-authority-data:/ {{print $2}}' {} | base64 -d | install -D -m 644 /dev/stdin {} && {RESTART}", quote(kubeconfig), quote(path))
}
