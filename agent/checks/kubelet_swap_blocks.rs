use std::time::Duration;

use super::kubelet::{RESTART, bytes, consequence, quote};
use crate::config::Config;
use crate::facts::kubelet::Swap;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-swap-blocks",
    title: "swap is on, and the kubelet refuses to start with it",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kubelet_swap_blocks.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let swap = kubelet.surroundings.swap.as_deref().unwrap_or_default();
    let Some(first) = swap.first().filter(|_| kubelet.fail_swap_on.value) else { return Ok(Vec::new()) };
    let summary = format!("swap is on ({}), and failSwapOn is not false, so {}", first.path, consequence(facts));
    let finding = swap.iter().fold(Finding::new(Component::Kubelet, "/proc/swaps", summary), |finding, swap| finding.evidence("/proc/swaps", row(swap)));
    let finding = finding.evidence(kubelet.fail_swap_on.source.clone(), "failSwapOn: true");
    // Whoever set this wanted swap, and forgot the other half.
    let wanted = kubelet.setting("memorySwap.swapBehavior").filter(|behavior| behavior.value == "LimitedSwap");
    let finding = wanted
        .into_iter()
        .fold(finding, |finding, set| finding.evidence(set.source.clone(), "memorySwap.swapBehavior: LimitedSwap, which needs failSwapOn: false"));
    let finding = finding.remedy(format!("swapoff -a && {RESTART}"));
    Ok(vec![keep_off(swap).into_iter().fold(finding, Finding::remedy)])
}

/// A row of `/proc/swaps`.
pub(super) fn row(swap: &Swap) -> String {
    format!("{}, {}", swap.path, bytes(swap.bytes))
}

/// What keeps it off at the next boot: zram-generator makes its devices without fstab.
fn keep_off(swap: &[Swap]) -> Vec<String> {
    let zram = |swap: &&Swap| swap.path.starts_with("/dev/zram");
    let units = swap.iter().filter(zram).map(|swap| format!("systemd-zram-setup@{}.service", swap.path.trim_start_matches("/dev/")));
    let mut commands: Vec<String> = units.map(|unit| format!("systemctl mask {}", quote(&unit))).collect();
    if swap.iter().any(|swap| !zram(&swap)) {
        commands.push("sed -i.bak -E '/^[^#]\\S*\\s+\\S+\\s+swap\\s/ s/^/# /' /etc/fstab".to_owned());
    }
    commands
}
