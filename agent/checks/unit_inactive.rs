use std::time::Duration;

use super::unit::{self, State};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-inactive",
    title: "a unit the node needs is stopped",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: unit::KEEPS_A_UNIT_STOPPED,
    signals: &[],
    article: include_str!("unit_inactive.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let stopped = unit::needed_running(facts, config)?.into_iter().filter(|(unit, active)| unit::state(unit, active, facts.now) == State::Inactive);
    let found = stopped.map(|(unit, active)| {
        let name = unit.name.as_str();
        let disabled = unit.unit_file_state == "disabled";
        let what = if disabled { "stopped and disabled" } else { "stopped" };
        let last = active.ending().map_or_else(String::new, |ending| format!(", last run: {}", unit::ending(unit, &ending)));
        let mut finding = Finding::new(unit::component(name), name, format!("{name} is {what}"))
            .since(active.since)
            .evidence(format!("{name}.ActiveState"), format!("inactive ({}){last}", active.sub_state));
        if disabled {
            finding = finding.evidence(format!("{name}.UnitFileState"), "disabled: it will not start at boot either");
        }
        finding.remedy(format!("systemctl {} {name}", if disabled { "enable --now" } else { "start" }))
    });
    Ok(found.collect())
}
