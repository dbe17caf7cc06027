//! KubeProxyConfiguration, as kube-proxy reads and refuses it (`pkg/proxy/apis/config/validation/validation.go`).

use std::net::{IpAddr, SocketAddr};

use crate::facts::Sourced;
use crate::facts::kubelet::Fault;
use crate::observe::yaml::{Node, Tree};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";
/// `userspace` was removed in 1.26; an older one may still run with it.
const MODES: [&str; 5] = ["", "iptables", "ipvs", "nftables", "userspace"];
const LOCAL_MODES: [&str; 5] = ["", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"];
/// Fields that are texts, and those that are mappings.
const TEXTS: [&str; 8] = ["bindAddress", "healthzBindAddress", "metricsBindAddress", "clusterCIDR", "hostnameOverride", "mode", "detectLocalMode", "portRange"];
const MAPPINGS: [&str; 6] = ["clientConnection", "iptables", "ipvs", "nftables", "conntrack", "detectLocal"];

/// Everything that kube-proxy would refuse, in the order of the file's checks.
pub(super) fn faults(config: &Node) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (key, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match config.find(&[key]) {
            None => faults.push(config.at.fault(format!("no {key}; {expected} is expected"))),
            Some(found) if found.text() != Some(expected) => faults.push(found.at.fault(format!("{key} is {found}, where {expected} is expected"))),
            Some(_) => {}
        }
    }
    if !faults.is_empty() {
        return faults;
    }
    let wrong = |key: &str, is: fn(&Node) -> bool, expected: &str| {
        config.find(&[key]).filter(|found| !is(found)).map(|found| found.at.fault(format!("{key} is {found}, where {expected} is expected")))
    };
    faults.extend(TEXTS.iter().filter_map(|key| wrong(key, |found| found.text().is_some(), "a text")));
    faults.extend(MAPPINGS.iter().filter_map(|key| wrong(key, |found| matches!(found.tree, Tree::Map(_)), "a mapping")));
    faults.extend(wrong("oomScoreAdj", |found| matches!(found.tree, Tree::Int(-1000..=1000)), "a number from -1000 to 1000"));
    if faults.is_empty() {
        faults.extend(values(config));
    }
    faults
}

fn values(config: &Node) -> Vec<Fault> {
    let of = |key: &'static str| config.find(&[key]).and_then(|node| Some((node, node.text()?)));
    let wrong = |key: &'static str, is: &dyn Fn(&str) -> bool, expected: &str| {
        of(key).filter(|(_, text)| !is(text)).map(|(node, text)| node.at.fault(format!("{key} is {text:?}, where {expected} is expected")))
    };
    let address = |text: &str| text.is_empty() || text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    [
        wrong("mode", &|text| MODES.contains(&text), "iptables, ipvs, nftables or nothing"),
        wrong("detectLocalMode", &|text| LOCAL_MODES.contains(&text), "ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"),
        wrong("bindAddress", &|text| text.is_empty() || text.parse::<IpAddr>().is_ok(), "an IP address"),
        wrong("healthzBindAddress", &address, "an IP address with a port"),
        wrong("metricsBindAddress", &address, "an IP address with a port"),
        wrong("clusterCIDR", &|text| text.is_empty() || text.split(',').all(is_cidr), "one range of addresses, or two with a comma"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn is_cidr(text: &str) -> bool {
    let Some((ip, bits)) = text.trim().split_once('/') else { return false };
    let most = match ip.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// A text of the configuration and where it stands.
pub(super) fn text(config: &Node, path: &[&str]) -> Option<Sourced<String>> {
    let node = config.find(path)?;
    Some(node.sourced(node.text()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::yaml;

    fn of(text: &str) -> Vec<String> {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        let node = yaml::parse(format!("{head}{text}").as_bytes(), "/c").unwrap().unwrap();
        faults(&node).iter().map(|fault| format!("{}: {}", fault.place("/c"), fault.message)).collect()
    }

    #[test]
    fn what_kubeadm_writes_is_taken() {
        let kubeadm = "bindAddress: 0.0.0.0\nbindAddressHardFail: false\nclientConnection:\n  acceptContentTypes: \"\"\n  burst: 0\n  contentType: \"\"\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n  qps: 0\nclusterCIDR: 10.244.0.0/16,fd00::/56\nconfigSyncPeriod: 0s\nconntrack:\n  maxPerCore: null\n  min: null\ndetectLocal:\n  bridgeInterface: \"\"\n  interfaceNamePrefix: \"\"\ndetectLocalMode: \"\"\nenableProfiling: false\nhealthzBindAddress: \"\"\nhostnameOverride: \"\"\niptables:\n  localhostNodePorts: null\n  masqueradeAll: false\nipvs:\n  excludeCIDRs: null\nmetricsBindAddress: \"[::]:10249\"\nmode: \"\"\nnodePortAddresses: null\noomScoreAdj: null\nportRange: \"\"\n";
        assert_eq!(of(kubeadm), [""; 0]);
    }

    #[test]
    fn what_kube_proxy_refuses_is_named_with_its_place() {
        assert_eq!(of("mode: iptable\n"), ["/c:3:7: mode is \"iptable\", where iptables, ipvs, nftables or nothing is expected"]);
        assert_eq!(of("clusterCIDR: 10.244.0.0\n").len(), 1);
        assert_eq!(of("healthzBindAddress: \"0.0.0.0:x\"\nmetricsBindAddress: localhost:10249\n").len(), 2);
        assert_eq!(of("mode: [ipvs]\nconntrack: 5\noomScoreAdj: 2000\n").len(), 3);
        let other = yaml::parse(b"apiVersion: kubeproxy.config.k8s.io/v1\nkind: KubeProxyConfiguration\n", "/c").unwrap().unwrap();
        assert!(faults(&other)[0].message.starts_with("apiVersion is"));
    }
}
