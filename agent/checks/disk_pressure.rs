use std::time::Duration;

use super::pressure::under_threshold;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

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
    let under = under_threshold(facts, |signal| signal.ends_with("fs.available"))?;
    let pressure = facts.pressure.ok()?;
    Ok(under
        .into_iter()
        .map(|(signal, threshold, limit)| {
            let filesystem = if signal.name.starts_with("nodefs") { &pressure.nodefs } else { &pressure.imagefs };
            let path = filesystem.known().map_or("/", |filesystem| filesystem.path.as_str());
            let (available, limit) = (super::pressure::bytes(signal.available), super::pressure::bytes(limit));
            let role = signal.name.split('.').next().unwrap_or_default();
            Finding::new(
                Component::Node,
                format!("{role} {path}"),
                format!("{available} free on {path} ({role}), under the threshold of {limit}: the kubelet evicts pods"),
            )
            .evidence(format!("statfs {path}"), format!("{available} free"))
            .evidence(threshold.source, format!("evictionHard {}<{}", signal.name, threshold.value))
            .remedy(format!("du -xh --max-depth=3 {path} | sort -rh | head -20"))
            .remedy("crictl rmi --prune")
        })
        .collect())
}
