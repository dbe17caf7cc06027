use std::time::Duration;

use super::unit::{self, State};
use crate::config::Config;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-failed",
    title: "a unit the node needs has failed",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: unit::STOPS_A_UNIT,
    signals: &[],
    article: include_str!("unit_failed.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let failed = unit::needed_running(facts, config)?.into_iter().filter(|(unit, active)| unit::state(unit, active, facts.now) == State::Failed);
    let found = failed.map(|(unit, active)| {
        let name = unit.name.as_str();
        let ending = active.ending().map_or_else(|| "no reason is known".to_owned(), |ending| unit::ending(unit, &ending));
        let restarts = active.restarts.filter(|restarts| *restarts > 0).map_or_else(String::new, |restarts| format!(", after {restarts} restarts"));
        let finding = Finding::new(unit::component(name), name, format!("{name} has failed: {ending}"))
            .since(active.since)
            .evidence(format!("{name}.Result"), format!("{}{restarts}", active.result))
            .remedy(format!("journalctl -u {} -n 30 --no-pager", quote(name)))
            .remedy(format!("systemctl reset-failed {0} && systemctl start {0}", quote(name)));
        unit::last_words(facts, unit, active, finding)
    });
    Ok(found.collect())
}
