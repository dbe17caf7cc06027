use std::time::Duration;

use super::filling;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "inodes-filling",
    title: "a disk's inodes are used up: at the measured rate a threshold of the kubelet's is crossed within hours",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("inodes_filling.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    filling::findings(facts, config, |signal| signal.ends_with("fs.inodesFree"))
}
