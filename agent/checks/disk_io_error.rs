use std::time::Duration;

use super::kernel::{self, finding};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "disk-io-error",
    title: "a disk answers with errors",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::hardware_error::CHECK],
    signals: &[
        Signal { from: LogSource::Kernel, pattern: r"(I/O|critical (medium|target|nexus)) error, dev \S+, sector" },
        Signal { from: LogSource::Kernel, pattern: r"Buffer I/O error on dev(ice)? \S+," },
        Signal { from: LogSource::Kernel, pattern: r"nvme\S+: (controller is down|Device not ready|I/O \d+ .*timeout, (aborting|reset))" },
        Signal { from: LogSource::Kernel, pattern: r"ata\d+(\.\d+)?: (failed command|exception Emask)" },
        Signal { from: LogSource::Kernel, pattern: r"rejecting I/O to offline device" },
    ],
    article: include_str!("disk_io_error.md"),
    examine,
};

const NEWS_SECONDS: i64 = 3600;
/// Without a medium these always fail.
const REMOVABLE: [&str; 2] = ["fd", "sr"];

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, NEWS_SECONDS, |line| device(line).map(str::to_owned))?;
    let one = |told: &kernel::Told<'_>| {
        let device = &told.subject;
        finding(told, format!("the disk {device} answers reads or writes with errors"))
            .remedy(format!("lsblk -o NAME,MOUNTPOINTS,MODEL,SERIAL /dev/{device}; smartctl -a /dev/{device} 2>/dev/null | grep -E 'result|Realloc|Pending|Uncorrect|Media'  # package smartmontools"))
            .remedy(format!("kubectl drain {} --ignore-daemonsets --delete-emptydir-data  # before the disk is replaced (in a cloud: the volume, or the machine)", facts.node_name()))
    };
    Ok(told.iter().map(one).collect())
}

/// `I/O error, dev sda, sector 2048 op 0x0:(READ)`, `Buffer I/O error on dev sda1, …`, `nvme0: controller is down`
fn device(line: &str) -> Option<&str> {
    let ends = &[',', ' ', ':', ']'];
    let named = ["error, dev ", "error on dev ", "error on device "].into_iter().find_map(|before| kernel::between(line, before, ends));
    let word = named.or_else(|| line.split(' ').find(|word| word.starts_with("nvme") || word.starts_with("ata")).map(|word| word.trim_end_matches(':')));
    let word = word.or_else(|| kernel::between(line, "[", ends).filter(|_| line.contains("offline device")));
    word.filter(|word| !REMOVABLE.iter().any(|kind| word.strip_prefix(kind).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))))
}
