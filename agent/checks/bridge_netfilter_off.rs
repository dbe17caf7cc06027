use std::time::Duration;

use crate::config::Config;
use crate::facts::kube_proxy::BridgeNetfilter;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "bridge-netfilter-off",
    title: "packets between pods pass the bridge by iptables: Services fail between pods of this node",
    severity: Severity::Critical,
    domain: Domain::KubeProxy,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("bridge_netfilter_off.md"),
    examine,
};

const SYSCTL: &str = "net.bridge.bridge-nf-call-iptables";
/// Plugins that put the pods of a node on one Linux bridge.
const BRIDGING: [&str; 3] = ["bridge", "flannel", "weave-net"];

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let kube_proxy = facts.kube_proxy.ok()?;
    if !facts.is_kubernetes_node() || !kube_proxy.runs() {
        return Ok(Vec::new());
    }
    let cni = facts.cni.ok()?;
    let Some((file, bridging)) =
        cni.in_effect().and_then(|(file, network)| Some((file, network.plugins.iter().find(|plugin| BRIDGING.contains(&plugin.kind.as_str()))?)))
    else {
        return Ok(Vec::new());
    };
    let (saw, why) = match kube_proxy.kernel.bridge_netfilter.ok()? {
        BridgeNetfilter::On | BridgeNetfilter::NotAsked => return Ok(Vec::new()),
        BridgeNetfilter::Off => ("0".to_owned(), format!("{SYSCTL} is 0")),
        BridgeNetfilter::NotLoaded => ("does not exist: br_netfilter is not loaded".to_owned(), "br_netfilter is not loaded".to_owned()),
    };
    let summary = format!("{why}, and the network bridges: a pod does not reach a Service whose pod is on this node, too");
    Ok(vec![
        Finding::new(Component::Network, SYSCTL, summary)
            .evidence("/proc/sys/net/bridge/bridge-nf-call-iptables", saw)
            .evidence(cni.path_of(file), format!("type: {}", bridging.kind))
            .remedy(format!("modprobe br_netfilter && sysctl -w {SYSCTL}=1 net.bridge.bridge-nf-call-ip6tables=1"))
            .remedy(format!("echo br_netfilter > /etc/modules-load.d/br_netfilter.conf && printf '{SYSCTL} = 1\\nnet.bridge.bridge-nf-call-ip6tables = 1\\n' > /etc/sysctl.d/99-kubernetes-bridge.conf")),
    ])
}
