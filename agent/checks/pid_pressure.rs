use std::time::Duration;

use super::pressure::under_threshold;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "pid-pressure",
    title: "free process ids are under the kubelet's hard eviction threshold",
    severity: Severity::Critical,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("pid_pressure.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let under = under_threshold(facts, |signal| signal == "pid.available")?;
    Ok(under
        .into_iter()
        .map(|(signal, threshold, limit)| {
            Finding::new(
                Component::Node,
                signal.name,
                format!("{} process ids left of {}, under the threshold of {limit}: the kubelet evicts pods", signal.available, signal.capacity),
            )
            .evidence("/proc/loadavg, kernel.pid_max, kernel.threads-max", format!("{} threads exist", signal.capacity.saturating_sub(signal.available)))
            .evidence(threshold.source, format!("evictionHard pid.available<{}", threshold.value))
            .remedy("ps -eLo user,pid,comm --no-headers | sort | uniq -c | sort -rn | head")
        })
        .collect())
}
