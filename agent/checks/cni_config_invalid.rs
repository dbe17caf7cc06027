use std::time::Duration;

use crate::config::Config;
use crate::facts::cni::{ConfState, Runtime};
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "cni-config-invalid",
    title: "the CNI configuration that the runtime loads is invalid",
    severity: Severity::Critical,
    domain: Domain::Cni,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("cni_config_invalid.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let cni = facts.cni.ok()?;
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let first_counts = cni.runtime == Runtime::Containerd;
    let nothing_else = cni.networks().next().is_none();
    Ok(cni
        .candidates()
        .enumerate()
        .filter_map(|(position, file)| {
            let ConfState::Invalid(fault) = &file.state else { return None };
            let fatal = nothing_else || (first_counts && position == 0);
            (fatal).then(|| {
                let path = cni.path_of(file);
                Finding::new(Component::Network, path.clone(), format!("{} is invalid, and the runtime stops at it: no pod gets a network", fault.place(&path)))
                    .evidence(fault.place(&path), fault.message.clone())
                    .remedy(format!("mv {path} {path}.broken  # or mend it"))
            })
        })
        .collect())
}
