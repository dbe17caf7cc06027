use std::time::Duration;

use super::conntrack;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "conntrack-full",
    title: "the table of tracked connections is full, or nearly",
    severity: Severity::Critical,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("conntrack_full.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    conntrack::finding(facts, |usage| usage.is_over(conntrack::FULL), "the kernel drops new connections")
}
