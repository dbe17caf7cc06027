use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::shell::quote;
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

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let masked = unit::needed(facts, config)?.into_iter().filter(|unit| unit.is_masked());
    let found = masked.map(|unit| {
        let name = unit.name.as_str();
        let runs = unit.active.as_ref().is_some_and(|active| active.state == "active");
        let what = if runs { "systemd will refuse to start it again" } else { "systemd refuses to start it" };
        let runtime = if unit.unit_file_state == "masked-runtime" { "--runtime " } else { "" };
        let start = if runs { String::new() } else { format!(" && systemctl enable --now {}", quote(name)) };
        Finding::new(unit::component(name), name, format!("{name} is masked: {what}"))
            .evidence(unit.fragment_path.clone().unwrap_or_else(|| format!("{name}.UnitFileState")), "masked: a link to /dev/null, or empty")
            .remedy(format!("systemctl unmask {runtime}{}{start}", quote(name)))
    });
    Ok(found.collect())
}
