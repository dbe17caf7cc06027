use std::time::Duration;

use super::pressure::under_threshold;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

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
    let under = under_threshold(facts, |signal| signal.ends_with("fs.inodesFree"))?;
    let pressure = facts.pressure.ok()?;
    Ok(under
        .into_iter()
        .map(|(signal, threshold, limit)| {
            let filesystem = if signal.name.starts_with("nodefs") { &pressure.nodefs } else { &pressure.imagefs };
            let path = filesystem.known().map_or("/", |filesystem| filesystem.path.as_str());
            let (available, limit) = (signal.available.to_string(), limit.to_string());
            let role = signal.name.split('.').next().unwrap_or_default();
            Finding::new(
                Component::Node,
                format!("{role} {path}"),
                format!("{available} inodes free on {path} ({role}), under the threshold of {limit}: the kubelet evicts pods"),
            )
            .evidence(format!("statfs {path}"), format!("{available} inodes free"))
            .evidence(threshold.source, format!("evictionHard {}<{}", signal.name, threshold.value))
            .remedy(format!("du -x --inodes --max-depth=3 {path} | sort -rn | head -20"))
        })
        .collect())
}
