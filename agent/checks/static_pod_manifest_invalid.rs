use std::time::Duration;

use super::kubelet::{component_of, faults, quote};
use super::log;
use crate::config::Config;
use crate::facts::kubelet::{Fault, FileState, Manifest};
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "static-pod-manifest-invalid",
    title: "the kubelet refuses the manifest of a static pod, or the manifest names files that are not there",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    // An editor writes in place, and the kubelet reads again every 20 s.
    settle: Duration::from_secs(5),
    explained_by: &[],
    signals: &[Signal { from: LogSource::Unit("kubelet.service"), pattern: "Could not process manifest file" }],
    article: include_str!("static_pod_manifest_invalid.md"),
    examine,
};

/// The kubelet reads all of them again every 20 s (`fileCheckFrequency`), and says so each time.
const REPEATS_SECONDS: i64 = 60;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let manifests = &facts.kubelet.ok()?.surroundings.manifests;
    Ok(manifests.iter().filter_map(|manifest| refused(manifest).or_else(|| incomplete(manifest)).or_else(|| told_by_the_kubelet(facts, manifest))).collect())
}

fn refused(manifest: &Manifest) -> Option<Finding> {
    let FileState::Invalid(found) = &manifest.state else { return None };
    let first = found.first()?;
    let line = first.line.map_or_else(String::new, |line| format!(" at line {line}"));
    let finding = new(manifest, format!("the kubelet refuses the manifest {}{line}, so it stops this static pod and does not start it again", manifest.path));
    Some(faults(finding, &manifest.path, found).remedy(edit(manifest, first)))
}

fn incomplete(manifest: &Manifest) -> Option<Finding> {
    let first = manifest.missing.first()?;
    let more = if manifest.missing.len() > 1 { format!(" (and {} more)", manifest.missing.len() - 1) } else { String::new() };
    let finding = new(manifest, format!("the static pod of {} cannot run: {}{more}", manifest.path, first.message));
    Some(faults(finding, &manifest.path, &manifest.missing).remedy(edit(manifest, first)))
}

/// What the kubelet says of it, and no rule here does.
fn told_by_the_kubelet(facts: &Facts, manifest: &Manifest) -> Option<Finding> {
    let seen = facts.journal.known()?.signals.get(CHECK.code)?;
    let quoted = format!("path=\"{}\"", manifest.path);
    let line = seen.samples.iter().rev().find(|line| line.message.contains(&quoted)).filter(|line| log::age(facts, line.time) <= REPEATS_SECONDS)?;
    let finding = new(manifest, format!("the kubelet refuses the manifest {}, so it does not start this static pod", manifest.path));
    Some(log::evidence(finding, line).remedy(edit(manifest, &Fault::new(""))))
}

fn new(manifest: &Manifest, summary: String) -> Finding {
    Finding::new(component_of(manifest), manifest.path.clone(), summary)
}

/// No restart: the kubelet watches the directory.
fn edit(manifest: &Manifest, fault: &Fault) -> String {
    let line = fault.line.map_or_else(String::new, |line| format!("+{line} "));
    format!("vi {line}{}  # the kubelet reads it again within 20 s", quote(&manifest.path))
}
