use std::time::Duration;

use super::kubelet::{consequence, edit, edit_at, faults, refused_flags};
use super::log;
use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts, Kubelet};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kubelet-config-invalid",
    title: "the kubelet refuses its configuration file",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[
        Signal {
            from: LogSource::Unit("kubelet.service"),
            pattern: r"^[EF]\d{4} .*(?:failed to validate kubelet configuration|unrecognized feature gate|cannot set feature gate|failed to decode)",
        },
        Signal {
            from: LogSource::Unit("kubelet.service"),
            pattern: "^[EF]\\d{4} .*failed to run Kubelet: (?:unsupported eviction signal|the static policy requires|unable to parse reserved)",
        },
    ],
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
    let refused: Vec<Finding> = refused.collect();
    // Flags go through the same validation, and a host with cgroup v1: those have findings of their own.
    let explained = !refused.is_empty() || !refused_flags(facts).is_empty();
    Ok(if explained { refused } else { told_by_itself(facts, kubelet).into_iter().collect() })
}

/// What the kubelet says of its configuration and no rule here does: of feature gates, which come and go with every release.
fn told_by_itself(facts: &Facts, kubelet: &Kubelet) -> Option<Finding> {
    let line = facts.journal.known()?.signals.get(CHECK.code)?.samples.last()?;
    let file = kubelet.config.as_ref().filter(|file| file.state == FileState::Valid && !line.message.contains("using cgroup v1"))?;
    let path = &file.path.value;
    let gate = GATE_WORDS.iter().find_map(|words| line.message.split_once(words)).map(|(_, rest)| {
        let name: String = rest.trim_start().chars().take_while(char::is_ascii_alphanumeric).collect();
        name
    });
    let set = gate.and_then(|gate| kubelet.setting(&format!("featureGates.{gate}")));
    let summary = format!("the kubelet refuses its configuration {path}, so {}", consequence(facts));
    let finding = Finding::new(Component::Kubelet, path.clone(), summary).evidence(log::place(line), line.said());
    Some(match set {
        Some(set) => finding.evidence(set.source.clone(), "sets it").remedy(edit(set)),
        None => finding.remedy(edit_at(path, None)),
    })
}

/// `component-base/featuregate/feature_gate.go`.
const GATE_WORDS: [&str; 2] = ["unrecognized feature gate:", "cannot set feature gate"];
