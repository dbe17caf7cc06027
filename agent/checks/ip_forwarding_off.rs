use std::time::Duration;

use crate::config::Config;
use crate::facts::pressure::Forwarding;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "ip-forwarding-off",
    title: "the kernel does not forward: pods reach nothing beyond the node",
    severity: Severity::Critical,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("ip_forwarding_off.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let pressure = facts.pressure.ok()?;
    let ipv4 = *pressure.ipv4_forwarding.ok()?;
    // Of a node with both kinds of addresses, the cluster's DNS server tells whether pods have IPv6 as well.
    let dual = facts.kubelet.known().is_some_and(|kubelet| kubelet.cluster_dns.value.iter().any(|server| server.contains(':')));
    let ipv6 = if ipv4 == Forwarding::Unused || dual { *pressure.ipv6_forwarding.ok()? } else { Forwarding::Unused };
    let off = [("IPv4", "net.ipv4.ip_forward", ipv4), ("IPv6", "net.ipv6.conf.all.forwarding", ipv6)];
    Ok(off.into_iter().filter(|(.., forwards)| *forwards == Forwarding::Disabled).map(|(family, sysctl, _)| finding(family, sysctl)).collect())
}

fn finding(family: &str, sysctl: &str) -> Finding {
    let name = sysctl.rsplit('.').next().unwrap_or(sysctl);
    let path = format!("/proc/sys/{}", sysctl.replace('.', "/"));
    Finding::new(Component::Network, sysctl, format!("{sysctl} is 0: over {family} pods reach nothing beyond the node, and nothing reaches them"))
        .evidence(path, "0")
        .remedy(format!("sysctl -w {sysctl}=1 && echo {sysctl}=1 > /etc/sysctl.d/99-kubernetes-forward-{}.conf", family.to_lowercase()))
        .remedy(format!("grep -rn {name} /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d /run/sysctl.d 2>/dev/null  # what sets it to 0 at boot?"))
}
