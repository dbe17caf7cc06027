use std::time::Duration;

use super::soft;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "memory-pressure-soft",
    title: "available memory is under the kubelet's soft eviction threshold",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[&super::memory_pressure::CHECK],
    signals: &[],
    article: include_str!("memory_pressure_soft.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    soft::findings(facts, |signal| signal == "memory.available")
}
