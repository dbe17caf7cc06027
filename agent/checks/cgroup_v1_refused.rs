use std::time::Duration;

use super::kubelet::{RESTART, consequence, quote, release, replace, version};
use super::log;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "cgroup-v1-refused",
    title: "the kubelet refuses to run on a host with cgroup v1",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[Signal { from: LogSource::Unit("kubelet.service"), pattern: "kubelet is configured to not run on a host using cgroup v1" }],
    article: include_str!("cgroup_v1_refused.md"),
    examine,
};

/// The release from which `failCgroupV1` is true by default (`pkg/kubelet/apis/config/v1beta1/defaults.go`).
const REFUSES: u32 = 35;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let said = facts.journal.known().and_then(|journal| journal.signals.get(CHECK.code));
    let set = kubelet.fail_cgroup_v1.as_ref();
    // What the configuration leaves open depends on the kubelet's version, if that is known; else its own words tell.
    let by_default = release(facts).is_some_and(|release| release >= REFUSES);
    let refuses = set.map_or(said.is_some() || by_default, |set| set.value);
    if kubelet.surroundings.cgroup_version != Some(1) || !refuses {
        return Ok(Vec::new());
    }
    let summary = format!("this host uses cgroup v1, which the kubelet refuses, so {}", consequence(facts));
    let mut finding = Finding::new(Component::Kubelet, "/sys/fs/cgroup", summary).evidence("/sys/fs/cgroup", "no cgroup2 file system");
    if let Some(set) = set {
        finding = finding.evidence(set.source.clone(), "failCgroupV1: true");
    } else if let Some(line) = said.and_then(|said| said.samples.last()) {
        finding = finding.evidence(log::place(line), line.said());
    }
    let version = version(facts).filter(|_| set.is_none() && by_default);
    let finding = version.into_iter().fold(finding, |finding, version| finding.evidence(version.source, format!("the kubelet is {}", version.value)));
    let config = kubelet.config.as_ref().map(|config| quote(&config.path.value));
    let mend = match (set, config) {
        (Some(set), _) => replace(set, "true", "false"),
        (None, Some(config)) => format!("printf '\\nfailCgroupV1: false\\n' >> {config} && {RESTART}"),
        (None, None) => format!("systemctl edit --full kubelet && {RESTART}"),
    };
    Ok(vec![finding.remedy(mend).remedy("# for good, boot with cgroup v2: systemd.unified_cgroup_hierarchy=1 on the kernel's command line")])
}
