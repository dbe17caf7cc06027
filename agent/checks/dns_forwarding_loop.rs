use std::time::Duration;

use super::kubelet::{RESTART, quote, replace};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "dns-forwarding-loop",
    title: "the resolv.conf that pods inherit names a resolver on loopback",
    severity: Severity::Warning,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("dns_forwarding_loop.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let path = &kubelet.resolv_conf;
    let Some(resolver) = &kubelet.surroundings.resolver else { return Ok(Vec::new()) };
    let Some(first) = resolver.nameservers.iter().find(|server| is_loopback(&server.value)) else { return Ok(Vec::new()) };
    let summary = format!("pods inherit the resolver {} from {}, where no resolver listens inside a pod, and CoreDNS asks itself", first.value, path.value);
    let finding = Finding::new(Component::Network, path.value.clone(), summary)
        .evidence(path.source.clone(), format!("resolvConf: {}", path.value))
        .evidence(first.source.clone(), format!("nameserver {}", first.value));
    let Some(upstream) = &resolver.upstream else {
        return Ok(vec![finding.remedy(format!("vi {} # name the real servers, or set resolvConf to a file that does", quote(&path.value)))]);
    };
    let config = kubelet.config.as_ref().filter(|_| path.source == "default").map(|config| quote(&config.path.value));
    Ok(vec![
        match config {
            Some(config) => finding.remedy(format!("printf '\\nresolvConf: {upstream}\\n' >> {config} && {RESTART}")),
            None => finding.remedy(replace(path, &path.value, upstream)),
        }
        .remedy("# then, where kubectl works, so that CoreDNS inherits it:")
        .remedy("kubectl -n kube-system rollout restart deployment coredns"),
    ])
}

/// 127.0.0.0/8 and ::1, as they are written in a resolv.conf.
fn is_loopback(server: &str) -> bool {
    server.starts_with("127.") || server == "::1" || server.starts_with("::ffff:127.")
}
