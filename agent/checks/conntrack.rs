//! What the two checks of the connection table share.

use crate::facts::pressure::Usage;
use crate::facts::{Blind, Facts};
use crate::finding::{Component, Finding};

/// Percent of the table.
pub(super) const FULL: u64 = 90;
pub(super) const FILLING: u64 = 75;

pub(super) fn finding(facts: &Facts, wanted: fn(Usage) -> bool, what_follows: &str) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let Some(usage) = facts.pressure.ok()?.conntrack.ok()?.filter(|usage| wanted(*usage)) else { return Ok(Vec::new()) };
    let percent = usage.used.saturating_mul(100) / usage.most.max(1);
    let summary = format!("{percent} % of the connection table is in use, {} of {}: {what_follows}", usage.used, usage.most);
    let double = usage.most.saturating_mul(2);
    Ok(vec![
        Finding::new(Component::Network, "nf_conntrack", summary)
            .evidence("net.netfilter.nf_conntrack_count", usage.used.to_string())
            .evidence("net.netfilter.nf_conntrack_max", usage.most.to_string())
            .remedy("conntrack -L 2>/dev/null | grep -o 'src=[^ ]*' | sort | uniq -c | sort -rn | head  # who opens so many (package conntrack)")
            .remedy(format!("sysctl -w net.netfilter.nf_conntrack_max={double}  # until kube-proxy sets it again: its conntrack.maxPerCore decides")),
    ])
}
