use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-load-error",
    title: "systemd cannot load a unit the node needs",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("unit_load_error.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let found = unit::needed(facts)?.into_iter().filter_map(|unit| {
        let name = unit.name.as_str();
        matches!(unit.load_state.as_str(), "error" | "bad-setting").then(|| {
            Finding::new(unit::component(name), name, format!("systemd cannot load {name}"))
                .evidence(format!("{name}.LoadError"), unit.load_error.clone().unwrap_or_else(|| unit.load_state.clone()))
                .remedy(format!("systemd-analyze verify {name}"))
        })
    });
    Ok(found.collect())
}
