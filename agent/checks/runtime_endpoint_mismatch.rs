use std::time::Duration;

use super::runtime;
use crate::config::Config;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "runtime-endpoint-mismatch",
    title: "the kubelet asks for the container runtime where it is not",
    severity: Severity::Critical,
    domain: Domain::Runtime,
    // A runtime that is restarted makes its socket again.
    settle: Duration::from_secs(5),
    explained_by: &[],
    signals: &[],
    article: include_str!("runtime_endpoint_mismatch.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(runtime) = runtime::judged(facts)? else { return Ok(Vec::new()) };
    let (Some(socket), Some(other)) = (runtime.socket(), runtime::other_meant(facts, config, runtime)) else { return Ok(Vec::new()) };
    let summary = format!("the kubelet asks the container runtime at {socket}, where nothing is; a runtime's socket is {other}");
    let finding = Finding::new(Component::Runtime, socket, summary).evidence(socket, "does not exist");
    let finding = runtime.other_sockets.iter().fold(runtime::endpoint(runtime, finding), |finding, other| finding.evidence(other.clone(), "is there"));
    let file = runtime.endpoint.source.rsplit_once(':').map(|(file, _)| file).filter(|file| file.starts_with('/'));
    Ok(vec![match file {
        Some(file) => finding.remedy(format!("sed -i 's|{}|unix://{other}|' {} && systemctl restart kubelet", runtime.endpoint.value, quote(file))),
        None => {
            finding.remedy("systemctl cat kubelet; cat /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet  # where --container-runtime-endpoint is set")
        }
    }])
}
