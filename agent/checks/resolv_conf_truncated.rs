use std::time::Duration;

use super::kubelet::{quote, release};
use crate::config::Config;
use crate::facts::kubelet::Resolver;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "resolv-conf-truncated",
    title: "the resolv.conf that pods inherit names more servers or domains than are used",
    severity: Severity::Warning,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("resolv_conf_truncated.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let path = &kubelet.resolv_conf.value;
    let Some(resolver) = &kubelet.surroundings.resolver else { return Ok(Vec::new()) };
    let (servers, search) = (surplus_servers(resolver), surplus_domains(resolver, release(facts)));
    let what = match (&servers, &search) {
        (Some((what, _)), Some((also, _))) => format!("{what}, and {also}"),
        (Some((what, _)), None) | (None, Some((what, _))) => what.clone(),
        (None, None) => return Ok(Vec::new()),
    };
    let finding = Finding::new(Component::Network, path.clone(), format!("{path} names {what}"));
    let evidence = [servers, search].into_iter().flatten().flat_map(|(_, evidence)| evidence);
    let finding = evidence.fold(finding, |finding, (source, saw)| finding.evidence(source, saw));
    Ok(vec![finding.remedy(format!("vi {}  # or what writes it: systemd-resolved, NetworkManager, cloud-init", quote(path)))])
}

/// What is too much, and what of it is left out, where.
type Surplus = (String, Vec<(String, String)>);

fn surplus_servers(resolver: &Resolver) -> Option<Surplus> {
    let servers = &resolver.nameservers;
    let evidence: Vec<_> =
        servers.iter().skip(MOST).take(5).map(|server| (server.source.clone(), format!("nameserver {} is left out", server.value))).collect();
    (!evidence.is_empty()).then(|| (format!("{} servers, of which pods are given the first {MOST}", servers.len()), evidence))
}

/// `validation.MaxDNSNameservers` of `pkg/apis/core/validation`; glibc's MAXNS is the same.
const MOST: usize = 3;
/// With the cluster's DNS, a pod has three domains of the cluster before those of the node.
const OF_CLUSTER: usize = 3;

/// `MaxDNSSearchPaths` and `MaxDNSSearchListChars` of `pkg/apis/core/validation`, up to 1.25 `…Legacy` (`ExpandedDNSConfig`).
fn surplus_domains(resolver: &Resolver, release: Option<u32>) -> Option<Surplus> {
    let (most, characters) = if release.is_some_and(|release| release < 26) { (6, 256) } else { (32, 2048) };
    let search = resolver.search.as_ref()?;
    let length = search.value.join(" ").len();
    let count = search.value.len();
    (count + OF_CLUSTER > most || length > characters).then(|| {
        let what =
            format!("{count} search domains ({length} characters), and pods are given {most} at most ({characters}), {OF_CLUSTER} of them the cluster's");
        (what, vec![(search.source.clone(), format!("search {}, …", search.value.iter().take(3).cloned().collect::<Vec<_>>().join(" ")))])
    })
}
