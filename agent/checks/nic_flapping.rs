use std::time::Duration;

use super::kernel::{self, finding};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "nic-flapping",
    title: "a network card loses its link again and again",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[
        Signal { from: LogSource::Kernel, pattern: r"[Ll]ink is [Dd]own" },
        Signal { from: LogSource::Kernel, pattern: r": [Ll]ink down" },
        Signal { from: LogSource::Kernel, pattern: r"link status definitely down" },
        Signal { from: LogSource::Kernel, pattern: r"NETDEV WATCHDOG: " },
    ],
    article: include_str!("nic_flapping.md"),
    examine,
};

const NEWS_SECONDS: i64 = 3600;
const OFTEN: usize = 3;
/// Devices of pods and bridges come and go.
const VIRTUAL: [&str; 9] = ["veth", "cali", "lxc", "cni", "docker", "br-", "flannel", "cilium", "tap"];

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let told = kernel::told(facts, CHECK.code, NEWS_SECONDS, |line| device(line).map(str::to_owned))?;
    let one = |told: &kernel::Told<'_>| {
        let device = &told.subject;
        let what = if is_hung(told) {
            "does not send what it is given (transmit queue timed out)".to_owned()
        } else {
            format!("lost its link {} times within an hour", told.count)
        };
        finding(told, format!("the network card {device} {what}"))
            .remedy(format!(
                "ip -s link show {device}; ethtool {device} | grep -E 'Speed|Duplex|Link'; ethtool -S {device} | grep -iE 'err|drop|crc' | grep -v ': 0$'"
            ))
            .remedy("# cable, transceiver, switch port; then the driver and its firmware")
    };
    Ok(told.iter().filter(|told| told.count >= OFTEN || is_hung(told)).map(one).collect())
}

fn is_hung(told: &kernel::Told<'_>) -> bool {
    told.last.message.contains("NETDEV WATCHDOG")
}

/// `e1000e 0000:00:1f.6 eth0: NIC Link is Down`, `mlx5_core 0000:01:00.0 eth0: Link down`,
/// `bond0: (slave eth0): link status definitely down`, `NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out`
fn device(line: &str) -> Option<&str> {
    let ends = &[' ', ':', ')'];
    let named = kernel::between(line, "NETDEV WATCHDOG: ", ends)
        .or_else(|| kernel::between(line, "(slave ", ends))
        .or_else(|| kernel::between(line, "for interface ", &[',', ' ']));
    let before = || {
        let at = ["NIC Link is", "Link is", "link is", "Link down", "link down"].into_iter().find_map(|words| line.find(words))?;
        line.get(..at)?.trim_end().trim_end_matches(':').rsplit(' ').next()
    };
    named.or_else(before).filter(|device| !device.is_empty() && !VIRTUAL.iter().any(|kind| device.starts_with(kind)))
}
