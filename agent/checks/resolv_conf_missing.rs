use std::time::Duration;

use super::kubelet::edit;
use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "resolv-conf-missing",
    title: "the resolv.conf that pods inherit does not exist",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("resolv_conf_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let path = &kubelet.resolv_conf;
    let Some(resolver) = kubelet.surroundings.resolver.as_ref().filter(|resolver| resolver.state == FileState::Missing) else { return Ok(Vec::new()) };
    let finding = Finding::new(Component::Network, path.value.clone(), format!("resolvConf {} does not exist, so no new pod starts on this node", path.value))
        .evidence(path.source.clone(), format!("names {}", path.value))
        .evidence(path.value.clone(), "no such file");
    Ok(vec![match () {
        () if path.value.starts_with("/run/systemd/resolve/") => finding.remedy("systemctl enable --now systemd-resolved"),
        () if path.value != "/etc/resolv.conf" => finding.remedy(edit(path)),
        () if resolver.upstream.is_some() => finding.remedy("ln -s /run/systemd/resolve/resolv.conf /etc/resolv.conf"),
        () => finding.remedy("ls -l /etc/resolv.conf; systemctl restart systemd-resolved NetworkManager"),
    }])
}
