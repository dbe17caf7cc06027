use std::time::Duration;

use super::log;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "coredns-looping",
    title: "CoreDNS on this node exits: its questions come back to itself",
    severity: Severity::Critical,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::dns_forwarding_loop::CHECK],
    signals: &[Signal { from: LogSource::Container("coredns"), pattern: r"plugin/loop: Loop .* detected for zone" }],
    article: include_str!("coredns_looping.md"),
    examine,
};

/// A container that keeps exiting is started again after five minutes at most (`pkg/kubelet/kubelet.go` `MaxCrashLoopBackOff`).
const REPEATS_SECONDS: i64 = 360;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(seen) = log::seen(facts, CHECK.code)?.filter(|seen| log::age(facts, seen.last) <= REPEATS_SECONDS) else { return Ok(Vec::new()) };
    let Some(line) = seen.samples.last() else { return Ok(Vec::new()) };
    let finding = Finding::new(Component::Network, "coredns", "CoreDNS on this node exits again and again: what it forwards comes back to itself");
    Ok(vec![
        log::evidence(finding.since(Some(seen.first)), line)
            .remedy("cat /etc/resolv.conf; grep -n resolvConf /var/lib/kubelet/config.yaml  # which name servers do pods inherit? 127.0.0.53 is CoreDNS itself, seen from its pod")
            .remedy("kubectl -n kube-system get configmap coredns -o yaml | grep -n forward"),
    ])
}
