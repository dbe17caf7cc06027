use std::time::Duration;

use super::kubelet::{bytes, consequence, edit};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts, Kubelet, Sourced};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-reservation-exceeds-capacity",
    title: "more is reserved than the node has",
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
    let (found, blind): (Vec<_>, Vec<_>) = RESOURCES.iter().map(|resource| exceeded(facts, kubelet, resource)).partition(Result::is_ok);
    let found: Vec<Finding> = found.into_iter().flatten().flatten().collect();
    // One that cannot be seen does not hide what the others show.
    match blind.into_iter().find_map(Result::err) {
        Some(blind) if found.is_empty() => Err(blind),
        _ => Ok(found),
    }
}

/// What can be reserved (`pkg/kubelet/cm/node_container_manager_linux.go` `validateNodeAllocatable`), and the hard eviction
/// threshold that is reserved besides (`GetNodeAllocatableReservation`).
struct Resource {
    name: &'static str,
    signal: Option<&'static str>,
    /// How much of it there is, and where that stands.
    capacity: fn(&Facts) -> Result<(u64, &'static str), Blind>,
    shown: fn(f64) -> String,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // never negative; saturates
const RESOURCES: [Resource; 4] = [
    Resource {
        name: "memory",
        signal: Some("memory.available"),
        capacity: |facts| Ok((facts.pressure.ok()?.memory.ok()?.capacity, "/proc/meminfo MemTotal")),
        shown: |amount| bytes(amount as u64),
    },
    Resource {
        name: "cpu",
        signal: None,
        capacity: |facts| {
            let cpus = facts.kubelet.ok()?.surroundings.cpus.ok_or_else(|| Blind::new("how many CPUs are online cannot be seen"))?;
            Ok((u64::from(cpus), "/sys/devices/system/cpu/online"))
        },
        shown: |amount| format!("{amount} CPUs"),
    },
    Resource {
        name: "ephemeral-storage",
        signal: Some("nodefs.available"),
        capacity: |facts| Ok((facts.pressure.ok()?.nodefs.ok()?.capacity, "the file system of --root-dir")),
        shown: |amount| bytes(amount as u64),
    },
    Resource {
        name: "pid",
        signal: None,
        capacity: |facts| Ok((facts.pressure.ok()?.pids.ok()?.limit, "/proc/sys/kernel/pid_max and threads-max")),
        shown: |amount| format!("{amount} processes"),
    },
];

#[allow(clippy::cast_precision_loss)] // as far as a person reads it
fn exceeded(facts: &Facts, kubelet: &Kubelet, resource: &Resource) -> Result<Option<Finding>, Blind> {
    let is_reserved = kubelet.reservations.iter().any(|reservation| reservation.resource == resource.name);
    // The threshold alone takes more than there is of memory only: of a file system it is a part, by its nature or by far.
    if !is_reserved && resource.name != "memory" {
        return Ok(None);
    }
    let (capacity, place) = (resource.capacity)(facts)?;
    let reserved = kubelet.reservations.iter().filter(|reservation| reservation.resource == resource.name);
    let reserved = reserved.map(|reservation| (reservation.field.as_str(), reservation.amount.value, &reservation.amount.source));
    let threshold = resource.signal.and_then(|signal| kubelet.eviction_threshold(signal));
    let threshold = threshold.map(|threshold| ("evictionHard", threshold.value.of(capacity) as f64, &threshold.source));
    let parts: Vec<_> = reserved.chain(threshold).collect();
    let sum: f64 = parts.iter().map(|(_, part, _)| part).sum();
    let Some((_, _, source)) = parts.iter().max_by(|(_, a, _), (_, b, _)| a.total_cmp(b)).filter(|_| sum > capacity as f64) else { return Ok(None) };
    let (sum, has) = ((resource.shown)(sum), (resource.shown)(capacity as f64));
    let what = if resource.name == "memory" { "of memory " } else { "" };
    let summary = format!("{sum} {what}are reserved, and the node has {has}, so {}", consequence(facts));
    let finding = Finding::new(Component::Kubelet, resource.name, summary);
    let told =
        |finding: Finding, (field, part, source): &(&str, f64, &String)| finding.evidence((*source).clone(), format!("{field}: {}", (resource.shown)(*part)));
    Ok(Some(parts.iter().fold(finding, told).evidence(place, has).remedy(edit(&Sourced::new((), source.as_str())))))
}
