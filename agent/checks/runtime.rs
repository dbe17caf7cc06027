//! What the checks of the container runtime share.

use super::unit;
use crate::config::Config;
use crate::facts::runtime::{Reply, Runtime};
use crate::facts::units::Unit;
use crate::facts::{Blind, Facts};
use crate::finding::{Check, Finding};

/// What keeps the runtime from answering at all.
pub(super) const STOPS_THE_RUNTIME: &[&Check] = units_that_do_not_run![super::runtime_config_invalid::CHECK,];

/// The facts, where there is anything to judge: `None` on a machine that is no node.
pub(super) fn judged(facts: &Facts) -> Result<Option<&Runtime>, Blind> {
    let runtime = facts.runtime.ok()?;
    Ok(facts.is_kubernetes_node().then_some(runtime))
}

/// `systemctl status containerd.service --no-pager; journalctl -u containerd.service -n 30 --no-pager`
pub(super) fn look_at(facts: &Facts, config: &Config) -> String {
    let unit = unit::runtime(facts, config);
    format!("systemctl status {unit} --no-pager; journalctl -u {unit} -n 30 --no-pager")
}

/// The socket the kubelet should ask instead of one that is not there: another is, and the unit that would make the
/// one asked for runs without making it, or is not installed.
pub(super) fn other_meant<'a>(facts: &Facts, config: &Config, runtime: &'a Runtime) -> Option<&'a str> {
    let name = unit::runtime(facts, config);
    let unit = facts.units.known()?.get(&name);
    let runs = |unit: &Unit| unit.active.as_ref().is_some_and(|active| active.state == "active");
    let makes_none = unit.is_none_or(|unit| !unit.is_installed() || runs(unit));
    runtime.other_sockets.first().filter(|_| makes_none && runtime.reply == Reply::NoSocket).map(String::as_str)
}

/// Where the endpoint was set.
pub(super) fn endpoint(runtime: &Runtime, finding: Finding) -> Finding {
    match runtime.endpoint.source.as_str() {
        "default" => finding,
        source => finding.evidence(source, format!("the kubelet's endpoint is {}", runtime.endpoint.value)),
    }
}
