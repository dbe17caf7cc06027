use std::time::Duration;

use super::cni::{judged, put_aside};
use super::cni_config_invalid::stops_at;
use crate::config::Config;
use crate::facts::cni::ConfState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-config-invalid-shadowed",
    title: "an invalid CNI configuration file that is not the one in effect",
    severity: Severity::Warning,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("cni_config_invalid_shadowed.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(cni) = judged(facts)? else { return Ok(Vec::new()) };
    let effective = cni.in_effect().map(|(file, network)| format!("in effect is {} ({})", file.name, network.provider));
    let found = cni.candidates().filter(|file| !stops_at(cni, file)).filter_map(|file| {
        let ConfState::Invalid(fault) = &file.state else { return None };
        let path = cni.path_of(file);
        let verb = if cni.runtime.skips_bad_files() { "skips it" } else { "does not get to it" };
        let finding = Finding::new(Component::Network, path.clone(), format!("{path} is invalid; {} {verb}", cni.runtime.name()));
        let finding = finding.evidence(fault.place(&path), fault.message.clone());
        let finding = effective.iter().fold(finding, |finding, saw| finding.evidence(cni.conf_dir.value.clone(), saw.clone()));
        Some(finding.remedy(put_aside(&path)))
    });
    Ok(found.collect())
}
