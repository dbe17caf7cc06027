use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-failed",
    title: "a unit the node needs has failed",
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
    article: include_str!("unit_failed.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let found = unit::needed(facts)?.into_iter().filter_map(|unit| {
        let name = unit.name.as_str();
        let active = unit.active.as_ref().filter(|active| active.state == "failed")?;
        let ending = unit::ending(active);
        let finding = Finding::new(unit::component(name), name, format!("{name} has failed: {ending}"))
            .since(active.since)
            .evidence(format!("{name}.Result"), format!("{}, {ending}", active.result))
            .remedy(format!("journalctl -u {name} -n 30 --no-pager; systemctl reset-failed {name} && systemctl restart {name}"));
        Some(unit::last_words(facts, unit, finding))
    });
    Ok(found.collect())
}
