use std::time::Duration;

use super::kubelet::{RESTART, consequence};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kubelet-port-in-use",
    title: "another process holds a port of the kubelet",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[Signal { from: LogSource::Unit("kubelet.service"), pattern: "Failed to (listen and serve|start healthz server).*address already in use" }],
    article: include_str!("kubelet_port_in_use.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let said = facts.journal.known().and_then(|journal| journal.signals.get(CHECK.code)).and_then(|seen| seen.samples.last());
    let found = [(&kubelet.port, "port"), (&kubelet.healthz_port, "healthzPort")].into_iter().filter_map(|(port, field)| {
        let number = port.value;
        let told = said.filter(|line| line.message.contains(&format!(":{number}: ")));
        let process = kubelet.surroundings.listeners.iter().find(|listener| listener.port == number).and_then(|listener| listener.process.as_ref());
        // A socket whose owner cannot be seen may be that of a kubelet which is just starting.
        let process = process.filter(|(_, name)| name != "kubelet");
        if told.is_none() && process.is_none() {
            return None;
        }
        let holder = process.map_or_else(|| "another process".to_owned(), |(pid, name)| format!("{name} (pid {pid})"));
        let effect = if field == "port" { consequence(facts) } else { "its health cannot be asked" };
        let mut finding = Finding::new(Component::Kubelet, format!("port {number}"), format!("{holder} holds the kubelet's port {number}, so {effect}"));
        if let Some(line) = told {
            finding = finding.evidence(line.source.clone(), line.message.clone());
        }
        if let Some((pid, name)) = process {
            finding = finding.evidence("/proc/1/net/tcp", format!("{name} (pid {pid}) listens on {number}"));
        }
        Some(finding.evidence(port.source.clone(), format!("{field}: {number}")).remedy(match process {
            Some((pid, _)) => format!("systemctl status {pid}  # what it belongs to; stop that, then: {RESTART}"),
            None => format!("ss -ltnp 'sport = :{number}'  # who it is; stop that, then: {RESTART}"),
        }))
    });
    Ok(found.collect())
}
