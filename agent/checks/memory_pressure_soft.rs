use std::time::Duration;

use super::pressure::{bytes, percent};
use crate::config::Config;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "memory-pressure-soft",
    title: "available memory is under the kubelet's soft eviction threshold",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[&super::memory_pressure::CHECK],
    signals: &[],
    article: include_str!("memory_pressure_soft.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let (pressure, kubelet) = (facts.pressure.ok()?, facts.kubelet.ok()?);
    let memory = pressure.memory.ok()?;
    let soft = kubelet.eviction_soft.iter().find(|threshold| threshold.signal == "memory.available");
    let Some(soft) = soft.filter(|soft| memory.capacity > 0 && memory.available() < soft.value.of(memory.capacity)) else { return Ok(Vec::new()) };
    let (available, limit) = (memory.available(), soft.value.of(memory.capacity));
    let grace = soft.grace_seconds.map_or("the grace period".to_owned(), |seconds| human_span(i64::try_from(seconds).unwrap_or(i64::MAX)));
    let summary = format!(
        "{} of {} memory available, under the soft threshold of {}: if it lasts for {grace}, the kubelet evicts pods",
        bytes(available),
        bytes(memory.capacity),
        bytes(limit)
    );
    let short = format!(
        "working set {}: {} available, {} too little",
        bytes(memory.working_set),
        percent(available, memory.capacity),
        bytes(limit.saturating_sub(available))
    );
    let finding = Finding::new(Component::Workloads, "memory.available", summary)
        .evidence(memory.source.clone(), short)
        .evidence(soft.source.clone(), format!("evictionSoft memory.available<{}, evictionSoftGracePeriod {grace}", soft.value));
    Ok(vec![finding.remedy("systemd-cgtop --order=memory --depth=6 --iterations=1 --batch | head -25  # which pod or service holds it")])
}
