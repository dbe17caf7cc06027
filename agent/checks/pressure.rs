//! What the pressure checks share: the kubelet's comparison, and one finding for each file system.

use crate::facts::kubelet::EvictionThreshold;
use crate::facts::pressure::{Filesystem, Pressure, Signal};
use crate::facts::{Blind, Facts, Kubelet};
use crate::finding::{Component, Finding};

/// A signal that is under its limit.
pub(super) struct Under<'a> {
    pub(super) signal: Signal,
    /// The hard threshold; `None` where the kubelet has none and what is measured is as good as exhausted.
    pub(super) threshold: Option<&'a EvictionThreshold>,
    /// In the signal's unit.
    pub(super) limit: u64,
}

/// Without a threshold the kubelet does nothing, and programs fail when nothing is left: under a thousandth.
const EXHAUSTED: u64 = 1000;

/// In the signal's unit, and the hard threshold it comes from.
pub(super) fn limit_of<'a>(signal: &Signal, pressure: &Pressure, kubelet: &'a Kubelet) -> (u64, Option<&'a EvictionThreshold>) {
    let threshold = kubelet.eviction_threshold(signal.threshold_name(pressure.containers_on_nodefs()));
    (threshold.map_or(signal.capacity / EXHAUSTED, |threshold| threshold.value.of(signal.capacity)), threshold)
}

impl<'a> Under<'a> {
    /// Met when strictly less (`OpLessThan`).
    fn of(signal: Signal, pressure: &Pressure, kubelet: &'a Kubelet) -> Option<Self> {
        let (limit, threshold) = limit_of(&signal, pressure, kubelet);
        (signal.available < limit).then_some(Self { signal, threshold, limit })
    }

    /// So little is left that programs fail, whatever the kubelet does.
    pub(super) fn is_exhausted(&self) -> bool {
        self.signal.available < self.signal.capacity / EXHAUSTED
    }

    /// What the finding is about: as long as only the kubelet's threshold is crossed, its pods suffer; then everything does.
    pub(super) fn component(&self) -> Component {
        if self.is_exhausted() { Component::Node } else { Component::Workloads }
    }

    /// Where the limit was set, and what it is: `/var/lib/kubelet/config.yaml:9`, `evictionHard imagefs.available<15%`.
    pub(super) fn evidence(&self, finding: Finding, show: fn(u64) -> String) -> Finding {
        let Some(threshold) = self.threshold else {
            return finding.evidence("evictionHard", format!("no threshold for {}: the kubelet does nothing about it", self.signal.name));
        };
        let source = if threshold.source == "default" { "the kubelet's default" } else { threshold.source.as_str() };
        let value = threshold.value.to_string();
        let quantity = if value.ends_with('%') { format!(" = {}", show(self.limit)) } else { String::new() };
        let value = if value.ends_with('%') { value } else { show(self.limit) };
        finding.evidence(source, format!("evictionHard {}<{value}{quantity}", self.signal.name))
    }
}

/// The signals under their limit among those that `wanted` accepts.
pub(super) fn under_threshold(facts: &Facts, wanted: fn(&str) -> bool) -> Result<Vec<Under<'_>>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let (pressure, kubelet) = (facts.pressure.ok()?, facts.kubelet.ok()?);
    Ok(pressure.signals().into_iter().filter(|signal| wanted(signal.name)).filter_map(|signal| Under::of(signal, pressure, kubelet)).collect())
}

/// A file system with every signal about it that is under its limit: one disk is one finding, however many names it has.
pub(super) struct Short<'a> {
    pub(super) filesystem: &'a Filesystem,
    pub(super) under: Vec<Under<'a>>,
}

pub(super) fn short_filesystems(facts: &Facts, wanted: fn(&str) -> bool) -> Result<Vec<Short<'_>>, Blind> {
    let mut short: Vec<Short> = Vec::new();
    let under = under_threshold(facts, wanted)?;
    let pressure = facts.pressure.ok()?;
    for under in under {
        let Some(filesystem) = pressure.filesystem(under.signal.name) else { continue };
        match short.iter_mut().find(|short| short.filesystem.device == filesystem.device) {
            Some(short) => short.under.push(under),
            None => short.push(Short { filesystem, under: vec![under] }),
        }
    }
    Ok(short)
}

impl Short<'_> {
    /// The signal whose limit is the furthest away, which is the one that has to be reached.
    pub(super) fn worst(&self) -> Option<&Under<'_>> {
        self.under.iter().max_by_key(|under| under.limit)
    }

    /// What lies on it: `nodefs /var/lib/kubelet, imagefs /var/lib/containerd`.
    pub(super) fn roles(&self, pressure: &Pressure) -> String {
        let roles: Vec<_> = ["nodefs", "imagefs", "containerfs"]
            .into_iter()
            .filter_map(|role| Some((role, pressure.filesystem(role)?)))
            .filter(|(_, filesystem)| filesystem.device == self.filesystem.device)
            .map(|(role, filesystem)| format!("{role} {}", filesystem.path))
            .collect();
        roles.join(", ")
    }

    /// Whether the journal and the containers' logs lie on it, too.
    pub(super) fn holds_logs(&self, pressure: &Pressure) -> bool {
        let mounts = pressure.mounts.known().map(Vec::as_slice).unwrap_or_default();
        let logs = mounts.iter().find(|mount| mount.holds.iter().any(|held| held.starts_with("/var/log")));
        logs.is_some_and(|mount| Some(mount.mount_point.as_str()) == self.filesystem.mount_point.as_deref())
    }
}

/// `1.5 GiB`, as a person reads bytes.
pub(super) fn bytes(count: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // for reading only
    let count = count as f64;
    match count {
        c if c >= 1_073_741_824.0 => format!("{:.1} GiB", c / 1_073_741_824.0),
        c if c >= 1_048_576.0 => format!("{:.1} MiB", c / 1_048_576.0),
        c if c >= 1024.0 => format!("{:.0} KiB", c / 1024.0),
        c => format!("{c:.0} bytes"),
    }
}

/// `4.2 %`; of nothing, nothing.
pub(super) fn percent(part: u64, of: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // for reading only
    let share = if of == 0 { 0.0 } else { part as f64 * 100.0 / of as f64 };
    format!("{share:.1} %")
}
