//! What the unit checks share: which units this node needs, and how a program ended.

use crate::facts::units::{Active, Unit};
use crate::facts::{Blind, Facts};
use crate::finding::{Component, Evidence, Finding};

/// The units whose state matters: the kubelet, its runtime, and what else of Kubernetes is installed as a unit.
/// A runtime that the kubelet does not use is not judged.
pub(super) fn needed(facts: &Facts) -> Result<Vec<&Unit>, Blind> {
    let units = facts.units.ok()?;
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let runtimes = runtimes(facts);
    let is_runtime = |name: &str| component(name) == Component::Runtime;
    Ok(units
        .units
        .iter()
        .filter(|unit| match unit.name.as_str() {
            "kubelet.service" => true,
            name if is_runtime(name) => runtimes.contains(&name),
            _ => unit.is_installed(),
        })
        .collect())
}

/// The runtime's units, by the kubelet's endpoint; where that is unknown, those that are installed.
fn runtimes(facts: &Facts) -> Vec<&'static str> {
    let endpoint = facts.kubelet.known().and_then(|kubelet| kubelet.container_runtime_endpoint.as_ref()).map_or("", |endpoint| endpoint.value.as_str());
    let installed = |name: &str| facts.units.known().and_then(|units| units.get(name)).is_some_and(Unit::is_installed);
    match endpoint {
        e if e.contains("crio") => vec!["crio.service"],
        e if e.contains("dockerd") => vec!["cri-docker.service", "docker.service"],
        e if e.contains("containerd/containerd.sock") && !e.contains("k3s") => vec!["containerd.service"],
        _ => ["containerd.service", "crio.service", "cri-docker.service"].into_iter().filter(|name| installed(name)).take(1).collect(),
    }
}

/// The unit of the runtime that the kubelet uses, or the usual one where nothing tells.
pub(super) fn runtime(facts: &Facts) -> String {
    let units = needed(facts).unwrap_or_default();
    units.iter().find(|unit| component(&unit.name) == Component::Runtime).map_or("containerd.service", |unit| &unit.name).to_owned()
}

pub(super) fn component(name: &str) -> Component {
    match name {
        "kubelet.service" => Component::Kubelet,
        "kube-proxy.service" => Component::KubeProxy,
        "containerd.service" | "crio.service" | "docker.service" | "cri-docker.service" => Component::Runtime,
        _ => Component::ControlPlane,
    }
}

/// `exit code 1`, `killed by signal 9 (SIGKILL)`.
pub(super) fn ending(active: &Active) -> String {
    let status = active.exec_main_status;
    match active.exec_main_code {
        2 | 3 => match nix_signal(status) {
            Some(name) => format!("killed by signal {status} ({name})"),
            None => format!("killed by signal {status}"),
        },
        1 if status == 203 => "exit code 203: its program could not be started (EXEC)".to_owned(),
        1 => format!("exit code {status}"),
        _ => format!("result {}", active.result),
    }
}

/// signal(7), the ones that end services.
fn nix_signal(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// The unit's last words as evidence, if the journal has them.
pub(super) fn last_words(facts: &Facts, unit: &Unit, mut finding: Finding) -> Finding {
    let line = facts.journal.known().and_then(|journal| journal.last_words.get(&unit.name)).and_then(|words| words.last());
    if let Some(line) = line {
        finding.evidence.push(Evidence { source: format!("{}, last {}", unit.name, line.time.clock()), saw: line.message.clone() });
    }
    finding
}
