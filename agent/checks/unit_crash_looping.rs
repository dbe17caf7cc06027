use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-crash-looping",
    title: "a unit the node needs keeps exiting and being restarted",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: &[
        &super::kubelet_config_missing::CHECK,
        &super::node_not_joined::CHECK,
        &super::kubelet_config_invalid::CHECK,
        &super::kubelet_client_ca_missing::CHECK,
        &super::kubelet_kubeconfig_missing::CHECK,
        &super::kubelet_kubeconfig_invalid::CHECK,
        &super::certificate_expired::CHECK,
        &super::certificate_not_yet_valid::CHECK,
        &super::certificate_wrong_group::CHECK,
        &super::certificate_wrong_user::CHECK,
        &super::certificate_untrusted_issuer::CHECK,
        &super::certificate_invalid::CHECK,
        &super::certificate_key_mismatch::CHECK,
        &super::filesystem_read_only::CHECK,
        &super::disk_pressure::CHECK,
        &super::inode_pressure::CHECK,
        &super::pid_pressure::CHECK,
        &super::unit_missing::CHECK,
        &super::unit_masked::CHECK,
        &super::unit_load_error::CHECK,
        &super::unit_inactive::CHECK,
    ],
    signals: &[],
    article: include_str!("unit_crash_looping.md"),
    examine,
};

/// A unit that was restarted automatically counts as mended once it has run this long.
const HOLD_SECONDS: i64 = 60;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let found = unit::needed(facts)?.into_iter().filter_map(|unit| {
        let name = unit.name.as_str();
        let active = unit.active.as_ref()?;
        let waiting = active.sub_state.contains("auto-restart");
        let just_restarted = active.restarts.is_some_and(|restarts| restarts > 0)
            && matches!(active.state.as_str(), "active" | "activating")
            && active.active_enter.is_some_and(|entered| facts.now.seconds_since(entered) < HOLD_SECONDS);
        (waiting || just_restarted).then(|| {
            let restarts = active.restarts.unwrap_or(0);
            let ending = if waiting { format!(", last {}", unit::ending(active)) } else { String::new() };
            let finding = Finding::new(unit::component(name), name, format!("{name} keeps exiting and being restarted{ending}"))
                .evidence(format!("{name}.NRestarts"), format!("{restarts} restarts, now {} ({}){ending}", active.state, active.sub_state))
                .remedy(format!("journalctl -u {name} -n 30 --no-pager"));
            unit::last_words(facts, unit, finding)
        })
    });
    Ok(found.collect())
}
