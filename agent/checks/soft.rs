//! What the checks of the soft thresholds share: the kubelet sets the node's condition at once, and acts after the grace period.

use super::pressure::{bytes, condition, culprits, holders, make_room, percent};
use crate::facts::pressure::Signal;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Facts};
use crate::finding::{Component, Finding};

/// One finding for each file system or signal that is under a soft threshold, and not under the hard one, which says more.
pub(super) fn findings(facts: &Facts, wanted: fn(&str) -> bool) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let (pressure, kubelet) = (facts.pressure.ok()?, facts.kubelet.ok()?);
    let device = |signal: &Signal| pressure.filesystem(signal.name).map(|filesystem| filesystem.device);
    let signals: Vec<_> = pressure.signals().into_iter().filter(|signal| wanted(signal.name)).collect();
    let is_hard = |signal: &Signal| pressure.hard(signal, kubelet).is_some_and(|(_, limit)| signal.available < limit) || pressure.is_reclaiming(signal.name);
    let hard: Vec<_> = signals.iter().filter(|signal| is_hard(signal)).map(device).collect();
    let mut told = Vec::new();
    let mut soft: Vec<_> = signals.iter().filter_map(|signal| Some((signal, pressure.soft(signal, kubelet)?))).collect();
    // Of two names of one disk, the threshold that is furthest away counts.
    soft.sort_by_key(|(_, (_, limit))| std::cmp::Reverse(*limit));
    let mut findings = Vec::new();
    for (signal, (threshold, limit)) in soft {
        let at = device(signal);
        if signal.available >= limit || hard.contains(&at) || told.contains(&at) {
            continue;
        }
        told.push(at);
        let grace = human_span(i64::try_from(threshold.grace_seconds.unwrap_or(0)).unwrap_or(i64::MAX));
        let (name, left) = (subject(facts, signal), amount(signal, signal.available));
        let condition = condition(signal.name);
        let summary = format!(
            "{name}{left} of {}, under the soft threshold of {}: {condition}, and if it lasts for {grace} the kubelet evicts pods",
            amount_only(signal, signal.capacity),
            amount_only(signal, limit)
        );
        let few = if counts(signal) { "few" } else { "little" };
        let short = format!("{} left, {} too {few}", percent(signal.available, signal.capacity), amount_only(signal, limit.saturating_sub(signal.available)));
        let finding = Finding::new(Component::Workloads, pressure.filesystem(signal.name).map_or(signal.name, |filesystem| filesystem.name()), summary)
            .evidence(signal.name, short)
            .evidence(threshold.source.clone(), format!("evictionSoft {}<{}, evictionSoftGracePeriod {grace}", signal.name, threshold.value));
        findings.push(with_culprits(finding, facts, signal)?);
    }
    Ok(findings)
}

/// `/var has `, `` for what the whole node has.
fn subject(facts: &Facts, signal: &Signal) -> String {
    let filesystem = facts.pressure.known().and_then(|pressure| pressure.filesystem(signal.name));
    filesystem.map_or_else(String::new, |filesystem| format!("{} has ", filesystem.name()))
}

fn amount(signal: &Signal, count: u64) -> String {
    let what = match signal.name {
        "memory.available" => " of memory",
        "pid.available" => " process ids",
        name if name.ends_with("inodesFree") => " inodes",
        _ => "",
    };
    format!("{}{what} left", amount_only(signal, count))
}

/// What is counted, rather than measured in bytes.
fn counts(signal: &Signal) -> bool {
    signal.name == "pid.available" || signal.name.ends_with("inodesFree")
}

fn amount_only(signal: &Signal, count: u64) -> String {
    if counts(signal) { count.to_string() } else { bytes(count) }
}

fn with_culprits(finding: Finding, facts: &Facts, signal: &Signal) -> Result<Finding, Blind> {
    let pressure = facts.pressure.ok()?;
    let inodes = signal.name.ends_with("inodesFree");
    Ok(match pressure.filesystem(signal.name) {
        Some(filesystem) => make_room(culprits(finding, pressure, filesystem.device, inodes), pressure, filesystem, inodes),
        None if signal.name == "pid.available" => finding.remedy("ps -eLo user,pid,comm --no-headers | sort | uniq -c | sort -rn | head  # threads by process"),
        None => {
            let finding = holders(finding, pressure);
            finding.remedy("systemd-cgtop --order=memory --depth=6 --iterations=1 --batch | head -25  # which pod or service holds it")
        }
    })
}
