use std::time::Duration;

use super::{runtime, unit};
use crate::config::Config;
use crate::facts::runtime::Reply;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "runtime-socket-missing",
    title: "the container runtime's socket is not there",
    severity: Severity::Critical,
    domain: Domain::Runtime,
    // A runtime that is restarted makes it again.
    settle: Duration::from_secs(5),
    explained_by: runtime::STOPS_THE_RUNTIME,
    signals: &[],
    article: include_str!("runtime_socket_missing.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(runtime) = runtime::judged(facts)? else { return Ok(Vec::new()) };
    let Some(socket) = runtime.socket() else { return Ok(Vec::new()) };
    let saw = match &runtime.reply {
        Reply::NoSocket if runtime::other_meant(facts, config, runtime).is_none() => "does not exist",
        Reply::NotASocket => "is there, and is no socket",
        _ => return Ok(Vec::new()),
    };
    let summary = format!("there is no socket at {socket}, where the kubelet asks the container runtime: no pod can be started or stopped");
    let finding = Finding::new(Component::Runtime, socket, summary).evidence(socket, saw);
    let finding = runtime::endpoint(runtime, finding);
    Ok(vec![finding.remedy(runtime::look_at(facts, config)).remedy(format!("systemctl restart {}", unit::runtime(facts, config)))])
}
