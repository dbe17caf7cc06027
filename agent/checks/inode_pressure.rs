use std::time::Duration;

use super::pressure::{Short, Under, percent, short_filesystems};
use crate::config::Config;
use crate::facts::pressure::Pressure;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
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
    let pressure = facts.pressure.ok()?;
    Ok(short.iter().filter_map(|short| Some(finding(short, short.worst()?, pressure))).collect())
}

fn finding(short: &Short, worst: &Under, pressure: &Pressure) -> Finding {
    let name = short.filesystem.name();
    let (available, capacity) = (worst.signal.available, worst.signal.capacity);
    let what_follows = match (worst.threshold.is_some(), worst.is_exhausted()) {
        (true, false) => format!("the kubelet removes images and evicts pods until {} are free", worst.limit),
        (true, true) => "no file can be created, and the kubelet evicts pods".to_owned(),
        (false, _) => "no file can be created".to_owned(),
    };
    let summary = format!("{name} has {available} inodes free of {capacity}: {what_follows}");
    let short_of = format!("{} free, {} too few; it holds {}", percent(available, capacity), worst.limit.saturating_sub(available), short.roles(pressure));
    let mut finding = Finding::new(worst.component(), name, summary).evidence(format!("statfs {}", short.filesystem.path), short_of);
    for under in &short.under {
        finding = under.evidence(finding, |count| count.to_string());
    }
    finding
        .remedy(format!("du -x --inodes --max-depth=5 {} 2>/dev/null | sort -rn | head -25  # which directory has so many files", quote(name)))
        .remedy("crictl rmi --prune  # removes the images that no container uses; they are pulled again when needed")
}
