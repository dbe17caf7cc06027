use std::time::Duration;

use super::kube_proxy::{self, consequence, files, is_unit, mend};
use super::kubelet::faults;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kube-proxy-config-invalid",
    title: "kube-proxy refuses its configuration",
    severity: Severity::Critical,
    domain: Domain::KubeProxy,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kube_proxy_config_invalid.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(kube_proxy) = kube_proxy::judged(facts)? else { return Ok(Vec::new()) };
    if !kube_proxy.runs() && kube_proxy.pod_logs.is_none() && !is_unit(facts) {
        return Ok(Vec::new());
    }
    let invalid = files(kube_proxy).filter(|(file, _)| !file.faults().is_empty()).map(|(file, kind)| {
        let path = &file.path.value;
        let on_node = kube_proxy.config_on_node.as_ref().filter(|_| kind == "configuration").unwrap_or(path);
        let what = file.faults().first().map_or("", |fault| fault.message.as_str());
        let finding = Finding::new(Component::KubeProxy, path.clone(), format!("kube-proxy refuses its {kind} {path} ({what}): {}", consequence(kube_proxy)));
        mend(facts, kube_proxy, faults(finding, on_node, file.faults()), file)
    });
    Ok(invalid.collect())
}
