use std::time::Duration;

use super::kernel::{self, finding};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "filesystem-error",
    title: "the kernel has found a damaged file system",
    severity: Severity::Critical,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::disk_io_error::CHECK, &super::hardware_error::CHECK],
    signals: &[
        Signal { from: LogSource::Kernel, pattern: r"EXT[234]-fs error \(device " },
        Signal { from: LogSource::Kernel, pattern: r"EXT[234]-fs \(\S+\): [Rr]emounting filesystem read-only" },
        Signal { from: LogSource::Kernel, pattern: r"Aborting journal on device " },
        Signal { from: LogSource::Kernel, pattern: r"XFS \(\S+\): .*([Cc]orruption|Shutting down|has been shut down|log I/O error|metadata I/O error)" },
        Signal { from: LogSource::Kernel, pattern: r"BTRFS(: error| error| critical) \(device " },
    ],
    article: include_str!("filesystem_error.md"),
    examine,
};

/// What is damaged stays so; the line is news for a day.
const NEWS_SECONDS: i64 = 86_400;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, NEWS_SECONDS, |line| device(line).map(str::to_owned))?;
    let one = |told: &kernel::Told<'_>| {
        let device = &told.subject;
        let shut = ["hut down", "Shutting down", "emounting filesystem read-only", "forced readonly", "Aborting journal"]
            .iter()
            .any(|shut| told.last.message.contains(shut));
        let then = if shut { ": the kernel has stopped writing to it" } else { "" };
        finding(told, format!("the file system on {device} is damaged{then}"))
            .remedy(format!("findmnt --source /dev/{device}; journalctl -k --no-pager | grep -E '{device}' | tail -20"))
            .remedy(format!("kubectl drain {} --ignore-daemonsets --delete-emptydir-data  # then unmount it, or boot a rescue system, and: fsck -n /dev/{device} (xfs_repair -n)", facts.node_name()))
    };
    Ok(told.iter().map(one).collect())
}

/// `EXT4-fs error (device sda1): …`, `XFS (sda1): …`, `Aborting journal on device sda1-8.`
fn device(line: &str) -> Option<&str> {
    let ends = &[')', ':', ' ', ',', '.'];
    let device = ["(device ", "XFS (", "EXT4-fs (", "on device "].into_iter().find_map(|before| kernel::between(line, before, ends))?;
    let is_journal = |number: &str| number.bytes().all(|b| b.is_ascii_digit());
    Some(device.rsplit_once('-').filter(|(_, number)| is_journal(number) && line.contains("journal on device")).map_or(device, |(device, _)| device))
}
