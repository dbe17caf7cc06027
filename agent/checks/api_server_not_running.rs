use std::time::Duration;

use super::health;
use super::kubelet::quote;
use crate::config::Config;
use crate::facts::health::Listener;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "api-server-not-running",
    title: "this control-plane node's own API server does not listen",
    severity: Severity::Critical,
    domain: Domain::Health,
    settle: Duration::from_secs(20),
    explained_by: units_that_do_not_run![
        super::kubelet_pleg_unhealthy::CHECK,
        super::static_pod_path_missing::CHECK,
        super::static_pod_manifest_invalid::CHECK,
        super::static_pod_duplicated::CHECK,
        super::sandbox_image_missing::CHECK,
        super::certificate_expired::CHECK,
        super::certificate_not_yet_valid::CHECK,
        super::certificate_untrusted_issuer::CHECK,
        super::certificate_invalid::CHECK,
        super::certificate_key_mismatch::CHECK,
        super::certificate_wrong_usage::CHECK,
        super::filesystem_read_only::CHECK,
        super::disk_pressure::CHECK,
        super::inode_pressure::CHECK,
        super::pid_pressure::CHECK,
        super::oom_kill::CHECK,
    ],
    signals: &[],
    article: include_str!("api_server_not_running.md"),
    examine,
};

/// From the kubelet's start until its static pods listen, even where the image must be unpacked.
const STARTS_SECONDS: i64 = 60;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() || !facts.node.live {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let Some((port, source)) = kubelet.own_api_server_port() else { return Ok(Vec::new()) };
    let health = facts.health.ok()?;
    // Of a manifest that cannot be read only the usual port is known.
    let is_api_server = |listener: &Listener| listener.holder.known().is_some_and(|holder| holder.command == "kube-apiserver");
    let listens = health.listeners.ok()?.iter().any(|listener| listener.port == port || is_api_server(listener));
    let starting = health::kubelet_active_since(facts)?.is_some_and(|since| facts.now.seconds_since(since) < STARTS_SECONDS);
    if listens || starting {
        return Ok(Vec::new());
    }
    let manifest = source.rsplit_once(':').map_or(source, |(path, _)| path);
    let finding = Finding::new(Component::ControlPlane, manifest, format!("this node's own API server does not run: nothing listens on port {port}"))
        .evidence("/proc/1/net/tcp", format!("no socket listens on {port}"));
    let told = if source == manifest { format!("is refused, so the usual port {port} is looked at") } else { format!("--secure-port is {port}") };
    Ok(vec![
        finding
            .evidence(source, told)
            .remedy(health::LOOK_AT_OWN)
            .remedy(format!("journalctl -u kubelet -n 100 --no-pager | grep -e {} -e 'Could not process manifest'", quote("kube-apiserver"))),
    ])
}
