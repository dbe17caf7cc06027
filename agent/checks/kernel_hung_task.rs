use std::time::Duration;

use super::kernel::{self, finding};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kernel-hung-task",
    title: "the kernel has found tasks that wait for something for minutes",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::disk_io_error::CHECK, &super::filesystem_error::CHECK, &super::io_stalled::CHECK, &super::hardware_error::CHECK],
    signals: &[Signal { from: LogSource::Kernel, pattern: r"task .{1,64}:\d+ blocked (in I/O wait )?for more than \d+ seconds" }],
    article: include_str!("kernel_hung_task.md"),
    examine,
};

/// The kernel tells of a task ten times at most (`kernel/hung_task.c`, `hung_task_warnings`), two minutes apart.
const NEWS_SECONDS: i64 = 3600;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, NEWS_SECONDS, |line| task(line).map(str::to_owned))?;
    Ok(told
        .iter()
        .map(|told| {
            let task = &told.subject;
            let span = kernel::between(&told.last.message, "more than ", &[' ']).unwrap_or("120");
            finding(told, format!("{task} has been waiting in the kernel for more than {span} s: a disk, a network file system or a lock does not answer"))
                .remedy("ps -eo pid,stat,wchan:32,comm | awk '$2 ~ /^D/'  # who waits, and in which function")
                .remedy("journalctl -k --no-pager | grep -A 20 'blocked for more than' | tail -40; cat /proc/pressure/io")
        })
        .collect())
}

/// `INFO: task containerd:1234 blocked for more than 120 seconds.`
fn task(line: &str) -> Option<&str> {
    let (before, _) = line.split_once(" blocked ")?;
    let (_, task) = before.rsplit_once("task ")?;
    task.rsplit_once(':').map(|(name, _)| name)
}
