use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-needs-daemon-reload",
    title: "a unit's file has changed and systemd has not read it",
    severity: Severity::Warning,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("unit_needs_daemon_reload.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let found = unit::needed(facts)?.into_iter().filter_map(|unit| {
        let name = unit.name.as_str();
        // systemd 252 says it of every masked unit with drop-ins, however often it is reloaded.
        (unit.need_daemon_reload && !unit.is_masked()).then(|| {
            Finding::new(unit::component(name), name, format!("{name} runs by an older unit file than the one on disk"))
                .evidence(format!("{name}.NeedDaemonReload"), "yes")
                .remedy(format!("systemctl daemon-reload && systemctl restart {name}"))
        })
    });
    Ok(found.collect())
}
