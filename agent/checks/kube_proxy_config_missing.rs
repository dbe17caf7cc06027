use std::time::Duration;

use super::kube_proxy::{self, consequence, files, is_unit, mend, not_found};
use crate::config::Config;
use crate::facts::kubelet::{File, FileState};
use crate::facts::{Blind, Domain, Facts, KubeProxy, Sourced};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kube-proxy-config-missing",
    title: "a file that kube-proxy is configured by does not exist",
    severity: Severity::Critical,
    domain: Domain::KubeProxy,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kube_proxy_config_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(kube_proxy) = kube_proxy::judged(facts)? else { return Ok(Vec::new()) };
    // A unit that nobody starts may well have none.
    if !kube_proxy.runs() && kube_proxy.pod_logs.is_none() && !is_unit(facts) {
        return Ok(Vec::new());
    }
    let missing = files(kube_proxy).filter(|(file, _)| file.state == FileState::Missing).map(|(file, kind)| {
        let path = &file.path.value;
        let finding = Finding::new(Component::KubeProxy, path.clone(), format!("kube-proxy's {kind} {path} does not exist: {}", consequence(kube_proxy)));
        let on_node = kube_proxy.config_on_node.clone().filter(|_| kind == "configuration").unwrap_or_else(|| path.clone());
        let finding = finding.evidence(on_node, "does not exist").evidence(file.path.source.clone(), format!("names {path}"));
        mend(facts, kube_proxy, finding, file)
    });
    let mut found: Vec<_> = missing.collect();
    if found.is_empty() {
        found.extend(said(facts, kube_proxy));
    }
    Ok(found)
}

/// Of a container that has exited nothing but its log tells how it was started.
fn said(facts: &Facts, kube_proxy: &KubeProxy) -> Option<Finding> {
    let line = kube_proxy.last_words.last().filter(|_| !kube_proxy.runs())?;
    let path = not_found(&line.value)?;
    let file = File { path: Sourced::new(path.to_owned(), line.source.clone()), state: FileState::Missing };
    let summary = format!("kube-proxy finds no {path} in its container: {}", consequence(kube_proxy));
    let finding = Finding::new(Component::KubeProxy, path, summary).evidence(line.source.clone(), line.value.clone());
    Some(mend(facts, kube_proxy, finding, &file))
}
