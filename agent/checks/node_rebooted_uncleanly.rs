use std::time::Duration;

use crate::config::Config;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "node-rebooted-uncleanly",
    title: "the node went down without a shutdown",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::kernel_panic_recorded::CHECK, &super::hardware_error::CHECK],
    signals: &[],
    article: include_str!("node_rebooted_uncleanly.md"),
    examine,
};

/// A crash is news for a day.
const NEWS_SECONDS: i64 = 86_400;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let past = &facts.journal.ok()?.past;
    let (Some(previous), Some(booted)) = (&past.previous, past.booted) else { return Ok(Vec::new()) };
    // Either of them is a sign that somebody asked for it; without a journal of its end, our own word decides.
    let in_order = previous.shutdown.is_some() || previous.agent_stopped.unwrap_or(previous.until.is_none());
    if in_order || facts.now.seconds_since(booted) > NEWS_SECONDS {
        return Ok(Vec::new());
    }
    let down = previous.until.map_or_else(String::new, |until| format!(", {} after its last sign of life", human_span(booted.seconds_since(until))));
    let mut finding =
        Finding::new(Component::Node, facts.node_name(), format!("the node went down without a shutdown and booted again at {}{down}", booted.human()))
            .since(Some(booted))
            .evidence(format!("boot {}", previous.boot_id), "its journal ends without a shutdown");
    if let Some(last) = &previous.last {
        finding = finding.evidence(format!("{}, the last line, {}", last.source, last.time.human()), last.message.clone());
    }
    if previous.agent_stopped == Some(false) {
        finding = finding.evidence("nodetriage", "was not asked to end either");
    }
    Ok(vec![
        finding.remedy(format!("journalctl -b {} -n 50 --no-pager; last -x -n 6 reboot shutdown crash", previous.boot_id)).remedy(
            "ls /var/lib/systemd/pstore /sys/fs/pstore /var/crash 2>/dev/null; ipmitool sel list 2>/dev/null | tail  # a crash, the power, a watchdog?",
        ),
    ])
}
