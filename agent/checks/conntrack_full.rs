use std::time::Duration;

use super::{conntrack, log};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "conntrack-full",
    title: "the table of tracked connections is full, or nearly",
    severity: Severity::Critical,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[Signal { from: LogSource::Kernel, pattern: r"nf_conntrack: table full, dropping packet" }],
    article: include_str!("conntrack_full.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let mut found = conntrack::finding(facts, |usage| usage.is_over(conntrack::FULL), "the kernel drops new connections")?;
    // The kernel says so no more often than every few seconds, so that a burst between two looks is seen here alone.
    let dropped = facts.journal.known().and_then(|journal| journal.signals.get(CHECK.code));
    let line = dropped.filter(|seen| log::age(facts, seen.last) <= DROPPED_SECONDS).and_then(|seen| seen.samples.last());
    match (found.pop(), line) {
        (Some(finding), Some(line)) => found.push(log::evidence(finding, line)),
        (Some(finding), None) => found.push(finding),
        (None, Some(line)) if facts.is_kubernetes_node() => {
            let finding =
                Finding::new(Component::Network, "nf_conntrack", "the table of tracked connections was full a moment ago: the kernel dropped new connections");
            let finding = log::evidence(finding.since(dropped.map(|seen| seen.first)), line);
            found.push(finding.remedy(
                "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; conntrack -S 2>/dev/null | grep -o 'drop=[0-9]*' | sort | uniq -c",
            ));
        }
        (None, _) => {}
    }
    Ok(found)
}

/// How long a dropped connection is news.
const DROPPED_SECONDS: i64 = 300;
