use std::time::Duration;

use super::pressure::{Short, Under, bytes, percent, short_filesystems};
use crate::config::Config;
use crate::facts::pressure::Pressure;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
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
    let pressure = facts.pressure.ok()?;
    Ok(short.iter().filter_map(|short| Some(finding(short, short.worst()?, pressure))).collect())
}

fn finding(short: &Short, worst: &Under, pressure: &Pressure) -> Finding {
    let name = short.filesystem.name();
    let (available, capacity) = (worst.signal.available, worst.signal.capacity);
    let what_follows = match (worst.threshold.is_some(), worst.is_exhausted()) {
        (true, false) => format!("the kubelet removes images and evicts pods until {} are free", bytes(worst.limit)),
        (true, true) => "programs fail to write, and the kubelet evicts pods".to_owned(),
        (false, _) => "programs fail to write".to_owned(),
    };
    let summary = format!("{name} has {} free of {}: {what_follows}", bytes(available), bytes(capacity));
    let short_of =
        format!("{} free, {} too little; it holds {}", percent(available, capacity), bytes(worst.limit.saturating_sub(available)), short.roles(pressure));
    let mut finding = Finding::new(worst.component(), name, summary).evidence(format!("statfs {}", short.filesystem.path), short_of);
    for under in &short.under {
        finding = under.evidence(finding, bytes);
    }
    let finding = finding.remedy(format!("du -xh --max-depth=4 {} 2>/dev/null | sort -rh | head -25  # what fills it", quote(name)));
    let finding = finding.remedy("crictl rmi --prune  # removes the images that no container uses; they are pulled again when needed");
    if short.holds_logs(pressure) {
        return finding.remedy("journalctl --vacuum-size=200M  # removes the oldest archived journal files, down to 200 MB");
    }
    finding
}
