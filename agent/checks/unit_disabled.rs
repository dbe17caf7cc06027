use std::time::Duration;

use super::unit;
use crate::config::Config;
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

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let found = unit::needed(facts)?.into_iter().filter_map(|unit| {
        let name = unit.name.as_str();
        let runs = unit.active.as_ref().is_none_or(|active| active.state != "inactive");
        (unit.unit_file_state == "disabled" && runs).then(|| {
            Finding::new(unit::component(name), name, format!("{name} will not start at boot"))
                .evidence(format!("{name}.UnitFileState"), "disabled")
                .remedy(format!("systemctl enable {name}"))
        })
    });
    Ok(found.collect())
}
