use std::time::Duration;

use super::kubelet_swap_blocks::row;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "swap-enabled",
    title: "swap is on, and the kubelet tolerates it",
    severity: Severity::Info,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("swap_enabled.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let swap = kubelet.surroundings.swap.as_deref().unwrap_or_default();
    if swap.is_empty() || kubelet.fail_swap_on.value {
        return Ok(Vec::new());
    }
    let finding = Finding::new(Component::Node, "/proc/swaps", "swap is on, and the kubelet tolerates it");
    let finding = swap.iter().fold(finding, |finding, swap| finding.evidence("/proc/swaps", row(swap)));
    let finding = finding.evidence(kubelet.fail_swap_on.source.clone(), "failSwapOn: false");
    let behavior = kubelet.setting("memorySwap.swapBehavior");
    Ok(vec![behavior.into_iter().fold(finding, |finding, set| finding.evidence(set.source.clone(), format!("memorySwap.swapBehavior: {}", set.value)))])
}
