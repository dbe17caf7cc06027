use std::time::Duration;

use super::{runtime, unit};
use crate::config::Config;
use crate::facts::runtime::{DAEMON_JSON, Reply};
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "runtime-config-invalid",
    title: "the container runtime's configuration is one that it refuses to start with",
    severity: Severity::Critical,
    domain: Domain::Runtime,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("runtime_config_invalid.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(runtime) = runtime::judged(facts)? else { return Ok(Vec::new()) };
    let (name, unit) = (runtime.kind.name(), unit::runtime(facts, config));
    let effect = if matches!(runtime.reply, Reply::Answered(_)) { "will not start again with it" } else { "does not start with it" };
    let invalid = runtime.config.iter().filter(|file| !file.faults().is_empty()).map(|file| {
        let path = file.path.value.as_str();
        let (name, unit) = if path == DAEMON_JSON { ("dockerd", "docker.service") } else { (name, unit.as_str()) };
        let mut finding = Finding::new(Component::Runtime, path, format!("{path} is invalid: {name} {effect}"));
        for fault in file.faults() {
            finding = finding.evidence(fault.place(path), fault.message.clone());
        }
        let line = file.faults().first().and_then(|fault| fault.line).unwrap_or(1);
        let finding = finding.remedy(format!("sed -n '{},{}p' {}  # mend it", line.saturating_sub(2).max(1), line.saturating_add(2), quote(path)));
        if name == "containerd" {
            finding.remedy(format!("containerd config dump >/dev/null && systemctl restart {unit}  # says what is still wrong, else restarts"))
        } else {
            finding.remedy(format!("systemctl restart {unit}"))
        }
    });
    Ok(invalid.collect())
}
