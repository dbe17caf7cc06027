use std::time::Duration;

use super::pressure::{Short, Under, culprits, main_culprit, make_room, percent, short_filesystems, stays};
use crate::config::Config;
use crate::facts::pressure::Pressure;
use crate::facts::{Blind, Domain, Facts, Kubelet};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "inode-pressure",
    title: "free inodes are under the kubelet's hard eviction threshold",
    severity: Severity::Critical,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("inode_pressure.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let short = short_filesystems(facts, |signal| signal.ends_with("fs.inodesFree"))?;
    let (pressure, kubelet) = (facts.pressure.ok()?, facts.kubelet.ok()?);
    Ok(short.iter().filter_map(|short| Some(finding(short, short.worst()?, pressure, kubelet))).collect())
}

fn finding(short: &Short, worst: &Under, pressure: &Pressure, kubelet: &Kubelet) -> Finding {
    let name = short.filesystem.name();
    let (available, capacity) = (worst.signal.available, worst.signal.capacity);
    let what_follows = match (worst.threshold.is_some(), worst.is_exhausted()) {
        (true, false) => format!("the kubelet removes images and evicts pods until {} are free", worst.goal),
        (true, true) => "no file can be created, and the kubelet evicts pods".to_owned(),
        (false, _) => "no file can be created".to_owned(),
    };
    let who = main_culprit(pressure, short.filesystem, true);
    let summary = format!("{name} has {available} inodes free of {capacity}{who}: {what_follows}");
    let short_of = format!("{} free, {} too few; it holds {}", percent(available, capacity), worst.goal.saturating_sub(available), short.roles(pressure));
    let mut finding = Finding::new(worst.component(), name, summary).evidence(format!("statfs {}", short.filesystem.path), short_of);
    finding = culprits(finding, pressure, short.filesystem.device, true);
    for under in &short.under {
        finding = under.evidence(finding, |count| count.to_string());
    }
    if worst.threshold.is_some() {
        finding = stays(finding, worst.signal.name, kubelet);
    }
    let finding = make_room(finding, pressure, short.filesystem, true);
    finding.remedy("crictl rmi --prune  # removes the images that no container uses; they are pulled again when needed")
}
