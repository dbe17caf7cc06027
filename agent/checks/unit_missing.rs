use std::time::Duration;

use super::unit;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "unit-missing",
    title: "a unit the node needs is not installed",
    severity: Severity::Critical,
    domain: Domain::Units,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("unit_missing.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let missing = unit::needed(facts, config)?.into_iter().filter(|unit| !unit.is_installed());
    let found = missing.map(|unit| {
        let name = unit.name.as_str();
        Finding::new(unit::component(name), name, format!("{name} is not installed"))
            .evidence(format!("{name}.LoadState"), "not-found")
            .remedy(install(name.trim_end_matches(".service"), facts.node.os.as_deref().unwrap_or_default()))
    });
    Ok(found.collect())
}

/// The command of this node's distribution.
fn install(package: &str, os: &str) -> String {
    let package = match package {
        "containerd" => "containerd.io",
        "crio" => "cri-o",
        "docker" => "docker-ce",
        "cri-docker" => "cri-dockerd",
        other => other,
    };
    let package = if package == "containerd.io" && (os.contains("Debian") || os.contains("Ubuntu")) { "containerd" } else { package };
    match os {
        os if os.contains("Debian") || os.contains("Ubuntu") => format!("apt-get install {package}"),
        os if os.contains("SUSE") => format!("zypper install {package}"),
        "" => format!("apt-get install {package} || dnf install {package}"),
        _ => format!("dnf install {package}"),
    }
}
