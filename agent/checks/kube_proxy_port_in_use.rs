use std::time::Duration;

use super::{health, kube_proxy, log};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts, KubeProxy};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kube-proxy-port-in-use",
    title: "another process holds a port of kube-proxy",
    severity: Severity::Warning,
    domain: Domain::Health,
    settle: Duration::from_secs(5),
    explained_by: &[],
    signals: &[Signal { from: LogSource::Unit("kube-proxy.service"), pattern: TAKEN }, Signal { from: LogSource::Container("kube-proxy"), pattern: TAKEN }],
    article: include_str!("kube_proxy_port_in_use.md"),
    examine,
};

/// `failed to start proxy healthz on 0.0.0.0:10256: listen tcp 0.0.0.0:10256: bind: address already in use`, `starting metrics server
/// failed … listen tcp 127.0.0.1:10249: bind: …`; every 5 s (`cmd/kube-proxy/app/server.go`).
const TAKEN: &str = r"(proxy healthz|healthz server|metrics server).*listen tcp .*bind: address already in use";
const REPEATS_SECONDS: i64 = 30;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(kube_proxy) = kube_proxy::judged(facts)?.filter(|kube_proxy| kube_proxy.runs()) else { return Ok(Vec::new()) };
    let health = facts.health.ok()?;
    health.listeners.ok()?;
    let said = facts.journal.known().and_then(|journal| journal.signals.get(CHECK.code)?.samples.last());
    let said = said.filter(|line| log::age(facts, line.time) <= REPEATS_SECONDS);
    let addresses = [
        (&kube_proxy.healthz_bind_address, "healthzBindAddress", "load balancers take this node for one without endpoints"),
        (&kube_proxy.metrics_bind_address, "metricsBindAddress", "its metrics are those of another process"),
    ];
    let found = addresses.into_iter().filter_map(|(address, field, effect)| {
        let port = KubeProxy::port(&address.value)?;
        // What holds the port now decides; its own words, where that cannot be seen.
        let listener = health.listener(port)?;
        let told = said.filter(|line| listener.holder.known().is_none() && line.message.contains(&format!(":{port}: bind")));
        let stranger = health.stranger(port, &["kube-proxy"]);
        if stranger.is_none() && told.is_none() {
            return None;
        }
        let who = stranger.map_or_else(|| "another process".to_owned(), |holder| format!("{} (pid {})", holder.command, holder.pid));
        let mut finding = Finding::new(Component::KubeProxy, format!("port {port}"), format!("{who} holds kube-proxy's port {port}: {effect}"));
        if let Some(holder) = stranger {
            finding = finding.evidence("/proc/1/net/tcp", format!("{} listens on {port}", holder.words()));
        }
        if let Some(line) = told {
            finding = log::evidence(finding, line);
        }
        Some(finding.evidence(address.source.clone(), format!("{field}: {}", address.value)).remedy(health::look_at_holder(
            stranger,
            port,
            "kube-proxy takes the port by itself within 5 s",
        )))
    });
    Ok(found.collect())
}
