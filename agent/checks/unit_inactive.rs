use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-inactive",
    title: "a unit the node needs is stopped",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: &[&super::unit_masked::CHECK, &super::unit_load_error::CHECK],
    signals: &[],
    article: include_str!("unit_inactive.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let found = unit::needed(facts)?.into_iter().filter_map(|unit| {
        let name = unit.name.as_str();
        let active = unit.active.as_ref().filter(|active| active.state == "inactive" && unit.is_installed())?;
        let disabled = unit.unit_file_state == "disabled";
        let what = if disabled { "is stopped, and disabled: it will not start at boot either" } else { "is stopped" };
        let start = if disabled { "enable --now" } else { "start" };
        Some(
            Finding::new(unit::component(name), name, format!("{name} {what}"))
                .since(active.since)
                .evidence(format!("{name}.ActiveState"), format!("inactive ({}), last result {}", active.sub_state, active.result))
                .remedy(format!("systemctl {start} {name}")),
        )
    });
    Ok(found.collect())
}
