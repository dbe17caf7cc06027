use std::time::Duration;

use super::cni::judged;
use super::log;
use crate::config::Config;
use crate::facts::cni::{AddressPool, RangeSet};
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "cni-addresses-exhausted",
    title: "the node has no address left for new pods",
    severity: Severity::Critical,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[],
    // host-local's, handed on by the runtime and the kubelet.
    signals: &[Signal { from: LogSource::Unit("kubelet.service"), pattern: r"no IP addresses available in range set" }],
    article: include_str!("cni_addresses_exhausted.md"),
    examine,
};

/// The kubelet tries a pod again at least this often.
const REPEATS_SECONDS: i64 = 300;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    let Some((file, network)) = cni.in_effect() else { return Ok(Vec::new()) };
    let pools = cni.pools.iter().filter(|pool| pool.file == file.name);
    let full = pools.filter_map(|pool| Some((pool, pool.sets.iter().find(|set| set.used >= set.size)?)));
    Ok(full.map(|(pool, set)| finding(facts, pool, set, &cni.path_of(file), &network.identity())).collect())
}

fn finding(facts: &Facts, pool: &AddressPool, set: &RangeSet, path: &str, identity: &str) -> Finding {
    let ranges: Vec<_> = set.ranges.iter().map(|(first, last)| format!("{first} to {last}")).collect();
    let summary = format!("all {} addresses for pods are taken ({}): no new pod gets one", set.size, ranges.join(", "));
    let mut finding = Finding::new(Component::Network, pool.directory.clone(), summary)
        .evidence(path, identity)
        .evidence(pool.directory.clone(), format!("{} allocations in the range, {} addresses without the gateway", set.used, set.size));
    let failing = log::seen(facts, CHECK.code).ok().flatten().filter(|seen| log::age(facts, seen.last) <= REPEATS_SECONDS);
    if let Some(line) = failing.and_then(|seen| seen.samples.last()) {
        finding = log::evidence(finding, line);
    }
    let pods = format!("kubectl get pods -A -o wide --field-selector spec.nodeName={}", quote(facts.node_name()));
    match pool.orphaned {
        Some(orphaned) if orphaned > 0 => finding
            .evidence(pool.directory.clone(), format!("{orphaned} of them belong to sandboxes that do not run any more"))
            .remedy(format!(
                "cd {} && for f in [0-9a-f]*[.:]*; do ls /run/containerd/io.containerd.runtime.v2.task/k8s.io | grep -qx \"$(head -n 1 \"$f\" | tr -d '\\r')\" || echo rm \"$PWD/$f\"; done  # prints what can be removed",
                quote(&pool.directory)
            )),
        _ => finding.remedy(format!("{pods}  # more pods than addresses: move some, set the kubelet's maxPods lower, or give nodes larger ranges")),
    }
}
