use std::time::Duration;

use super::oom;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "oom-kill",
    title: "the kernel has killed a process for lack of memory",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[Signal { from: LogSource::Kernel, pattern: r"oom-kill:constraint=" }, Signal { from: LogSource::Kernel, pattern: r"Killed process \d+ \(" }],
    article: include_str!("oom_kill.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    Ok(oom::victims(facts)?.iter().filter(|victim| victim.service.is_none()).map(|victim| oom::finding(victim, Component::Node)).collect())
}
