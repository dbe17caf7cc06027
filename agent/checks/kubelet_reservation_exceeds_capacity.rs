use std::time::Duration;

use super::kubelet::{bytes, consequence, edit};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-reservation-exceeds-capacity",
    title: "more memory is reserved than the node has",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_reservation_exceeds_capacity.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let capacity = facts.pressure.ok()?.memory.ok()?.capacity;
    let reserved = kubelet.reserved_memory.iter().map(|reservation| (reservation.field.as_str(), reservation.bytes.value, &reservation.bytes.source));
    let threshold = kubelet.eviction_threshold("memory.available").map(|threshold| ("evictionHard", threshold.value.of(capacity), &threshold.source));
    // pkg/kubelet/cm/node_container_manager_linux.go `validateNodeAllocatable`.
    let parts: Vec<_> = reserved.chain(threshold).collect();
    let sum = parts.iter().fold(0_u64, |sum, (_, part, _)| sum.saturating_add(*part));
    let Some((_, _, source)) = parts.iter().max_by_key(|(_, part, _)| *part).filter(|_| sum > capacity) else { return Ok(Vec::new()) };
    let summary = format!("{} of memory are reserved, and the node has {}, so {}", bytes(sum), bytes(capacity), consequence(facts));
    let finding = Finding::new(Component::Kubelet, "memory", summary);
    let finding = parts.iter().fold(finding, |finding, (field, part, source)| finding.evidence((*source).clone(), format!("{field}: {}", bytes(*part))));
    Ok(vec![finding.evidence("/proc/meminfo", format!("MemTotal {}", bytes(capacity))).remedy(edit(&crate::facts::Sourced::new((), source.as_str())))])
}
