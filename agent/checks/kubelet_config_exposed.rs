use std::time::Duration;

use super::kubelet::quote;
use crate::config::Config;
use crate::facts::kubelet::Permissions;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-config-exposed",
    title: "others than root can change the kubelet's configuration or read its credentials",
    severity: Severity::Warning,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_config_exposed.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let files = &facts.kubelet.ok()?.surroundings.permissions;
    let exposed = files.iter().filter_map(|file| {
        let who = who(file)?;
        let path = &file.path;
        let mode = if file.secret { "600" } else { "644" };
        Some(
            Finding::new(Component::Kubelet, path.clone(), format!("{path} can be {who}"))
                .evidence(path.clone(), format!("mode {:04o}, owner uid {}{}", file.mode, file.uid, if file.secret { ", credentials in it" } else { "" }))
                .remedy(format!("chown root:root {0} && chmod {mode} {0}", quote(path))),
        )
    });
    Ok(exposed.collect())
}

/// What others than root can do to it, the worst first.
fn who(file: &Permissions) -> Option<String> {
    if file.uid != 0 {
        return Some(format!("changed by the user {}, who owns it", file.uid));
    }
    let others = |bits: u32| match (file.mode & bits & 0o070 != 0, file.mode & bits & 0o007 != 0) {
        (_, true) => Some("everybody"),
        (true, false) => Some("its group"),
        (false, false) => None,
    };
    let changed = others(0o022).map(|who| format!("changed by {who}"));
    changed.or_else(|| others(0o044).filter(|_| file.secret).map(|who| format!("read by {who}, with the credentials in it")))
}
