use std::time::Duration;

use super::{runtime, unit};
use crate::config::Config;
use crate::facts::runtime::Reply;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "runtime-cri-missing",
    title: "the container runtime runs without the part that the kubelet talks to (CRI)",
    severity: Severity::Critical,
    domain: Domain::Runtime,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("runtime_cri_missing.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(runtime) = runtime::judged(facts)? else { return Ok(Vec::new()) };
    let refused = match &runtime.reply {
        Reply::Failed { call, code, message } if code == "Unimplemented" => Some(format!("{call}: {message}")),
        // It runs with what it read at its start, whatever the file says now.
        Reply::Answered(_) => return Ok(Vec::new()),
        _ => None,
    };
    if refused.is_none() && runtime.cri_disabled.is_none() {
        return Ok(Vec::new());
    }
    let (name, unit) = (runtime.kind.name(), unit::runtime(facts, config));
    let file = runtime.cri_disabled.as_deref().and_then(|place| place.rsplit_once(':')).map(|(file, _)| file);
    let subject = file.or(runtime.socket()).unwrap_or(name);
    let summary = match file {
        Some(file) => format!("{name}'s CRI is switched off in {file}: the kubelet cannot use it"),
        None => format!("{name} runs, but its CRI plugin does not: the kubelet cannot use it"),
    };
    let mut finding = Finding::new(Component::Runtime, subject, summary);
    if let Some(place) = &runtime.cri_disabled {
        finding = finding.evidence(place.clone(), "disabled_plugins names the CRI plugin");
    }
    if let (Some(said), Some(socket)) = (refused, runtime.socket()) {
        finding = finding.evidence(socket, said);
    }
    Ok(vec![match file {
        Some(file) => finding.remedy(format!("sed -i '/^disabled_plugins *= *\\[.*\\]/s/^/#/' {} && systemctl restart {unit}", quote(file))),
        None => finding
            .remedy("ctr plugins ls | grep -v ' ok$'  # which plugin failed, or was skipped")
            .remedy(format!("journalctl -u {unit} -b --no-pager | grep -e 'failed to load plugin' -e 'invalid plugin config' | tail -n 5")),
    }])
}
