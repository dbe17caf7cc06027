use std::time::Duration;

use super::unit::{self, State};
use crate::config::Config;
use crate::facts::shell::quote;
use crate::facts::units::Active;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-crash-looping",
    title: "a unit the node needs keeps exiting and being restarted",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: unit::STOPS_A_UNIT,
    signals: &[],
    article: include_str!("unit_crash_looping.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let looping = unit::needed_running(facts, config)?.into_iter().filter(|(unit, active)| unit::state(unit, active, facts.now) == State::CrashLooping);
    let found = looping.map(|(unit, active)| {
        let name = unit.name.as_str();
        let ending = active.ending().map_or_else(String::new, |ending| format!(", last {}", unit::ending(unit, &ending)));
        let restarts = if active.restarts() == 1 { "1 restart".to_owned() } else { format!("{} restarts", active.restarts()) };
        let seen = active.restarts_seen.first().zip(active.restarts_seen.get(1..)).filter(|(_, more)| !more.is_empty());
        let seen = seen.map_or_else(String::new, |(first, more)| format!("; {} since {}", more.len() + 1, first.clock()));
        let finding = Finding::new(unit::component(name), name, format!("{name} keeps exiting and being restarted{ending}"))
            .since(active.restarts_seen.first().copied().filter(|_| active.restarts_seen.len() < Active::RESTARTS_SEEN))
            .evidence(format!("{name}.NRestarts"), format!("{restarts}{seen}, now {} ({})", active.state, active.sub_state))
            .remedy(format!("journalctl -u {} -n 30 --no-pager", quote(name)));
        unit::last_words(facts, unit, active, finding)
    });
    Ok(found.collect())
}
