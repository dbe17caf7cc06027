use std::time::Duration;

use crate::config::Config;
use crate::facts::kubelet::FileState;
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
    let Some(config) = &kubelet.config else { return Ok(Vec::new()) };
    let FileState::Invalid(fault) = &config.state else { return Ok(Vec::new()) };
    let path = &config.path.value;
    let place = fault.place(path);
    Ok(vec![
        Finding::new(Component::Kubelet, path.clone(), format!("the kubelet refuses its configuration at {place}: {}", fault.message))
            .evidence(place, fault.message.clone())
            .remedy(format!("vi {}{path} && systemctl restart kubelet", fault.line.map_or_else(String::new, |line| format!("+{line} ")))),
    ])
}
