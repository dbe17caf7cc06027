//! What the pressure checks share: the kubelet's comparison, one finding for each file system, and who fills it.

use crate::facts::kubelet::EvictionThreshold;
use crate::facts::pressure::{Filesystem, Growth, MemoryHolder, Place, PlaceKind, Pressure, Signal};
use crate::facts::shell::quote;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Facts, Kubelet};
use crate::finding::{Component, Finding};

/// A signal that is under its limit.
pub(super) struct Under<'a> {
    pub(super) signal: Signal,
    /// The hard threshold; `None` where the kubelet has none and what is measured is as good as exhausted.
    pub(super) threshold: Option<&'a EvictionThreshold>,
    /// In the signal's unit.
    pub(super) limit: u64,
    /// How much must be available before the kubelet stops: the limit and what it reclaims beyond it.
    pub(super) goal: u64,
    reclaim: Option<&'a EvictionThreshold>,
}

/// Without a threshold the kubelet does nothing, and programs fail when nothing is left: under a thousandth.
const EXHAUSTED: u64 = 1000;

/// In the signal's unit, and the hard threshold it comes from.
pub(super) fn limit_of<'a>(signal: &Signal, pressure: &Pressure, kubelet: &'a Kubelet) -> (u64, Option<&'a EvictionThreshold>) {
    pressure.hard(signal, kubelet).map_or((signal.capacity / EXHAUSTED, None), |(threshold, limit)| (limit, Some(threshold)))
}

impl<'a> Under<'a> {
    /// Met when strictly less (`OpLessThan`); and once met, until evictionMinimumReclaim is reached as well.
    fn of(signal: Signal, pressure: &Pressure, kubelet: &'a Kubelet) -> Option<Self> {
        let (limit, threshold) = limit_of(&signal, pressure, kubelet);
        let reclaim = pressure.minimum_reclaim(&signal, kubelet).filter(|_| threshold.is_some());
        let goal = limit.saturating_add(reclaim.map_or(0, |(_, reclaim)| reclaim));
        let is_under = signal.available < limit || pressure.is_reclaiming(signal.name);
        is_under.then_some(Self { signal, threshold, limit, goal, reclaim: reclaim.map(|(reclaim, _)| reclaim) })
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
        let finding = finding.evidence(source, format!("evictionHard {}<{value}{quantity}", self.signal.name));
        match self.reclaim {
            Some(reclaim) => {
                let more = show(self.goal.saturating_sub(self.limit));
                finding.evidence(reclaim.source.clone(), format!("evictionMinimumReclaim {more}: it goes on until {} are free", show(self.goal)))
            }
            None => finding,
        }
    }
}

/// To the kubelet, a threshold of the signal's is crossed, be it hard or soft.
pub(super) fn is_crossed(signal: &Signal, pressure: &Pressure, kubelet: &Kubelet) -> bool {
    let thresholds = [pressure.hard(signal, kubelet), pressure.soft(signal, kubelet)];
    thresholds.into_iter().flatten().any(|(_, limit)| signal.available < limit) || pressure.is_reclaiming(signal.name)
}

/// The node's condition that a signal decides (`pkg/kubelet/eviction/helpers.go` `signalToNodeCondition`).
pub(super) fn condition(signal: &str) -> &'static str {
    match signal {
        "memory.available" => "MemoryPressure",
        "pid.available" => "PIDPressure",
        _ => "DiskPressure",
    }
}

/// What the cluster sees of it, and how long.
pub(super) fn stays(finding: Finding, signal: &str, kubelet: &Kubelet) -> Finding {
    let period = &kubelet.eviction_pressure_transition_seconds;
    let source = if period.source == "default" { "the kubelet's default" } else { period.source.as_str() };
    let span = human_span(i64::try_from(period.value).unwrap_or(i64::MAX));
    finding.evidence(source, format!("evictionPressureTransitionPeriod: {} stays for {span} after it is over", condition(signal)))
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
    /// The signal whose goal is the furthest away, which is the one that has to be reached.
    pub(super) fn worst(&self) -> Option<&Under<'_>> {
        self.under.iter().max_by_key(|under| under.goal)
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

/// Places told of a disk.
const CULPRITS: usize = 4;

/// Who fills a file system: the largest of the usual places on it, and the one that grows most, each with its path.
pub(super) fn culprits(mut finding: Finding, pressure: &Pressure, device: u64, inodes: bool) -> Finding {
    for place in told_places(pressure, device, inodes) {
        finding = finding.evidence(place.path.clone(), size(place, inodes));
    }
    finding
}

/// `, 41.0 GiB of it logs of shop/checkout-…`, if one place holds a fifth of the whole file system or more.
pub(super) fn main_culprit(pressure: &Pressure, filesystem: &Filesystem, inodes: bool) -> String {
    let whole = if inodes { filesystem.inodes } else { filesystem.capacity };
    let amount = |place: &Place| if inodes { place.inodes } else { place.bytes };
    let largest = pressure.places_on(filesystem.device, inodes).into_iter().next().filter(|place| amount(place) >= whole / 5);
    largest.map_or_else(String::new, |place| {
        let amount = if inodes { format!("{} files", place.inodes) } else { bytes(place.bytes) };
        format!(", {place} hold {}{amount}", if place.partial { "more than " } else { "" })
    })
}

fn told_places(pressure: &Pressure, device: u64, inodes: bool) -> Vec<&Place> {
    let places = pressure.places_on(device, inodes);
    let grown = |place: &&Place| place.growth.map_or(0, |growth| if inodes { growth.inodes } else { growth.bytes });
    let fastest = places.iter().copied().max_by_key(grown).filter(|place| grown(place) > 0);
    let mut told: Vec<&Place> = places.into_iter().take(CULPRITS - 1).collect();
    if let Some(fastest) = fastest.filter(|fastest| !told.iter().any(|place| place.path == fastest.path)) {
        told.push(fastest);
    }
    told
}

fn size(place: &Place, inodes: bool) -> String {
    let more = if place.partial { "more than " } else { "" };
    let count = if inodes { format!("{} files", place.inodes) } else { bytes(place.bytes) };
    let growth = place.growth.filter(|growth| if inodes { growth.inodes > 0 } else { growth.bytes > 0 });
    let growth = growth.map_or_else(String::new, |growth| format!(", {}", grown(growth, inodes)));
    format!("{more}{count}: {place}{growth}")
}

/// `1.2 GiB more than 55 min ago`
fn grown(growth: Growth, inodes: bool) -> String {
    let more = if inodes { format!("{} files", growth.inodes) } else { bytes(growth.bytes.unsigned_abs()) };
    format!("{more} more than {} ago", human_span(growth.seconds))
}

/// How to look at what fills it, and to make room where that does no harm: first at what is the largest, or grows most.
pub(super) fn make_room(mut finding: Finding, pressure: &Pressure, filesystem: &Filesystem, inodes: bool) -> Finding {
    let places = told_places(pressure, filesystem.device, inodes);
    let count = if inodes { "--inodes " } else { "" };
    if places.is_empty() {
        let depth = if inodes { 5 } else { 4 };
        let (human, sort) = if inodes { ("", "-rn") } else { ("h", "-rh") };
        let point = quote(filesystem.name());
        let command = format!("du -x{human} {count}--max-depth={depth} {point} 2>/dev/null | sort {sort} | head -25  # what fills it");
        return finding.remedy(command);
    }
    for place in places.into_iter().take(2) {
        let path = quote(&place.path);
        finding = match place.kind {
            PlaceKind::Images | PlaceKind::Journal => continue,
            PlaceKind::Logs if !inodes => finding.remedy(format!("ls -lhS {path}/* | head -20  # which container logs so much, and what: tail -c 2000 FILE")),
            _ if inodes => finding.remedy(format!("du -x --inodes --max-depth=3 {path} | sort -rn | head -20  # which directory has so many files")),
            _ => finding.remedy(format!("du -xah --max-depth=3 {path} | sort -rh | head -20  # what the {place} are", place = what(place))),
        };
    }
    finding
}

fn what(place: &Place) -> &'static str {
    match place.kind {
        PlaceKind::CoreDumps => "core dumps",
        PlaceKind::EmptyDir => "files of the emptyDir",
        PlaceKind::WritableLayer => "files of the container",
        _ => "files",
    }
}

/// The pods and services that hold most of the memory, or grow most.
pub(super) fn holders(mut finding: Finding, pressure: &Pressure) -> Finding {
    let held = &pressure.memory_holders;
    let fastest = held.iter().max_by_key(|holder| holder.growth.map_or(0, |growth| growth.bytes)).filter(|holder| holder.growth.is_some_and(|g| g.bytes > 0));
    let mut told: Vec<&MemoryHolder> = held.iter().take(3).collect();
    if let Some(fastest) = fastest.filter(|fastest| !told.contains(fastest)) {
        told.push(fastest);
    }
    for MemoryHolder { holder, working_set, growth } in told {
        let growth = growth.filter(|growth| growth.bytes > 0).map_or_else(String::new, |growth| format!(", {}", grown(growth, false)));
        finding = finding.evidence(holder.name.clone(), format!("holds {}{growth}", bytes(*working_set)));
    }
    finding
}

/// The pod or service that grows most, if it is what drains the memory: at least a third of what is lost.
pub(super) fn fastest_holder(pressure: &Pressure, lost: u64) -> Option<&MemoryHolder> {
    let growth = |holder: &&MemoryHolder| holder.growth.map_or(0, |growth| growth.bytes);
    pressure.memory_holders.iter().max_by_key(growth).filter(|holder| growth(holder) > i64::try_from(lost / 3).unwrap_or(i64::MAX))
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
