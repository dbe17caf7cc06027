use std::net::IpAddr;
use std::time::Duration;

use super::kubelet::replace;
use crate::config::Config;
use crate::facts::kubelet::endpoint;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "api-server-endpoint-mismatch",
    title: "the kubelet's kubeconfig names another port of the API server than the rest of the node",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("api_server_endpoint_mismatch.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let Some((path, server)) = kubelet.kubeconfig.as_ref().and_then(|kubeconfig| Some((&kubeconfig.file.path.value, kubeconfig.server.as_ref()?))) else {
        return Ok(Vec::new());
    };
    let Ok((host, port)) = address(&server.value) else { return Ok(Vec::new()) };
    // Of another host nothing can be said: the kubelet may rightly use the node's own API server, and others a load balancer.
    let others: Vec<_> = kubelet.surroundings.api_servers.iter().filter_map(|other| Some((other, address(&other.value).ok()?))).collect();
    let mut same_host = others.iter().filter(|(_, (other, _))| *other == host).peekable();
    let Some((_, (_, right_port))) = same_host.peek().copied().filter(|_| !others.iter().any(|(_, other)| *other == (host.clone(), port))) else {
        return Ok(Vec::new());
    };
    let summary = format!("the kubelet asks the API server at port {port} of {host}, and the rest of this node at port {right_port}");
    let finding = Finding::new(Component::Kubelet, path.clone(), summary).evidence(server.source.clone(), format!("server: {}", server.value));
    let finding = same_host.take(3).fold(finding, |finding, (other, _)| finding.evidence(other.source.clone(), other.value.clone()));
    let mended = server.value.replacen(&format!(":{port}"), &format!(":{right_port}"), 1);
    Ok(vec![finding.remedy(replace(server, &server.value, &mended))])
}

/// Host and port; of an IPv6 address, which has many spellings, always the same one.
fn address(server: &str) -> Result<(String, u16), &'static str> {
    endpoint(server).map(|(host, port)| (host.parse::<IpAddr>().map_or_else(|_| host.to_lowercase(), |address| address.to_string()), port))
}
