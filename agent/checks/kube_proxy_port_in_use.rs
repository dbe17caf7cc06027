use std::time::Duration;

use super::{health, kube_proxy};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts, KubeProxy};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kube-proxy-port-in-use",
    title: "another process holds a port of kube-proxy",
    severity: Severity::Warning,
    domain: Domain::Health,
    settle: Duration::from_secs(5),
    explained_by: &[],
    signals: &[],
    article: include_str!("kube_proxy_port_in_use.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(kube_proxy) = kube_proxy::judged(facts)?.filter(|kube_proxy| kube_proxy.runs()) else { return Ok(Vec::new()) };
    let health = facts.health.ok()?;
    health.listeners.ok()?;
    let addresses = [
        (&kube_proxy.healthz_bind_address, "healthzBindAddress", "load balancers take this node for one without endpoints"),
        (&kube_proxy.metrics_bind_address, "metricsBindAddress", "its metrics are those of another process"),
    ];
    let found = addresses.into_iter().filter_map(|(address, field, effect)| {
        let port = KubeProxy::port(&address.value)?;
        let stranger = health.stranger(port, &["kube-proxy"])?;
        let summary = format!("{} (pid {}) holds kube-proxy's port {port}: {effect}", stranger.command, stranger.pid);
        Some(
            Finding::new(Component::KubeProxy, format!("port {port}"), summary)
                .evidence("/proc/1/net/tcp", format!("{} listens on {port}", stranger.words()))
                .evidence(address.source.clone(), format!("{field}: {}", address.value))
                .remedy(health::look_at_holder(Some(stranger), port, "kube-proxy takes the port by itself within 5 s")),
        )
    });
    Ok(found.collect())
}
