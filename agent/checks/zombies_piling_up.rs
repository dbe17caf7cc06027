use std::time::Duration;

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "zombies-piling-up",
    title: "many processes have ended and nobody waits for them: each keeps its process id",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("zombies_piling_up.md"),
    examine,
};

/// A busy node has a few for moments; so many do not come together by chance.
const MANY: u64 = 100;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let pressure = facts.pressure.ok()?;
    let zombies = pressure.zombies.ok()?;
    let Some(parent) = zombies.parents.first().filter(|_| zombies.count >= MANY) else { return Ok(Vec::new()) };
    let of = pressure.pids.known().map_or_else(String::new, |pids| format!(" of {} process ids", pids.limit));
    let summary = format!("{} processes have ended and nobody waits for them: they keep {}{of}", zombies.count, zombies.count);
    let mut finding = Finding::new(Component::Workloads, "processes", summary);
    for parent in &zombies.parents {
        finding = finding.evidence(format!("/proc/{}", parent.pid), format!("{} is the parent of {}", parent.program, parent.zombies));
    }
    let pid = parent.pid;
    Ok(vec![
        finding
            .remedy(format!("cat /proc/{pid}/cgroup; tr '\\0' ' ' < /proc/{pid}/cmdline; echo  # whose process that is: restart its pod or unit"))
            .remedy("ps -eo ppid,pid,stat,comm | awk '$3 ~ /^Z/' | sort -n | head -20"),
    ])
}
