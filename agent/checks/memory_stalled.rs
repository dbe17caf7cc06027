use std::time::Duration;

use super::stall::{self, Over};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "memory-stalled",
    title: "work stands still for lack of memory",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    // Every node is busy now and then.
    settle: Duration::from_mins(5),
    explained_by: &[&super::memory_pressure::CHECK],
    signals: &[],
    article: include_str!("memory_stalled.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let over = Over { resource: "memory", stall: |stalls| stalls.memory, full: true, limit: config.pressure.memory_full_percent };
    let found = stall::finding(facts, &over, |percent| format!("for {percent:.0} % of the last minute all work waited for memory to be reclaimed"))?;
    Ok(found.map(|finding| finding.remedy("systemd-cgtop --order=memory --depth=6 --iterations=1 --batch | head -25  # who holds it")
        .remedy("for f in $(find /sys/fs/cgroup -maxdepth 4 -name memory.pressure); do echo \"$(grep full $f | cut -d\x27 \x27 -f3) $f\"; done | sort -t= -k2 -rn | head  # who waits most")).into_iter().collect())
}
