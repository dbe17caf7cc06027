use std::time::Duration;

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "file-handles-exhausting",
    title: "nearly all of the kernel's file handles are in use",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("file_handles_exhausting.md"),
    examine,
};

const PERCENT: u64 = 90;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let handles = *facts.pressure.ok()?.file_handles.ok()?;
    if !handles.is_over(PERCENT) {
        return Ok(Vec::new());
    }
    let summary = format!("{} of {} file handles are in use: soon every open fails with \"Too many open files in system\"", handles.used, handles.most);
    Ok(vec![
        Finding::new(Component::Node, "fs.file-max", summary)
            .evidence("/proc/sys/fs/file-nr", format!("{} of {}, more than {PERCENT} %", handles.used, handles.most))
            .remedy("for p in /proc/[0-9]*; do echo \"$(ls $p/fd 2>/dev/null | wc -l) $(cat $p/comm 2>/dev/null) ${p#/proc/}\"; done | sort -rn | head  # who holds them")
            .remedy("sysctl fs.file-max  # raise it only if they are wanted: sysctl -w fs.file-max=NUMBER"),
    ])
}
