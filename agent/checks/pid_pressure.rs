use std::time::Duration;

use super::pressure::{stays, under_threshold};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "pid-pressure",
    title: "free process ids are under the kubelet's hard eviction threshold, or gone",
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
    let kubelet = facts.kubelet.ok()?;
    let found = under.into_iter().map(|under| {
        let (left, most) = (under.signal.available, under.signal.capacity);
        let what_follows = match (under.threshold.is_some(), under.is_exhausted()) {
            (true, false) => format!("under the threshold of {}, the kubelet evicts pods", under.goal),
            (true, true) => "no process can start, and the kubelet evicts pods".to_owned(),
            (false, _) => "no process can start".to_owned(),
        };
        let finding = Finding::new(under.component(), under.signal.name, format!("{left} process ids left of {most}: {what_follows}"))
            .evidence("/proc/loadavg", format!("{} threads exist", most.saturating_sub(left)))
            .evidence("kernel.pid_max, kernel.threads-max", format!("the lesser is {most}"));
        let finding = under.evidence(finding, |count| count.to_string());
        let finding = if under.threshold.is_some() { stays(finding, under.signal.name, kubelet) } else { finding };
        finding
            .remedy("ps -eLo user,pid,comm --no-headers | sort | uniq -c | sort -rn | head  # threads by process")
            .remedy("sysctl kernel.pid_max kernel.threads-max  # raise the lesser one only if the threads are wanted")
    });
    Ok(found.collect())
}
