use std::time::Duration;

use super::stall::{self, Over};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cpu-starved",
    title: "tasks wait for a CPU most of the time",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    // Every node is busy now and then.
    settle: Duration::from_mins(5),
    explained_by: &[],
    signals: &[],
    article: include_str!("cpu_starved.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let over = Over { resource: "cpu", stall: |stalls| stalls.cpu, full: false, limit: config.pressure.cpu_some_percent };
    let found = stall::finding(facts, &over, |percent| format!("for {percent:.0} % of the last minute some task waited for a CPU"))?;
    Ok(found
        .map(|finding| {
            finding
                .remedy("top -b -n 1 | head -20")
                .remedy("systemd-cgtop --order=cpu --depth=6 --iterations=2 --batch | tail -25  # which pod or service takes it")
        })
        .into_iter()
        .collect())
}
