//! What the checks of who answers and who listens share.

use super::log;
use crate::facts::health::{ApiServer, Endpoint, Holder, Owner, Reach};
use crate::facts::journal::LogLine;
use crate::facts::shell::quote;
use crate::facts::units::{EMBEDDED, Unit};
use crate::facts::{Blind, Facts, Timestamp};
use crate::finding::{Component, Finding};

/// The kubelet complains of the API server at least this often while it has reason to: it renews its lease every 10 s and gives
/// each try as long (`pkg/kubelet/kubelet.go` `nodeLeaseRenewIntervalFraction`).
const COMPLAINS_SECONDS: i64 = 60;

/// What the kubelet says of the API server, by whatever call of it failed. Its words for a container's probe are others.
macro_rules! kubelet_says {
    ($what:literal) => {
        $crate::finding::Signal {
            from: $crate::finding::LogSource::Unit("kubelet.service"),
            pattern: concat!(
                "(?i)(failed to (update lease|ensure lease exists|list )|unable to (register node|write event|update node status)|error (updating node status|getting node)).*",
                $what
            ),
        }
    };
}
pub(super) use kubelet_says;

/// systemd runs it.
pub(super) fn is_active(facts: &Facts, unit: &str) -> bool {
    facts.units.known().and_then(|units| units.get(unit)?.active.as_ref()).is_some_and(|active| active.state == "active")
}

/// Since when the kubelet's unit, or the one it is a part of, is active; `None` if it is not.
///
/// # Errors
/// Blind, if what runs cannot be seen.
pub(super) fn kubelet_active_since(facts: &Facts) -> Result<Option<Timestamp>, Blind> {
    let units = facts.units.ok()?;
    units.running()?;
    let is_kubelet = |unit: &&Unit| unit.name == "kubelet.service" || EMBEDDED.contains(&unit.name.as_str());
    let active = units.units.iter().filter(is_kubelet).filter_map(|unit| unit.active.as_ref()).find(|active| active.state == "active");
    Ok(active.map(|active| active.active_enter.or(active.since).unwrap_or(facts.now)))
}

/// The API server of the kubelet's kubeconfig, where there is anything to judge.
pub(super) fn api_server(facts: &Facts) -> Result<Option<&ApiServer>, Blind> {
    let health = facts.health.ok()?;
    Ok(health.api_server.as_ref().filter(|_| facts.is_kubernetes_node()))
}

/// What the kubelet said of it lately, under the check's code.
pub(super) fn complaint<'a>(facts: &'a Facts, code: &str) -> Option<&'a LogLine> {
    let seen = facts.journal.known()?.signals.get(code)?;
    seen.samples.last().filter(|line| log::age(facts, line.time) <= COMPLAINS_SECONDS)
}

/// A finding about the API server: by what was seen, else by what the kubelet says of it, where it was not asked or cannot be.
///
/// # Errors
/// Blind, where neither tells.
pub(super) fn of_api_server(
    facts: &Facts,
    code: &str,
    seen: impl Fn(&Reach) -> Option<(String, String)>,
    decides: impl Fn(&Reach) -> bool,
    summary: impl Fn(&str) -> String,
) -> Result<Option<(Finding, String)>, Blind> {
    let Some(api_server) = api_server(facts)? else { return Ok(None) };
    let complaint = complaint(facts, code);
    let host = authority(&api_server.server.value);
    let found = api_server.reach.known().and_then(&seen);
    if found.is_none() {
        let is_decided = api_server.reach.known().is_some_and(decides);
        if is_decided || complaint.is_none() {
            // Only what was not asked and is not complained of is unknown.
            return api_server.reach.ok().map(|_| None);
        }
    }
    let mut finding = Finding::new(Component::ControlPlane, api_server.server.value.clone(), summary(&host));
    if let Some((source, saw)) = found {
        finding = finding.evidence(source, saw);
    }
    if let Some(line) = complaint {
        finding = log::evidence(finding, line);
    }
    Ok(Some((finding.evidence(api_server.server.source.clone(), format!("server: {}", api_server.server.value)), host)))
}

/// `192.0.2.1:6443` of a server's URL.
fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().to_owned()
}

/// What a node sees of an API server that it does not reach, and its consequence.
pub(super) const NOT_READY: &str = "the node turns NotReady after about 40 s";

/// Where to look for an API server that does not listen: here, if it is this node's own, else on a control-plane node.
pub(super) fn look_at_api_server(facts: &Facts, finding: Finding, host: &str) -> Finding {
    if facts.node.control_plane {
        finding.remedy(LOOK_AT_OWN)
    } else {
        finding
            .remedy(format!("curl -sk --max-time 5 {}; echo  # does it answer this node now?", quote(&format!("https://{host}/livez"))))
            .remedy(format!("# on the control-plane node, or the load balancer, behind {host}:"))
            .remedy("ss -ltnp 'sport = :6443'; crictl ps -a --name 'kube-apiserver|etcd'")
    }
}

pub(super) const LOOK_AT_OWN: &str = "crictl ps -a --name 'kube-apiserver|etcd'; tail -n 5 /var/log/pods/kube-system_kube-apiserver-*/kube-apiserver/*.log /var/log/pods/kube-system_etcd-*/etcd/*.log";

/// How to find out what a process on a port belongs to, and what then.
pub(super) fn look_at_holder(holder: Option<&Holder>, port: u16, then: &str) -> String {
    match holder {
        Some(Holder { of: Some(Owner::Unit(unit)), .. }) => {
            format!("systemctl status {} --no-pager  # stop it or give it another port, then: {then}", quote(unit))
        }
        Some(Holder { of: Some(Owner::Pod(pod)), .. }) => format!(
            "crictl pods | grep -F {}  # whose pod is it? Remove it or give it another port, then: {then}",
            quote(pod.rsplit('/').next().unwrap_or(pod))
        ),
        Some(holder) => format!("systemctl status {}  # what it belongs to; stop that, then: {then}", holder.pid),
        None => format!("ss -ltnp 'sport = :{port}'  # who it is; stop that, then: {then}"),
    }
}

/// `127.0.0.1:10248` of an endpoint.
pub(super) fn address(endpoint: &Endpoint) -> String {
    authority(&endpoint.url.value)
}
