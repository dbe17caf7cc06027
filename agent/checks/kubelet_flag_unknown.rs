use std::time::Duration;

use super::kubelet::{consequence, edit};
use crate::config::Config;
use crate::facts::Sourced;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kubelet-flag-unknown",
    title: "the kubelet refuses a flag that it does not know",
    severity: Severity::Critical,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"^[EF]\d{4} .*(?i:failed to parse kubelet flag).*unknown (?:shorthand )?flag: " },
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"^F\d{4} .*server\.go:\d+\] unknown (?:shorthand )?flag: " },
    ],
    article: include_str!("kubelet_flag_unknown.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let said = facts.journal.ok()?.signals.get(CHECK.code).and_then(|seen| seen.samples.last());
    let Some((line, flag)) = said.and_then(|line| Some((line, flag_in(&line.message)?))) else { return Ok(Vec::new()) };
    let finding = Finding::new(Component::Kubelet, format!("--{flag}"), format!("the kubelet does not know the flag --{flag}, so {}", consequence(facts)))
        .evidence(line.source.clone(), line.message.clone());
    let set = facts.kubelet.known().and_then(|kubelet| {
        let flags = kubelet.flags.iter().map(|(name, value)| (name.as_str(), value.source.as_str()));
        flags.chain(kubelet.other_flags.iter().map(|other| (other.value.as_str(), other.source.as_str()))).find(|(name, _)| *name == flag)
    });
    Ok(vec![match set {
        Some((_, source)) => finding.evidence(source, "sets it").remedy(edit(&Sourced::new((), source))),
        None => finding.remedy("systemctl cat kubelet; grep -n . /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet /etc/sysconfig/kubelet"),
    }])
}

/// `network-plugin` of `unknown flag: --network-plugin`; pflag has two wordings.
fn flag_in(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown flag: --").or_else(|| message.split_once("unknown shorthand flag: '"))?;
    let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).collect();
    Some(name).filter(|name| !name.is_empty())
}
