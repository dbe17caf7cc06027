use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-missing",
    title: "a unit the node needs is not installed",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("unit_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let found = unit::needed(facts)?.into_iter().filter_map(|unit| {
        let name = unit.name.as_str();
        (!unit.is_installed()).then(|| {
            Finding::new(unit::component(name), name, format!("{name} is not installed"))
                .evidence(format!("{name}.LoadState"), "not-found")
                .remedy(format!("apt-get install {0} || dnf install {0}", name.trim_end_matches(".service")))
        })
    });
    Ok(found.collect())
}
