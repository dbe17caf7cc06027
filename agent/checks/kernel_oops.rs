use std::time::Duration;

use super::kernel::{self, finding};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kernel-oops",
    title: "the kernel has made a mistake of its own (an oops), and goes on",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::hardware_error::CHECK],
    signals: &[
        Signal { from: LogSource::Kernel, pattern: r"BUG: (unable to handle|kernel NULL pointer dereference)" },
        Signal { from: LogSource::Kernel, pattern: r"Oops: .*\[#\d+\]|Internal error: Oops" },
        Signal { from: LogSource::Kernel, pattern: r"Unable to handle kernel " },
        Signal { from: LogSource::Kernel, pattern: r"general protection fault.*\[#\d+\]" },
        Signal { from: LogSource::Kernel, pattern: r"kernel BUG at \S+:\d+!" },
    ],
    article: include_str!("kernel_oops.md"),
    examine,
};

/// A kernel that has oopsed stays as it is until the next boot.
const THIS_BOOT: i64 = i64::MAX;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, THIS_BOOT, |_| Some("kernel".to_owned()))?;
    let release = facts.node.kernel.as_deref().unwrap_or("of this node");
    let one = |told: &kernel::Told<'_>| {
        finding(told, format!("the kernel {release} has run into a bug of its own and may hold locks or have lost memory since"))
            .remedy("journalctl -k --no-pager | grep -A 30 -E 'BUG:|Oops|general protection' | tail -60  # which function, which module")
            .remedy(format!(
                "kubectl drain {} --ignore-daemonsets --delete-emptydir-data; systemctl reboot  # at the next chance, into a newer kernel",
                facts.node_name()
            ))
    };
    Ok(told.iter().map(one).collect())
}
