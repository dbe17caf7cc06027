use std::time::Duration;

use super::kubelet::{edit, release, version};
use crate::config::Config;
use crate::facts::kubelet::Oddity;
use crate::facts::{Blind, Domain, Facts, Sourced};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kubelet-flag-outdated",
    title: "the kubelet has a flag that a newer kubelet refuses",
    severity: Severity::Info,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[Signal { from: LogSource::Unit("kubelet.service"), pattern: r#""Kubelet version" kubeletVersion="v1\."# }],
    article: include_str!("kubelet_flag_outdated.md"),
    examine,
};

/// kubeadm writes its flags into it, and takes out again what the version that it upgrades to refuses.
const KUBEADM: &str = "/var/lib/kubelet/kubeadm-flags.env";

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    // An image that is made for one release (Bottlerocket's) brings the kubelet and its unit together.
    if kubelet.version.as_ref().is_some_and(|version| version.source.starts_with("/etc/os-release")) {
        return Ok(Vec::new());
    }
    let outdated = kubelet.odd_flags.iter().filter_map(|odd| {
        let Oddity::Gone { release: gone } = odd.oddity else { return None };
        // From that release on it is kubelet-flag-unknown's.
        if release(facts).is_some_and(|release| release >= gone) || odd.source.starts_with(KUBEADM) {
            return None;
        }
        let name = &odd.name;
        let finding = Finding::new(Component::Kubelet, format!("--{name}"), format!("a kubelet of Kubernetes 1.{gone} or newer does not start with --{name}"));
        let finding = finding.evidence(odd.source.clone(), format!("sets --{name}"));
        let known = version(facts).map(|version| (version.source, format!("the kubelet is {}", version.value)));
        let finding = known.into_iter().fold(finding, |finding, (source, saw)| finding.evidence(source, saw));
        Some(finding.remedy(edit(&Sourced::new((), odd.source.clone()))))
    });
    Ok(outdated.collect())
}
