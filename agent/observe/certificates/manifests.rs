//! Which certificates the control plane's static pods are started with.

use std::collections::BTreeMap;

use crate::observe::host::Host;
use crate::observe::yaml::{self, Node};

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
    pub fn flag(&self, flag: &str) -> Option<&str> {
        self.flags.get(flag).map(String::as_str).filter(|value| !value.is_empty())
    }

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
            let pod = yaml::parse(&host.read(&manifest, LIMIT).ok()?, &manifest).ok()??;
            Some(containers(&pod, &manifest))
        })
        .flatten()
        .collect()
}

fn containers(pod: &Node, manifest: &str) -> Vec<Program> {
    let list = |path: &[&str]| pod.find(path).map_or(&[][..], Node::items);
    let text = |node: &Node, path: &[&str]| node.find(path).and_then(Node::text).map(|text| text.trim_end_matches('/').to_owned());
    let volumes: BTreeMap<String, String> =
        list(&["spec", "volumes"]).iter().filter_map(|volume| Some((text(volume, &["name"])?, text(volume, &["hostPath", "path"])?))).collect();
    let containers = list(&["spec", "containers"]).iter().filter_map(|container| {
        let inside = |key: &str| container.find(&[key]).map_or(&[][..], Node::items);
        let words: Vec<&str> = inside("command").iter().chain(inside("args")).filter_map(Node::text).collect();
        let mounts = inside("volumeMounts").iter();
        Some(Program {
            name: words.first()?.rsplit('/').next()?.to_owned(),
            manifest: manifest.to_owned(),
            flags: flags(&words),
            mounts: mounts.filter_map(|mount| Some((text(mount, &["mountPath"])?, volumes.get(&text(mount, &["name"])?)?.clone()))).collect(),
        })
    });
    containers.collect()
}

/// `--name=value` and `--name value`.
fn flags(words: &[&str]) -> BTreeMap<String, String> {
    let mut flags = BTreeMap::new();
    let mut words = words.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else { continue };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (flag, words.next_if(|next| !next.starts_with("--")).map_or_else(String::new, |value| (*value).to_owned())),
        };
        flags.insert(name.to_owned(), value);
    }
    flags
}
