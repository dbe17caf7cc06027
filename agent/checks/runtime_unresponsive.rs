use std::time::Duration;

use super::{cni, runtime, unit};
use crate::config::Config;
use crate::facts::runtime::{Answer, Condition, Process, Reply, Runtime};
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "runtime-unresponsive",
    title: "the container runtime does not answer, or says that it is not ready",
    severity: Severity::Critical,
    domain: Domain::Runtime,
    // So long a runtime may be busy, restarted, or about to load its network.
    settle: Duration::from_secs(10),
    explained_by: EXPLAINED_BY,
    signals: &[],
    article: include_str!("runtime_unresponsive.md"),
    examine,
};

const EXPLAINED_BY: &[&Check] = units_that_do_not_run![
    super::runtime_config_invalid::CHECK,
    super::cni_config_missing::CHECK,
    super::cni_config_invalid::CHECK,
    super::cni_plugin_missing::CHECK,
    super::filesystem_read_only::CHECK,
];

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(runtime) = runtime::judged(facts)? else { return Ok(Vec::new()) };
    let Some(socket) = runtime.socket() else { return Ok(Vec::new()) };
    let name = runtime.kind.name();
    let silent = |summary: String, saw: String| Finding::new(Component::Runtime, socket, summary).evidence(socket, saw);
    Ok(match &runtime.reply {
        Reply::NotAsked | Reply::NoSocket | Reply::NotASocket | Reply::Unseen(_) => Vec::new(),
        // Another check's: it serves no CRI.
        Reply::Failed { code, .. } if code == "Unimplemented" => Vec::new(),
        Reply::Refused => {
            let finding = silent(format!("{name} is not there: nobody listens on {socket}"), "the connection is refused".to_owned());
            vec![restart(facts, config, finding)]
        }
        Reply::NoAnswer { call, seconds, process } => vec![hung(facts, config, runtime, silent, (call, *seconds, process.as_ref()))],
        Reply::Failed { call, code, message } => {
            let finding = silent(format!("{name} answers {call} with an error: the kubelet takes it for down"), format!("{call}: {code}: {message}"));
            vec![restart(facts, config, finding)]
        }
        Reply::Answered(answer) => {
            let unready = answer.conditions.iter().filter(|condition| !condition.status);
            unready.filter_map(|condition| not_ready(facts, config, runtime, answer, condition)).collect()
        }
    })
}

fn hung(
    facts: &Facts,
    config: &Config,
    runtime: &Runtime,
    silent: impl Fn(String, String) -> Finding,
    (call, seconds, process): (&str, u64, Option<&Process>),
) -> Finding {
    let name = runtime.kind.name();
    let saw = format!("{call} had no answer in {seconds} s");
    let Some(process) = process.filter(|process| matches!(process.state, 'T' | 't' | 'D')) else {
        return restart(facts, config, silent(format!("{name} hangs: it takes connections and does not answer"), saw));
    };
    let (pid, state) = (process.pid, process.state);
    let source = format!("/proc/{pid}/stat");
    if state == 'D' {
        let finding = silent(format!("{name} hangs: process {pid} waits for a disk"), saw).evidence(source, "state D: it waits inside the kernel");
        return finding.remedy(format!("cat /proc/{pid}/stack; dmesg -T | tail -n 30  # which device or mount")).remedy(runtime::look_at(facts, config));
    }
    let finding = silent(format!("{name} was stopped by a signal: process {pid} takes connections and does not answer"), saw);
    finding.evidence(source, format!("state {state}: stopped (SIGSTOP) or traced")).remedy(format!("kill -CONT {pid}"))
}

fn restart(facts: &Facts, config: &Config, finding: Finding) -> Finding {
    let unit = unit::runtime(facts, config);
    finding.remedy(runtime::look_at(facts, config)).remedy(format!("systemctl restart {unit}  # containers keep running"))
}

/// The two conditions the kubelet looks at; containerd has further ones of its own.
fn not_ready(facts: &Facts, config: &Config, runtime: &Runtime, answer: &Answer, condition: &Condition) -> Option<Finding> {
    let name = runtime.kind.name();
    let said = format!("{} = false, {}: {}", condition.kind, condition.reason, condition.message);
    let (component, summary) = match condition.kind.as_str() {
        "RuntimeReady" => (Component::Runtime, format!("{name} says that it is not ready: the node is NotReady")),
        "NetworkReady" => (Component::Network, format!("{name} says that the pod network is not ready: the node is NotReady")),
        _ => return None,
    };
    let mut finding = Finding::new(component, condition.kind.clone(), summary).evidence(format!("{name}'s Status"), said);
    if component == Component::Runtime {
        return Some(restart(facts, config, finding));
    }
    if let Some(loaded) = &answer.cni {
        finding = loaded.error.iter().fold(finding, |finding, error| finding.evidence("lastCNILoadStatus", error.clone()));
    }
    let known = facts.cni.known();
    // What lies there would load: containerd reads the directory when a file in it is written. It passes over one that is moved in
    // (seen with 1.7.24: "ignore event from cni conf dir: CREATE"), and loses a directory that is removed and made again.
    if let Some((file, _)) = known.and_then(|cni| cni.in_effect()) {
        let cni = known?;
        let unit = unit::runtime(facts, config);
        let finding = finding.evidence(cni.path_of(file), format!("would be loaded: {name} does not see it"));
        return Some(finding.remedy(format!("systemctl restart {unit}  # it reads the directory anew; containers keep running")));
    }
    Some(match known {
        Some(cni) => finding.remedy(cni::look_at_its_pod(facts, cni, None)),
        None => finding.remedy(runtime::look_at(facts, config)),
    })
}
