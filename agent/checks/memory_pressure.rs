use std::time::Duration;

use super::pressure::{bytes, holders, percent, stays, under_threshold};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "memory-pressure",
    title: "available memory is under the kubelet's hard eviction threshold",
    severity: Severity::Critical,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("memory_pressure.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    // Without a threshold there is no limit of the kubelet's: what the kernel kills then is told by itself.
    let under = under_threshold(facts, |signal| signal == "memory.available")?.into_iter().filter(|under| under.threshold.is_some());
    let (pressure, kubelet) = (facts.pressure.ok()?, facts.kubelet.ok()?);
    let memory = facts.pressure.known().and_then(|pressure| pressure.memory.known());
    let found = under.filter_map(|under| {
        let (memory, limit, available) = (memory?, under.goal, under.signal.available);
        let summary =
            format!("{} of {} memory available, under the threshold of {}: the kubelet evicts pods", bytes(available), bytes(memory.capacity), bytes(limit));
        let saw = format!(
            "working set {}: {} available, {} too little",
            bytes(memory.working_set),
            percent(available, memory.capacity),
            bytes(limit.saturating_sub(available))
        );
        let finding = Finding::new(Component::Workloads, under.signal.name, summary).evidence(memory.source.clone(), saw);
        let finding = stays(under.evidence(holders(finding, pressure), bytes), under.signal.name, kubelet);
        Some(
            finding
                .remedy("systemd-cgtop --order=memory --depth=6 --iterations=1 --batch | head -25  # which pod or service holds it")
                .remedy("ps -eo pid,rss,user,comm --sort=-rss | head -15"),
        )
    });
    Ok(found.collect())
}
