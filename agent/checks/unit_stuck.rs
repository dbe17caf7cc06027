use std::time::Duration;

use super::unit::{self, State};
use crate::config::Config;
use crate::facts::shell::quote;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-stuck",
    title: "a unit the node needs does not get started, stopped or reloaded",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: unit::STOPS_A_UNIT,
    signals: &[],
    article: include_str!("unit_stuck.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let found = unit::needed_running(facts, config)?.into_iter().filter_map(|(unit, active)| {
        let State::Stuck(since, limit) = unit::state(unit, active, facts.now) else { return None };
        let name = unit.name.as_str();
        let took = human_span(facts.now.seconds_since(since));
        let finding = Finding::new(unit::component(name), name, format!("{name} has been {} for {took}", active.state))
            .since(Some(since))
            .evidence(format!("{name}.SubState"), format!("{}, which may take {}", active.sub_state, human_span(limit)))
            .remedy(format!("systemctl status {} --no-pager; systemctl list-jobs --no-pager", quote(name)))
            .remedy(format!("systemctl kill --signal=KILL {}", quote(name)));
        Some(unit::last_words(facts, unit, active, finding))
    });
    Ok(found.collect())
}
