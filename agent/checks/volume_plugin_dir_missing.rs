use std::time::Duration;

use super::kubelet::{edit, quote};
use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "volume-plugin-dir-missing",
    title: "the directory of FlexVolume drivers does not exist",
    severity: Severity::Info,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("volume_plugin_dir_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    let (Some(dir), Some(FileState::Missing)) = (kubelet.setting("volumePluginDir"), &kubelet.surroundings.volume_plugins) else { return Ok(Vec::new()) };
    // The kubelet makes it when it starts; only where it runs, it could not.
    let runs = facts.units.known().and_then(|units| units.get("kubelet.service")?.active.as_ref()).is_some_and(|active| active.state == "active");
    if !runs {
        return Ok(Vec::new());
    }
    let path = &dir.value;
    Ok(vec![
        Finding::new(Component::Kubelet, path.clone(), format!("volumePluginDir {path} does not exist, and the kubelet could not make it"))
            .evidence(dir.source.clone(), format!("names {path}"))
            .evidence(path.clone(), "no such directory")
            .remedy(format!("mkdir -p {}  # on a read-only file system, name another directory:", quote(path)))
            .remedy(edit(dir)),
    ])
}
