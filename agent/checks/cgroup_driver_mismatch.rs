use std::time::Duration;

use super::kubelet::release;
use super::{log, runtime, unit};
use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::runtime::{CgroupDriver, Runtime};
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts, Kubelet, Sourced};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "cgroup-driver-mismatch",
    title: "kubelet and container runtime manage cgroups by different drivers",
    severity: Severity::Critical,
    domain: Domain::Runtime,
    settle: Duration::ZERO,
    explained_by: &[],
    // runc's, of a container whose kubelet is of the other driver (opencontainers/cgroups `systemd/common.go`).
    signals: &[Signal { from: LogSource::Unit("kubelet.service"), pattern: r"expected cgroupsPath to be of format .{1,4}slice:prefix:name" }],
    article: include_str!("cgroup_driver_mismatch.md"),
    examine,
};

/// The kubelet tries a pod again at least this often.
const REPEATS_SECONDS: i64 = 300;

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(runtime) = runtime::judged(facts)? else { return Ok(Vec::new()) };
    let kubelet = facts.kubelet.ok()?;
    let drivers = (kubelets(kubelet), runtimes(runtime));
    let (Some((ours, ours_source)), theirs) = drivers else { return Ok(Vec::new()) };
    // Of files that cannot be read whole nobody knows what they set.
    let known = runtime.answer().is_some() || runtime.config.iter().all(|file| file.state == FileState::Valid);
    let tells = runtime.tells_cgroup_driver();
    if ours == theirs.value || (tells && asks(facts, kubelet)) || !known {
        return Ok(Vec::new());
    }
    let (name, unit) = (runtime.kind.name(), unit::runtime(facts, config));
    let summary = format!(
        "the kubelet uses the cgroup driver {}, {name} {}: pods do not start, or are counted and limited by two managers",
        ours.name(),
        theirs.value.name()
    );
    let mut finding = Finding::new(Component::Runtime, unit.clone(), summary)
        .evidence(ours_source, format!("cgroupDriver: {}", ours.name()))
        .evidence(theirs.source.clone(), format!("{name}'s driver is {}", theirs.value.name()));
    match (runtime.answer(), release(facts)) {
        (Some(answer), _) if !tells => {
            finding = finding.evidence(name, format!("version {} does not tell the kubelet its driver (RuntimeConfig)", answer.version));
        }
        (_, Some(release)) if tells => {
            finding = finding.evidence("kubelet", format!("of Kubernetes 1.{release} does not ask for it (feature gate {GATE})"));
        }
        _ => {}
    }
    let failing = log::seen(facts, CHECK.code).ok().flatten().filter(|seen| log::age(facts, seen.last) <= REPEATS_SECONDS);
    if let Some(line) = failing.and_then(|seen| seen.samples.last()) {
        finding = log::evidence(finding, line);
    }
    Ok(vec![remedies(runtime, kubelet, &theirs, &unit, finding)])
}

/// The kubelet goes by the driver of a runtime that tells it (`pkg/features/kube_features.go`: alpha in 1.28, on from 1.31).
const GATE: &str = "KubeletCgroupDriverFromCRI";

/// Where its release is not known, it is taken for one that does.
fn asks(facts: &Facts, kubelet: &Kubelet) -> bool {
    match kubelet.setting(&format!("featureGates.{GATE}")) {
        Some(set) => set.value == "true",
        None => release(facts).is_none_or(|release| release >= 31),
    }
}

fn kubelets(kubelet: &Kubelet) -> Option<(CgroupDriver, String)> {
    let driver = match kubelet.cgroup_driver.value.as_str() {
        "systemd" => CgroupDriver::Systemd,
        "cgroupfs" => CgroupDriver::Cgroupfs,
        _ => return None,
    };
    let source = kubelet.cgroup_driver.source.as_str();
    Some((driver, if source == "default" { "the kubelet's default".to_owned() } else { source.to_owned() }))
}

/// What the running one says of itself, else what its files say.
fn runtimes(runtime: &Runtime) -> Sourced<CgroupDriver> {
    let configured = &runtime.cgroup_driver;
    let source = if configured.source == "default" { format!("{}'s default", runtime.kind.name()) } else { configured.source.clone() };
    match runtime.answer().and_then(|answer| answer.cgroup_driver) {
        Some(running) if running != configured.value => Sourced::new(running, format!("{}'s Status", runtime.kind.name())),
        _ => Sourced::new(configured.value, source),
    }
}

/// systemd is the one to agree on where systemd is PID 1 (kubernetes.io: Container Runtimes, cgroup drivers).
fn remedies(runtime: &Runtime, kubelet: &Kubelet, theirs: &Sourced<CgroupDriver>, unit: &str, finding: Finding) -> Finding {
    let restart = format!("systemctl restart {unit} kubelet");
    if theirs.value == CgroupDriver::Systemd {
        let file = kubelet.config.as_ref().map_or("/var/lib/kubelet/config.yaml", |file| &file.path.value);
        return finding.remedy(format!("sed -i '/^cgroupDriver:/d' {0} && echo 'cgroupDriver: systemd' >> {0} && {restart}", quote(file)));
    }
    let place = runtime.cgroup_driver.source.rsplit_once(':').filter(|(file, line)| file.starts_with('/') && line.bytes().all(|byte| byte.is_ascii_digit()));
    match (place, runtime.config.first()) {
        (Some((file, line)), _) => finding.remedy(format!("sed -i '{line}s/false/true/;{line}s/cgroupfs/systemd/' {} && {restart}", quote(file))),
        (None, Some(file)) => finding
            .remedy(format!("grep -n -e SystemdCgroup -e runtimes.runc.options {}  # set SystemdCgroup = true there", quote(&file.path.value)))
            .remedy(restart),
        (None, None) => finding.remedy(format!(
            "mkdir -p /etc/containerd && containerd config default | sed 's/SystemdCgroup = false/SystemdCgroup = true/' > /etc/containerd/config.toml && {restart}"
        )),
    }
}
