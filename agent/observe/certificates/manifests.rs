//! Which certificates the control plane's static pods are started with.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::observe::host::Host;
use crate::observe::kubelet::yaml;

const LIMIT: u64 = 1 << 20;
/// Manifests looked at; a control-plane node has four.
const MOST: usize = 64;

/// A program of the control plane that runs as a static pod.
#[derive(Debug)]
pub(super) struct Program {
    /// `kube-apiserver`, `etcd`…: the base name of what is started.
    pub name: String,
    /// The manifest's path.
    pub manifest: String,
    flags: BTreeMap<String, String>,
    /// Where the container's directories lie on the node: mount path, host path.
    mounts: Vec<(String, String)>,
}

impl Program {
    /// The file that a flag names, as the node names it.
    pub fn file(&self, flag: &str) -> Option<String> {
        let path = self.flags.get(flag).filter(|path| path.starts_with('/'))?;
        let inside = self.mounts.iter().filter_map(|(mount, host)| {
            let rest = path.strip_prefix(mount.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (mount.len(), format!("{host}{rest}")))
        });
        Some(inside.max_by_key(|(length, _)| *length).map_or_else(|| path.clone(), |(_, path)| path))
    }
}

/// The programs of the manifests in `dir`. A manifest that cannot be read or parsed names none.
pub(super) fn programs(host: &Host, dir: &str) -> Vec<Program> {
    let names = host.list(dir).ok().flatten().unwrap_or_default();
    names
        .into_iter()
        // The kubelet passes over files whose names begin with a dot (pkg/kubelet/config/file.go).
        .filter(|name| !name.starts_with('.'))
        .take(MOST)
        .filter_map(|name| {
            let manifest = format!("{dir}/{name}");
            let pod = yaml(&host.read_text(&manifest, LIMIT).ok()?).ok()?;
            Some(containers(&pod, &manifest))
        })
        .flatten()
        .collect()
}

fn containers(pod: &Value, manifest: &str) -> Vec<Program> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let Some(spec) = pod.get("spec") else { return Vec::new() };
    let volumes: BTreeMap<String, String> = list(spec, "volumes")
        .iter()
        .filter_map(|volume| Some((text(volume, "name")?, text(volume.get("hostPath")?, "path")?.trim_end_matches('/').to_owned())))
        .collect();
    list(spec, "containers")
        .iter()
        .filter_map(|container| {
            let words: Vec<String> =
                ["command", "args"].into_iter().flat_map(|key| list(container, key)).filter_map(|word| word.as_str().map(str::to_owned)).collect();
            let name = words.first()?.rsplit('/').next()?.to_owned();
            let mounts = list(container, "volumeMounts");
            Some(Program {
                name,
                manifest: manifest.to_owned(),
                flags: flags(&words),
                mounts: mounts
                    .iter()
                    .filter_map(|mount| Some((text(mount, "mountPath")?.trim_end_matches('/').to_owned(), volumes.get(&text(mount, "name")?)?.clone())))
                    .collect(),
            })
        })
        .collect()
}

/// `--name=value` and `--name value`.
fn flags(words: &[String]) -> BTreeMap<String, String> {
    let mut flags = BTreeMap::new();
    let mut words = words.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else { continue };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (flag, words.next_if(|next| !next.starts_with("--")).cloned().unwrap_or_default()),
        };
        flags.insert(name.to_owned(), value);
    }
    flags
}
