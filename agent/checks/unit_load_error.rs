use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::shell::quote;
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

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let broken = unit::needed(facts, config)?.into_iter().filter(|unit| matches!(unit.load_state.as_str(), "error" | "bad-setting"));
    let found = broken.map(|unit| {
        let name = unit.name.as_str();
        let file = unit.fragment_path.as_deref().unwrap_or(name);
        Finding::new(unit::component(name), name, format!("systemd cannot load {name} from {file}"))
            .evidence(format!("{name}.LoadState"), format!("{}: {}", unit.load_state, unit.load_error.as_deref().unwrap_or("no message")))
            .remedy(format!("systemd-analyze verify {}", quote(file)))
            .remedy(format!("vi {} && systemctl daemon-reload && systemctl restart {}", quote(file), quote(name)))
    });
    Ok(found.collect())
}
