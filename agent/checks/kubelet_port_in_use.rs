use std::time::Duration;

use super::kubelet::{RESTART, consequence};
use super::{health, log};
use crate::config::Config;
use crate::facts::units::EMBEDDED;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kubelet-port-in-use",
    title: "another process holds a port of the kubelet",
    severity: Severity::Critical,
    domain: Domain::Health,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[
        Signal { from: LogSource::Unit("kubelet.service"), pattern: "Failed to (listen and serve|start healthz server).*address already in use" },
        // 1.20.
        Signal {
            from: LogSource::Unit("kubelet.service"),
            pattern: r"^[EF]\d{4} .*server\.go:\d+\] (Starting healthz server failed: )?listen tcp .*address already in use",
        },
    ],
    article: include_str!("kubelet_port_in_use.md"),
    examine,
};

/// A kubelet that runs without its health port says so every 5 s (`cmd/kubelet/app/server.go`).
const REPEATS_SECONDS: i64 = 30;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    // Within a distribution's own process the kubelet has that one's name.
    let embedded = facts.units.known().is_some_and(|units| units.units.iter().any(|unit| EMBEDDED.contains(&unit.name.as_str()) && unit.is_installed()));
    if embedded {
        return Ok(Vec::new());
    }
    let said = facts.journal.known().and_then(|journal| journal.signals.get(CHECK.code)).and_then(|seen| seen.samples.last());
    let runs = health::is_active(facts, "kubelet.service");
    let found = [(&kubelet.port, "port"), (&kubelet.healthz_port, "healthzPort")].into_iter().filter_map(|(port, field)| {
        let number = port.value;
        let told = said.filter(|line| line.message.contains(&format!(":{number}: ")) && !(runs && log::age(facts, line.time) > REPEATS_SECONDS));
        // What holds the port now decides; the log, where that cannot be seen.
        let listener = facts.health.known().filter(|health| health.listeners.known().is_some()).map(|health| health.listener(number));
        let holder = listener.flatten().and_then(|listener| listener.holder.known());
        let stranger = holder.filter(|holder| holder.command != "kubelet");
        let is_free = matches!(listener, Some(None));
        if stranger.is_none() && (told.is_none() || is_free || holder.is_some()) {
            return None;
        }
        let who = stranger.map_or_else(|| "another process".to_owned(), |holder| format!("{} (pid {})", holder.command, holder.pid));
        let effect = if field == "port" { consequence(facts) } else { "its health cannot be asked" };
        let mut finding = Finding::new(Component::Kubelet, format!("port {number}"), format!("{who} holds the kubelet's port {number}, so {effect}"));
        if let Some(line) = told {
            finding = finding.evidence(log::place(line), line.said());
        }
        if let Some(holder) = stranger {
            finding = finding.evidence("/proc/1/net/tcp", format!("{} listens on {number}", holder.words()));
        }
        Some(finding.evidence(port.source.clone(), format!("{field}: {number}")).remedy(health::look_at_holder(stranger, number, RESTART)))
    });
    Ok(found.collect())
}
