use std::time::Duration;

use super::kernel::{self, finding};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kernel-soft-lockup",
    title: "a CPU is stuck in the kernel",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::hardware_error::CHECK, &super::cpu_starved::CHECK],
    signals: &[
        Signal { from: LogSource::Kernel, pattern: r"BUG: soft lockup - CPU#\d+ stuck for" },
        Signal { from: LogSource::Kernel, pattern: r"Watchdog detected hard LOCKUP on cpu" },
        Signal { from: LogSource::Kernel, pattern: r"rcu: INFO: rcu_\w+ (self-)?detected (expedited )?stall" },
    ],
    article: include_str!("kernel_soft_lockup.md"),
    examine,
};

/// The watchdog repeats it every 20 s or so while it lasts (`kernel/watchdog.c`), a stall of RCU every minute.
const NEWS_SECONDS: i64 = 1800;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, NEWS_SECONDS, |line| Some(cpu(line)))?;
    let one = |told: &kernel::Told<'_>| {
        let span = kernel::between(&told.last.message, "stuck for ", &['s', '!']).map_or(String::new(), |span| format!(" for {span} s"));
        let who = kernel::between(&told.last.message, "! [", &[']']).map_or(String::new(), |task| format!(" (in {task})"));
        finding(told, format!("{} was stuck in the kernel{span}{who}: nothing else ran there", told.subject))
            .remedy("journalctl -k --no-pager | grep -A 25 -E 'lockup|rcu.*stall' | tail -60  # the stack says in what")
            .remedy("grep -E 'steal|^cpu ' /proc/stat | head -1; cat /proc/pressure/cpu  # a virtual machine whose host gives it no time?")
    };
    Ok(told.iter().map(one).collect())
}

/// `watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [kworker/3:1:77]`
fn cpu(line: &str) -> String {
    let number = kernel::between(line, "CPU#", &[' ', ':']).or_else(|| kernel::between(line, "LOCKUP on cpu ", &[' ']));
    number.map_or("a CPU".to_owned(), |number| format!("CPU {number}"))
}
