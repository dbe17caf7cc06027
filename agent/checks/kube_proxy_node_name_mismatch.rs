use std::time::Duration;

use super::kube_proxy::{self, UNIT, is_unit};
use super::kubelet::{place, quote};
use crate::config::Config;
use crate::facts::node::GIVEN_NAME;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kube-proxy-node-name-mismatch",
    title: "kube-proxy calls its node otherwise than the cluster does",
    severity: Severity::Warning,
    domain: Domain::KubeProxy,
    settle: Duration::ZERO,
    explained_by: &[&super::node_name_mismatch::CHECK],
    signals: &[],
    article: include_str!("kube_proxy_node_name_mismatch.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(kube_proxy) = kube_proxy::judged(facts)? else { return Ok(Vec::new()) };
    let used = kube_proxy.runs() || is_unit(facts);
    let Some((own, node)) = kube_proxy.hostname_override.as_ref().zip(facts.node.name.as_ref()).filter(|_| used) else { return Ok(Vec::new()) };
    // A distribution that embeds the kubelet, or a cloud provider within it, may have given the node another name than its hostname.
    let kubelet = facts.kubelet.ok()?;
    let cloud = kubelet.flags.get("cloud-provider").is_some_and(|cloud| !["", "external"].contains(&cloud.value.as_str()));
    if node.source != GIVEN_NAME && (cloud || kubelet.command_line_source == "default") {
        return Ok(Vec::new());
    }
    // Trimmed and in lower case, as the kubelet's (component-helpers `node/util/hostname.go`); a variable is not known.
    let name = own.value.trim().to_lowercase();
    if name.is_empty() || name.contains('$') || name == node.value.to_lowercase() {
        return Ok(Vec::new());
    }
    let summary = format!("kube-proxy calls this node {name}, and it is {}: it does not find its node, and takes no endpoint for local", node.value);
    let finding = Finding::new(Component::KubeProxy, name.clone(), summary)
        .evidence(own.source.clone(), format!("its node is called {name}"))
        .evidence(node.source.clone(), format!("the node is called {}", node.value));
    Ok(vec![match place(&own.source) {
        Some((file, line)) if is_unit(facts) => finding.remedy(format!("sed -i '{line}s#{name}#{}#' {} && systemctl restart {UNIT}", node.value, quote(file))),
        _ if is_unit(facts) => finding.remedy(format!("systemctl edit --full {UNIT} && systemctl restart {UNIT}  # --hostname-override")),
        _ => finding.remedy("kubectl -n kube-system edit daemonset kube-proxy  # --hostname-override=$(NODE_NAME), with NODE_NAME from spec.nodeName"),
    }])
}
