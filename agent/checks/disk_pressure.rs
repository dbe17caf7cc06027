use std::time::Duration;

use super::pressure::{Short, Under, bytes, culprits, main_culprit, make_room, percent, short_filesystems, stays};
use crate::config::Config;
use crate::facts::pressure::Pressure;
use crate::facts::{Blind, Domain, Facts, Kubelet};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "disk-pressure",
    title: "free space is under the kubelet's hard eviction threshold",
    severity: Severity::Critical,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("disk_pressure.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let short = short_filesystems(facts, |signal| signal.ends_with("fs.available"))?;
    let (pressure, kubelet) = (facts.pressure.ok()?, facts.kubelet.ok()?);
    Ok(short.iter().filter_map(|short| Some(finding(short, short.worst()?, pressure, kubelet))).collect())
}

fn finding(short: &Short, worst: &Under, pressure: &Pressure, kubelet: &Kubelet) -> Finding {
    let name = short.filesystem.name();
    let (available, capacity) = (worst.signal.available, worst.signal.capacity);
    let what_follows = match (worst.threshold.is_some(), worst.is_exhausted()) {
        (true, false) => format!("the kubelet removes images and evicts pods until {} are free", bytes(worst.goal)),
        (true, true) => "programs fail to write, and the kubelet evicts pods".to_owned(),
        (false, _) => "programs fail to write".to_owned(),
    };
    let who = main_culprit(pressure, short.filesystem, false);
    let summary = format!("{name} has {} free of {}{who}: {what_follows}", bytes(available), bytes(capacity));
    let short_of =
        format!("{} free, {} too little; it holds {}", percent(available, capacity), bytes(worst.goal.saturating_sub(available)), short.roles(pressure));
    let mut finding = Finding::new(worst.component(), name, summary).evidence(format!("statfs {}", short.filesystem.path), short_of);
    finding = culprits(finding, pressure, short.filesystem.device, false);
    for under in &short.under {
        finding = under.evidence(finding, bytes);
    }
    if worst.threshold.is_some() {
        finding = stays(finding, worst.signal.name, kubelet);
    }
    let finding = make_room(finding, pressure, short.filesystem, false);
    let finding = finding.remedy("crictl rmi --prune  # removes the images that no container uses; they are pulled again when needed");
    if short.holds_logs(pressure) {
        return finding.remedy("journalctl --vacuum-size=200M  # removes the oldest archived journal files, down to 200 MB");
    }
    finding
}
