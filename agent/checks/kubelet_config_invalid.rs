use std::time::Duration;

use super::kubelet::{consequence, edit_at, faults};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-config-invalid",
    title: "the kubelet refuses its configuration file",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_config_invalid.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let refused = kubelet.config_files().filter_map(|file| {
        let found = file.faults();
        let first = found.first()?;
        let path = &file.path.value;
        let line = first.line.map_or_else(String::new, |line| format!(" at line {line}"));
        let more = if found.len() > 1 { format!(" (and {} more)", found.len() - 1) } else { String::new() };
        let summary = format!("the kubelet's configuration {path} is refused{line}{more}, so {}", consequence(facts));
        let finding = Finding::new(Component::Kubelet, path.clone(), summary);
        Some(faults(finding, path, found).remedy(edit_at(path, first.line)))
    });
    Ok(refused.collect())
}
