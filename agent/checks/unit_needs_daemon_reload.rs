use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::shell::quote;
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

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    // systemd 252 says it of every masked unit with drop-ins, however often it is reloaded.
    let stale = unit::needed_running(facts, config)?.into_iter().filter(|(unit, _)| unit.need_daemon_reload && !unit.is_masked());
    let found = stale.map(|(unit, active)| {
        let name = unit.name.as_str();
        let restart = if active.state == "active" { format!(" && systemctl restart {}", quote(name)) } else { String::new() };
        let files: Vec<&str> = unit.fragment_path.iter().chain(&unit.drop_in_paths).map(String::as_str).collect();
        Finding::new(unit::component(name), name, format!("{name} runs by an older unit file than the one on disk"))
            .evidence(format!("{name}.NeedDaemonReload"), format!("yes: {}", files.join(", ")))
            .remedy(format!("systemctl daemon-reload{restart}"))
    });
    Ok(found.collect())
}
