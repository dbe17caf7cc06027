use std::time::Duration;

use super::filling;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "memory-draining",
    title: "memory runs out: at the measured rate the kubelet's threshold is crossed within hours",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("memory_draining.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    filling::findings(facts, config, |signal| signal == "memory.available")
}
