//! The programs of the control plane on this node, as static pods or as units, and which files they are started with.

use std::collections::BTreeMap;

use crate::facts::units::Unit;
use crate::facts::{Sourced, Units};
use crate::observe::host::Host;
use crate::observe::kubelet::command_line::{exec_start, variables};
use crate::observe::yaml::{self, Node};

const LIMIT: u64 = 1 << 20;
/// Manifests looked at; a control-plane node has four.
const MOST: usize = 64;
/// What may run as a unit instead.
const NATIVE: [&str; 4] = ["kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler"];

/// A program of the control plane.
#[derive(Debug)]
pub(super) struct Program {
    /// `kube-apiserver`, `etcd`…: the base name of what is started.
    pub name: String,
    /// Each with where it is set: a manifest's path, `etcd.service ExecStart`, `/etc/default/etcd:3`.
    flags: BTreeMap<String, Sourced<String>>,
    /// Where the container's directories lie on the node: mount path, host path.
    mounts: Vec<(String, String)>,
}

impl Program {
    /// A flag's value, if it has one.
    pub fn flag(&self, flag: &str) -> Option<&Sourced<String>> {
        self.flags.get(flag).filter(|value| !value.value.is_empty())
    }

    /// The file that a flag names, as the node names it, and which flag of which file that is.
    pub fn file(&self, flag: &str) -> Option<Sourced<String>> {
        let given = self.flag(flag).filter(|path| path.value.starts_with('/'))?;
        let path = &given.value;
        let inside = self.mounts.iter().filter_map(|(mount, host)| {
            let rest = path.strip_prefix(mount.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (mount.len(), format!("{host}{rest}")))
        });
        let path = inside.max_by_key(|(length, _)| *length).map_or_else(|| path.clone(), |(_, path)| path);
        Some(Sourced::new(path, format!("{} --{flag}", given.source)))
    }
}

/// The programs of the manifests in `dir`, then those of units. A manifest that cannot be read or parsed names none.
pub(super) fn programs(host: &Host, dir: &str, units: Option<&Units>) -> Vec<Program> {
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
        .chain(NATIVE.iter().filter_map(|name| native(host, units?, name)))
        .collect()
}

/// A unit that runs, or would at the next boot.
fn native(host: &Host, units: &Units, name: &str) -> Option<Program> {
    let counts = |unit: &&Unit| {
        let runs = unit.active.as_ref().is_some_and(|active| !matches!(active.state.as_str(), "inactive" | ""));
        unit.is_installed() && !unit.is_masked() && (runs || unit.starts_at_boot())
    };
    let unit = units.get(&format!("{name}.service")).filter(counts)?;
    let mut flags = flags(&exec_start(host, unit, units.source));
    if name == "etcd" {
        // ETCD_CERT_FILE is --cert-file; the flag wins (etcd `pkg/flags` `SetFlagsFromEnv`).
        for (name, value) in variables(host, unit, units.source) {
            let Some(name) = name.strip_prefix("ETCD_") else { continue };
            flags.entry(name.to_lowercase().replace('_', "-")).or_insert(value);
        }
    }
    Some(Program { name: name.to_owned(), flags, mounts: Vec::new() })
}

fn containers(pod: &Node, manifest: &str) -> Vec<Program> {
    let list = |path: &[&str]| pod.find(path).map_or(&[][..], Node::items);
    let text = |node: &Node, path: &[&str]| node.find(path).and_then(Node::text).map(|text| text.trim_end_matches('/').to_owned());
    let volumes: BTreeMap<String, String> =
        list(&["spec", "volumes"]).iter().filter_map(|volume| Some((text(volume, &["name"])?, text(volume, &["hostPath", "path"])?))).collect();
    let containers = list(&["spec", "containers"]).iter().filter_map(|container| {
        let inside = |key: &str| container.find(&[key]).map_or(&[][..], Node::items);
        let words = inside("command").iter().chain(inside("args")).filter_map(Node::text);
        let words: Vec<_> = words.map(|word| Sourced::new(word.to_owned(), manifest)).collect();
        let mounts = inside("volumeMounts").iter();
        Some(Program {
            name: words.first()?.value.rsplit('/').next()?.to_owned(),
            flags: flags(&words),
            mounts: mounts.filter_map(|mount| Some((text(mount, &["mountPath"])?, volumes.get(&text(mount, &["name"])?)?.clone()))).collect(),
        })
    });
    containers.collect()
}

/// `--name=value` and `--name value`; etcd (Go's `flag`) takes one dash as well.
fn flags(words: &[Sourced<String>]) -> BTreeMap<String, Sourced<String>> {
    let mut flags = BTreeMap::new();
    let mut words = words.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.value.strip_prefix("--").or_else(|| word.value.strip_prefix('-')) else { continue };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (flag, words.next_if(|next| !next.value.starts_with('-')).map_or_else(String::new, |value| value.value.clone())),
        };
        flags.insert(name.to_owned(), Sourced::new(value, word.source.clone()));
    }
    flags
}
