use std::time::Duration;

use super::unit::{self, HeldUp, State};
use crate::config::Config;
use crate::facts::shell::quote;
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
        Some(holder) => held_up(holder),
        None if disabled => "is stopped and disabled".to_owned(),
        None => "is stopped".to_owned(),
    };
    let last = active.ending().map_or_else(String::new, |ending| format!(", last run: {}", unit::ending(unit, &ending)));
    let mut finding = Finding::new(unit::component(name), name, format!("{name} {what}"))
        .since(active.since)
        .evidence(format!("{name}.ActiveState"), format!("inactive ({}){last}", active.sub_state))
        .hangs_on([name].into_iter().chain(holders.iter().flat_map(links).map(|(unit, _)| unit.name.as_str())).map(str::to_owned).collect());
    if disabled {
        finding = finding.evidence(format!("{name}.UnitFileState"), "disabled: it will not start at boot either");
    }
    for holder in &holders {
        let property = if holder.waits { "After" } else { "Requires" };
        let mut held = name;
        for (unit, state) in links(holder) {
            let job = state.job.map_or_else(String::new, |job| format!(", job {job}"));
            finding = finding.evidence(format!("{held}.{property}"), format!("{}: {} ({}){job}", unit.name, state.state, state.sub_state));
            held = &unit.name;
        }
        finding = finding.remedy(format!("systemctl status {} --no-pager", quote(held)));
    }
    match holders.first() {
        Some(HeldUp { waits: true, .. }) => finding.remedy("systemctl list-jobs --no-pager"),
        _ => finding.remedy(format!("systemctl {} {}", if disabled { "enable --now" } else { "start" }, quote(name))),
    }
}

/// The unit that holds it up, and what that hangs on.
fn links<'a>(holder: &'a HeldUp<'_>) -> impl Iterator<Item = (&'a Unit, &'a Active)> {
    std::iter::once((holder.by, holder.state)).chain(holder.because.iter().copied())
}

/// `is stopped, and requires data.mount, which requires check.service, which has failed`
fn held_up(holder: &HeldUp<'_>) -> String {
    let link = if holder.waits { "waits for" } else { "requires" };
    let chain: Vec<_> = links(holder).map(|(unit, _)| format!("{link} {}", unit.name)).collect();
    let (last, state) = holder.because.last().copied().unwrap_or((holder.by, holder.state));
    let state = match (holder.waits, state.state.as_str()) {
        (true, "activating") => "is activating",
        (true, _) => "is not up yet",
        (false, "failed") => "has failed",
        (false, _) if last.name.ends_with(".device") => "is not there",
        (false, _) => "is stopped",
    };
    format!("{}{}, which {state}", if holder.waits { "" } else { "is stopped, and " }, chain.join(", which "))
}
