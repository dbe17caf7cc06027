use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-masked",
    title: "a unit the node needs is masked: systemd refuses to start it",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("unit_masked.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let found = unit::needed(facts)?.into_iter().filter_map(|unit| {
        let name = unit.name.as_str();
        unit.is_masked().then(|| {
            Finding::new(unit::component(name), name, format!("{name} is masked: systemd refuses to start it"))
                .evidence(format!("{name}.UnitFileState"), "masked")
                .evidence(unit.fragment_path.clone().unwrap_or_else(|| format!("/etc/systemd/system/{name}")), "links to /dev/null")
                .remedy(format!("systemctl unmask {name} && systemctl enable --now {name}"))
        })
    });
    Ok(found.collect())
}
