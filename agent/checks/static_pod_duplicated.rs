use std::time::Duration;

use super::kubelet::{component_of, quote};
use crate::config::Config;
use crate::facts::kubelet::{FileState, Manifest};
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "static-pod-duplicated",
    title: "two manifests describe one static pod",
    severity: Severity::Warning,
    domain: Domain::Kubelet,
    settle: Duration::from_secs(5),
    explained_by: &[],
    signals: &[],
    article: include_str!("static_pod_duplicated.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let manifests: Vec<&Manifest> = facts.kubelet.ok()?.surroundings.manifests.iter().filter(|manifest| manifest.state == FileState::Valid).collect();
    let found = manifests.iter().enumerate().filter_map(|(index, last)| {
        let pod = last.pod.as_ref()?;
        let same = |manifest: &&&Manifest| manifest.pod.as_ref() == Some(pod);
        // The kubelet keeps them by the pod's name, so that the last one that it reads counts (`cache.UndeltaStore`).
        let others: Vec<&&Manifest> = manifests.iter().take(index).filter(same).collect();
        let is_last = !manifests.iter().skip(index + 1).any(|manifest| same(&manifest));
        (is_last && !others.is_empty()).then(|| finding(pod, last, &others))
    });
    Ok(found.collect())
}

fn finding(pod: &str, last: &Manifest, others: &[&&Manifest]) -> Finding {
    let dir = last.path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let summary = format!("{} manifests in {dir} describe the static pod {pod}: {} is in effect, whatever the others say", others.len() + 1, last.path);
    let finding = Finding::new(component_of(last), last.path.clone(), summary).evidence(last.path.clone(), "is read last, and so in effect");
    let finding = others.iter().fold(finding, |finding, other| finding.evidence(other.path.clone(), format!("describes {pod}, too")));
    let all: Vec<&Manifest> = others.iter().map(|other| **other).chain([last]).collect();
    let backups: Vec<&&Manifest> = all.iter().filter(|manifest| is_backup(&manifest.path)).collect();
    if backups.is_empty() || backups.len() == all.len() {
        let paths: Vec<String> = all.iter().map(|manifest| quote(&manifest.path)).collect();
        return finding.remedy(format!("diff {}  # keep one, and move the other out of {dir}", paths.join(" ")));
    }
    // Out of the directory, but not away.
    let outside = dir.rsplit_once('/').map_or("/root", |(above, _)| above);
    backups.into_iter().fold(finding, |finding, backup| finding.remedy(format!("mv -n {} {}/", quote(&backup.path), quote(outside))))
}

/// By its name no manifest: `kube-apiserver.yaml.bak`, `kube-apiserver.yaml~`, `kube-apiserver-old.yaml`.
fn is_backup(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default().to_lowercase();
    let manifest = [".yaml", ".yml", ".json", ".manifest"].iter().any(|ending| name.ends_with(ending));
    !manifest || ["bak", "backup", "old", "orig", "copy", "save"].iter().any(|word| name.contains(word))
}
