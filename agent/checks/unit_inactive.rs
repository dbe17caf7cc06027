use std::time::Duration;

use super::unit::{self, HeldUp, State};
use crate::config::Config;
use crate::facts::units::{Active, Unit};
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-inactive",
    title: "a unit the node needs is stopped",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: unit::KEEPS_A_UNIT_STOPPED,
    signals: &[],
    article: include_str!("unit_inactive.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let stopped = unit::needed_running(facts, config)?.into_iter().filter(|(unit, active)| unit::state(unit, active, facts.now) == State::Inactive);
    Ok(stopped.map(|(unit, active)| stopped_unit(facts, unit, active)).collect())
}

/// A unit may be stopped while another does not run, and neither for the other's sake: only what holds it up explains it.
fn stopped_unit(facts: &Facts, unit: &Unit, active: &Active) -> Finding {
    let name = unit.name.as_str();
    let holders = unit::held_up(facts, unit, active);
    let disabled = unit.unit_file_state == "disabled";
    let what = match holders.first() {
        Some(HeldUp { by, state, waits: true }) => {
            let state = if state.state == "activating" { "is activating" } else { "is not up yet" };
            format!("waits for {}, which {state}", by.name)
        }
        Some(HeldUp { by, state, waits: false }) => {
            let state = if state.state == "failed" { "has failed" } else { "is stopped" };
            format!("is stopped, and requires {}, which {state}", by.name)
        }
        None if disabled => "is stopped and disabled".to_owned(),
        None => "is stopped".to_owned(),
    };
    let last = active.ending().map_or_else(String::new, |ending| format!(", last run: {}", unit::ending(unit, &ending)));
    let mut finding = Finding::new(unit::component(name), name, format!("{name} {what}"))
        .since(active.since)
        .evidence(format!("{name}.ActiveState"), format!("inactive ({}){last}", active.sub_state))
        .hangs_on([name].into_iter().chain(holders.iter().map(|holder| holder.by.name.as_str())).map(str::to_owned).collect());
    if disabled {
        finding = finding.evidence(format!("{name}.UnitFileState"), "disabled: it will not start at boot either");
    }
    for HeldUp { by, state, waits } in &holders {
        let property = if *waits { "After" } else { "Requires" };
        let job = state.job.map_or_else(String::new, |job| format!(", job {job}"));
        finding = finding
            .evidence(format!("{name}.{property}"), format!("{}: {} ({}){job}", by.name, state.state, state.sub_state))
            .remedy(format!("systemctl status {} --no-pager", by.name));
    }
    match holders.first() {
        Some(HeldUp { waits: true, .. }) => finding.remedy("systemctl list-jobs --no-pager"),
        _ => finding.remedy(format!("systemctl {} {name}", if disabled { "enable --now" } else { "start" })),
    }
}
