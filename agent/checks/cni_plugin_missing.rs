use std::time::Duration;

use crate::config::Config;
use crate::facts::cni::Binary;
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

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let cni = facts.cni.ok()?;
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let Some((file, network)) = cni.in_effect() else { return Ok(Vec::new()) };
    let path = cni.path_of(file);
    let dirs: Vec<_> = cni.bin_dirs.iter().map(|dir| dir.value.as_str()).collect();
    let dirs = dirs.join(", ");
    Ok(network
        .plugins
        .iter()
        .flat_map(|plugin| std::iter::once(&plugin.kind).chain(&plugin.ipam))
        .filter_map(|kind| {
            let saw = match cni.binaries.get(kind)? {
                Binary::Missing => format!("no {kind} in {dirs}"),
                Binary::NotExecutable(path) => format!("{path} is not an executable file"),
                Binary::Found(_) | Binary::Unreadable(_) => return None,
            };
            let finding = Finding::new(Component::Network, kind.clone(), format!("the CNI plugin {kind} cannot be run: no new pod gets a network"));
            Some(
                finding
                    .evidence(path.clone(), format!("names the plugin {kind}"))
                    .evidence(dirs.clone(), saw)
                    .remedy(format!("ls -l /opt/cni/bin/{kind}  # reinstall kubernetes-cni, or restart the network plugin's DaemonSet pod")),
            )
        })
        .collect())
}
