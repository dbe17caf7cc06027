//! What the three forecasts share: the finding, one for each file system.

use super::forecast::{Forecast, crossing};
use super::pressure::{bytes, culprits, fastest_holder, holders, make_room, percent, under_threshold};
use crate::config::Config;
use crate::facts::pressure::Pressure;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Facts};
use crate::finding::{Component, Finding};

/// What is about to be short, and is not yet.
pub(super) fn findings(facts: &Facts, config: &Config, wanted: fn(&str) -> bool) -> Result<Vec<Finding>, Blind> {
    let mut crossing = crossing(facts, config.pressure.forecast, wanted)?;
    let under = under_threshold(facts, wanted)?;
    let pressure = facts.pressure.ok()?;
    let device = |signal: &str| pressure.filesystem(signal).map(|filesystem| filesystem.device);
    // A disk that is short already is told by another check; of two names of one disk the one whose limit comes first counts.
    crossing.retain(|forecast| !under.iter().any(|under| device(under.signal.name) == device(forecast.signal.name)));
    crossing.sort_by_key(|forecast| forecast.soonest);
    let mut told = Vec::new();
    crossing.retain(|forecast| {
        let device = device(forecast.signal.name);
        !told.contains(&device) && {
            told.push(device);
            true
        }
    });
    Ok(crossing.iter().map(|forecast| finding(forecast, pressure)).collect())
}

fn finding(forecast: &Forecast, pressure: &Pressure) -> Finding {
    let Forecast { signal, limit, .. } = forecast;
    let counts = signal.name.ends_with("inodesFree");
    let show = |count: u64| if counts { format!("{count} inodes") } else { bytes(count) };
    let subject = pressure.filesystem(signal.name).map_or(signal.name, |filesystem| filesystem.name());
    let what_follows = match (&forecast.source, signal.name) {
        (None, _) => "it is full",
        (_, "memory.available") => "the kubelet evicts pods",
        _ => "the kubelet removes images and evicts pods",
    };
    let what = if signal.name == "memory.available" { "memory" } else { subject };
    let lost = forecast.from.saturating_sub(signal.available);
    let fastest = fastest_holder(pressure, lost).filter(|_| signal.name == "memory.available");
    let to = fastest.map_or_else(String::new, |holder| format!(", most of it to {}", holder.holder.name));
    let summary = format!("{what} loses {} an hour{to}: {} {what_follows} (below {})", show(forecast.rate), forecast.when(), show(*limit));
    let measured =
        format!("{} {} ago, now {} ({})", show(forecast.from), human_span(forecast.seen), show(signal.available), percent(signal.available, signal.capacity));
    let finding = Finding::new(Component::Workloads, subject, summary).evidence(signal.name, measured);
    let finding = match &forecast.source {
        Some(source) => finding.evidence(source.clone(), format!("evictionHard {} below {}", signal.name, show(*limit))),
        None => finding,
    };
    let Some(filesystem) = pressure.filesystem(signal.name) else {
        let finding = holders(finding, pressure);
        return finding.remedy("systemd-cgtop --order=memory --depth=6 --iterations=1 --batch | head -25  # run it twice, a minute apart: which grows?");
    };
    make_room(culprits(finding, pressure, filesystem.device, counts), pressure, filesystem, counts)
}
