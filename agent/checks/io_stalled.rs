use std::time::Duration;

use super::stall::{self, Over};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "io-stalled",
    title: "work stands still for the disks",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    // Every node is busy now and then.
    settle: Duration::from_mins(5),
    explained_by: &[&super::memory_stalled::CHECK],
    signals: &[],
    article: include_str!("io_stalled.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let over = Over { resource: "io", stall: |stalls| stalls.io, full: true, limit: config.pressure.io_full_percent };
    let found = stall::finding(facts, &over, |percent| format!("for {percent:.0} % of the last minute all work waited for the disks"))?;
    Ok(found
        .map(|finding| {
            finding
                .remedy("iostat -x 1 3 || cat /proc/diskstats  # which disk is busy")
                .remedy("pidstat -d 1 5 || ps -eo state,pid,comm | grep \x27^D\x27  # who reads and writes, or waits")
        })
        .into_iter()
        .collect())
}
