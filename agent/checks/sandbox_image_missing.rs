use std::time::Duration;

use super::log;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "sandbox-image-missing",
    title: "no pod can start: the sandbox (pause) image cannot be had",
    severity: Severity::Critical,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::unit_missing::CHECK, &super::unit_inactive::CHECK, &super::disk_pressure::CHECK, &super::inode_pressure::CHECK],
    signals: &[
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"failed to get sandbox image" },
        // CRI-O (`server/sandbox_run_linux.go`), and dockershim and cri-dockerd (`ensureSandboxImageExists`).
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"creating pod sandbox with name .*nitializing source docker://" },
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"(RunPodSandbox|[Ss]andbox for pod).*failed pulling image" },
        Signal { from: LogSource::Unit("containerd.service"), pattern: r"failed to get sandbox image" },
    ],
    article: include_str!("sandbox_image_missing.md"),
    examine,
};

/// The kubelet tries a pod again at least this often (`pkg/kubelet/pod_workers.go`: the sync period, 60 s, with its jitter).
const REPEATS_SECONDS: i64 = 120;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(seen) = log::seen(facts, CHECK.code)?.filter(|seen| log::age(facts, seen.last) <= REPEATS_SECONDS) else { return Ok(Vec::new()) };
    let Some(line) = seen.samples.last() else { return Ok(Vec::new()) };
    let named = log::image(&line.message);
    let image = named.as_deref().unwrap_or("the sandbox image");
    // The runtime has it by now.
    let told = facts.runtime.known().and_then(|runtime| runtime.answer()?.sandbox_image.as_ref());
    if told.is_some_and(|told| told.present && told.name == image) {
        return Ok(Vec::new());
    }
    let reason = log::pull_failure(&line.message);
    let finding =
        Finding::new(Component::Runtime, image, format!("no pod can start: the sandbox image {image} is not on the node and cannot be pulled{reason}"));
    Ok(vec![
        log::evidence(finding.since(Some(seen.first)), line)
            .remedy(format!("crictl pull {image}"))
            .remedy("crictl images | grep pause; grep -rn -e sandbox_image -e 'sandbox =' -e pause_image /etc/containerd /etc/crio"),
    ])
}
