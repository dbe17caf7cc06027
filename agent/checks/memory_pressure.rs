use std::time::Duration;

use super::pressure::under_threshold;
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
    let under = under_threshold(facts, |signal| signal == "memory.available")?;
    Ok(under
        .into_iter()
        .map(|(signal, threshold, limit)| {
            let (available, limit) = (super::pressure::bytes(signal.available), super::pressure::bytes(limit));
            Finding::new(Component::Node, signal.name, format!("{available} of memory available, under the threshold of {limit}: the kubelet evicts pods"))
                .evidence("memory.available (capacity - working set)", available)
                .evidence(threshold.source, format!("evictionHard memory.available<{}", threshold.value))
                .remedy("systemd-cgtop --order=memory --iterations=1 --batch | head -20")
        })
        .collect())
}
