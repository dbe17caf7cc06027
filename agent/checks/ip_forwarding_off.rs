use std::time::Duration;

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "ip-forwarding-off",
    title: "the kernel does not forward IPv4: pods reach nothing beyond the node",
    severity: Severity::Critical,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("ip_forwarding_off.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() || *facts.pressure.ok()?.ipv4_forwarding.ok()? {
        return Ok(Vec::new());
    }
    let summary = "net.ipv4.ip_forward is 0: pods reach nothing beyond the node, and nothing reaches them";
    Ok(vec![
        Finding::new(Component::Network, "net.ipv4.ip_forward", summary)
            .evidence("/proc/sys/net/ipv4/ip_forward", "0")
            .remedy("sysctl -w net.ipv4.ip_forward=1 && echo net.ipv4.ip_forward=1 > /etc/sysctl.d/99-kubernetes-forward.conf")
            .remedy("grep -rn ip_forward /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d /run/sysctl.d 2>/dev/null  # what sets it to 0 at boot?"),
    ])
}
