use std::time::Duration;

use super::kernel::{self, finding};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "netdevice-unregister-stuck",
    title: "the kernel cannot remove a network device that is still in use",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[Signal { from: LogSource::Kernel, pattern: r"unregister_netdevice: waiting for \S+ to become free" }],
    article: include_str!("netdevice_unregister_stuck.md"),
    examine,
};

/// The kernel repeats it every 10 s (`net/core/dev.c` `netdev_wait_allrefs_any()`); a few times are normal.
const NEWS_SECONDS: i64 = 300;
const OFTEN: usize = 3;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, NEWS_SECONDS, |line| kernel::between(line, "waiting for ", &[' ']).map(str::to_owned))?;
    let one = |told: &kernel::Told<'_>| {
        finding(
            told,
            format!("the kernel waits for the network device {} of a pod that is gone to become free: creating and removing pods may hang", told.subject),
        )
        .remedy("ip netns list | wc -l; ps -eo pid,stat,wchan:32,comm | grep -E ' D|netns'  # what hangs at it")
        .remedy(format!("kubectl drain {} --ignore-daemonsets --delete-emptydir-data; systemctl reboot  # nothing else frees it", facts.node_name()))
    };
    Ok(told.iter().filter(|told| told.count >= OFTEN).map(one).collect())
}
