use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-disabled",
    title: "a unit the node needs will not start at boot",
    severity: Severity::Warning,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("unit_disabled.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let disabled = unit::needed_running(facts, config)?.into_iter().filter(|(unit, active)| {
        let runs = !matches!(active.state.as_str(), "inactive" | "failed");
        let lost_at_boot = unit.unit_file_state == "enabled-runtime" || (unit.unit_file_state == "disabled" && unit.wanted_by.is_empty());
        runs && lost_at_boot
    });
    let found = disabled.map(|(unit, _)| {
        let name = unit.name.as_str();
        Finding::new(unit::component(name), name, format!("{name} will not start at boot"))
            .evidence(format!("{name}.UnitFileState"), unit.unit_file_state.clone())
            .remedy(format!("systemctl enable {}", quote(name)))
    });
    Ok(found.collect())
}
