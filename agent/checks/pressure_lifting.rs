use std::time::Duration;

use super::pressure::{condition, is_crossed};
use crate::config::Config;
use crate::facts::pressure::Crossed;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts, Kubelet};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "pressure-lifting",
    title: "what was short is there again, and the node's condition stays for the kubelet's transition period",
    severity: Severity::Info,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("pressure_lifting.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let (pressure, kubelet) = (facts.pressure.ok()?, facts.kubelet.ok()?);
    let now: Vec<_> = pressure.signals().iter().filter(|signal| is_crossed(signal, pressure, kubelet)).map(|signal| condition(signal.name)).collect();
    let of = |name: &str| pressure.crossed.iter().filter(|crossed| condition(&crossed.signal) == name).max_by_key(|crossed| crossed.last);
    let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure"].into_iter().filter(|name| !now.contains(name));
    Ok(conditions.filter_map(|name| finding(name, of(name)?, facts, kubelet)).collect())
}

fn finding(name: &str, crossed: &Crossed, facts: &Facts, kubelet: &Kubelet) -> Option<Finding> {
    let period = &kubelet.eviction_pressure_transition_seconds;
    let until = crossed.last.plus(Duration::from_secs(period.value));
    if until <= facts.now {
        return None;
    }
    let summary = format!("{name} stays until {} UTC, although it is over: no new pods are placed here before", until.clock());
    let source = if period.source == "default" { "the kubelet's default" } else { period.source.as_str() };
    let span = human_span(i64::try_from(period.value).unwrap_or(i64::MAX));
    Some(
        Finding::new(Component::Workloads, name, summary)
            .evidence(crossed.signal.clone(), format!("under its threshold until {}", crossed.last.clock()))
            .evidence(source, format!("evictionPressureTransitionPeriod {span}"))
            .remedy(format!("kubectl describe node {} | grep {name}  # nothing to do but to wait", crate::facts::shell::quote(facts.node_name()))),
    )
}
