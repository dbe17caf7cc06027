use std::net::IpAddr;
use std::time::Duration;

use super::kubelet::edit;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "node-ip-missing",
    title: "the kubelet's --node-ip is no address of this machine",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    // An address that comes by DHCP or by a failover is there a little later.
    settle: Duration::from_secs(30),
    explained_by: &[],
    signals: &[],
    article: include_str!("node_ip_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let (Some(flag), Some(addresses)) = (kubelet.flags.get("node-ip"), &kubelet.surroundings.addresses) else { return Ok(Vec::new()) };
    let addresses = addresses.ok()?;
    // What is no address is passed over by the kubelet, and 0.0.0.0 or :: only tell it the family.
    let given = flag.value.split(',').filter_map(|part| part.trim().parse::<IpAddr>().ok()).filter(|address| !address.is_unspecified());
    let found = given.filter(|address| !addresses.contains(address)).map(|address| {
        let summary = format!("the kubelet is told that the node's address is {address}, which no interface here has: its node has no address, or an old one");
        let same: Vec<String> =
            addresses.iter().filter(|other| other.is_ipv4() == address.is_ipv4() && !other.is_loopback()).take(5).map(IpAddr::to_string).collect();
        let has = if same.is_empty() { "no other address of its family".to_owned() } else { format!("has {}", same.join(", ")) };
        Finding::new(Component::Kubelet, address.to_string(), summary)
            .evidence(flag.source.clone(), format!("--node-ip={}", flag.value))
            .evidence(if address.is_ipv4() { "/proc/1/net/fib_trie" } else { "/proc/1/net/if_inet6" }, format!("this machine {has}"))
            .remedy(edit(flag))
    });
    Ok(found.collect())
}
