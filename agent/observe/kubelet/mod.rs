//! How the kubelet is configured: its flags, its configuration files, its kubeconfig.

pub(super) mod command_line;
mod flags;
mod program;
mod quantity;
mod schema;
mod settings;
mod static_pods;
mod surroundings;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::host::{Host, ReadError};
use super::kubeconfig::{self, state_of};
use super::yaml::{self, At, Node, Tree};
use crate::facts::kubelet::{Fault, File, FileState, IgnoredField, Manifest, OddFlag, Oddity};
use crate::facts::{Kubelet, Observed, Sourced, Units};
use command_line::CommandLine;
use settings::Settings;

const LIMIT: u64 = 4 << 20;
/// More drop-ins than anybody writes.
const MOST_DROP_INS: usize = 100;

/// Reads the configuration that is in effect, or would be if the kubelet started now.
#[must_use]
pub fn observe(host: &Host, units: &Observed<Units>) -> Kubelet {
    let command_line = command_line::observe(host, units);
    let version = program::version(host, &command_line);
    let release = Kubelet::release_of(version.as_ref());
    let flag = |name: &str| command_line.flags.get(name).filter(|flag| !flag.value.is_empty()).cloned();
    let mut files = Files { release, ..Files::default() };
    let config = flag("config").map(|path| files.read(host, path));
    let config_dir = flag("config-dir");
    let drop_ins = config_dir.iter().flat_map(|dir| drop_ins(host, dir)).map(|path| files.read(host, path)).collect();
    // Of a file that cannot be read, nothing can be said of what is set beside it.
    let whole = config.is_none() || files.merged.is_some();
    let mut effective = files.merged.unwrap_or_else(nothing);
    overlay(&mut effective, &command_line.flags);
    let mut refusals = validate::check(&effective, release);
    refusals.extend(unknown_gates(host, &command_line, &effective));
    let settings = Settings { flags: &command_line.flags, config: &effective, file: config.as_ref().map(|file| file.path.value.as_str()) };
    let mut found = settings::kubelet(&settings, command_line.source.clone());
    found.version = version;
    found.config = config;
    found.config_dir = config_dir.map(|path| File { state: directory(host, &path.value), path });
    found.drop_ins = drop_ins;
    found.ignored_fields = files.ignored;
    found.odd_flags = command_line.odd_flags.into_iter().map(|(odd, _)| odd).collect();
    found.client_ca_file = found.client_ca_file.map(|file| File { state: ca_state(host, &file.path.value), ..file });
    found.kubeconfig = flag("kubeconfig").map(|path| kubeconfig::observe(host, path));
    found.bootstrap_kubeconfig = flag("bootstrap-kubeconfig").map(|path| kubeconfig::observe(host, path).file);
    found.flags = command_line.flags;
    found.other_flags = command_line.other_flags;
    found.surroundings = surroundings::observe(host, &found);
    found.surroundings.manifests = manifests(host, &found);
    if whole {
        refuse(&mut found, refusals);
    }
    found
}

/// A gate that it does not know stops the kubelet (`featuregate.SetFromMap`: unrecognized feature gate).
fn unknown_gates(host: &Host, command_line: &CommandLine, config: &Node) -> Vec<validate::Refusal> {
    let set = config.find(&["featureGates"]).map(Node::entries).unwrap_or_default();
    let names: Vec<String> = set.iter().map(|(key, _)| key.name.clone()).collect();
    let (path, unknown) = program::unknown_gates(host, command_line, &names);
    let set = set.iter().filter(|(key, _)| unknown.contains(&key.name));
    set.map(|(key, _)| (key.at.clone(), format!("featureGates has {}, which {path} does not know: it is misspelt, newer, or gone", key.name))).collect()
}

/// The manifests of static pods; none where the kubelet looks for none.
fn manifests(host: &Host, kubelet: &Kubelet) -> Vec<Manifest> {
    let references = kubelet.setting("featureGates.PreventStaticPodAPIReferences").map(|gate| gate.value == "true");
    kubelet.static_pod_path.as_ref().map(|path| static_pods::observe(host, &path.value, kubelet.release(), references)).unwrap_or_default()
}

/// A configuration in which nothing is set.
fn nothing() -> Node {
    Node { tree: Tree::Map(Vec::new()), at: At { file: Arc::from(""), line: 0, column: 0 } }
}

/// Flags override the files (`kubeletConfigFlagPrecedence` of `cmd/kubelet/app/server.go`); feature gates are laid over them.
fn overlay(config: &mut Node, flags: &BTreeMap<String, Sourced<String>>) {
    for (name, value) in flags {
        let Some(flag) = flags::find(name).filter(|flag| !flag.field.is_empty()) else { continue };
        let at = At { file: Arc::from(value.source.as_str()), line: 0, column: 0 };
        let Some(node) = flag.node(&value.value, &at) else { continue };
        let path: Vec<&str> = flag.field.split('.').collect();
        match config.find(&path).cloned().filter(|_| name == "feature-gates") {
            Some(mut gates) => {
                gates.merge(&node);
                config.set(&path, gates);
            }
            None => config.set(&path, node),
        }
    }
}

/// The configuration files as they are read one after the other.
#[derive(Default)]
struct Files {
    merged: Option<Node>,
    ignored: Vec<IgnoredField>,
    release: Option<u32>,
}

impl Files {
    /// Reads a file and lays it over those before, as `mergeKubeletConfigurations` of `cmd/kubelet/app/server.go` does.
    fn read(&mut self, host: &Host, path: Sourced<String>) -> File {
        let state = match parse(host, &path.value) {
            Err(state) => state,
            Ok(node) => {
                let shape = schema::check(&node, self.release);
                self.ignored.extend(shape.ignored);
                match &mut self.merged {
                    Some(merged) => merged.merge(&node),
                    None => self.merged = Some(node),
                }
                if shape.faults.is_empty() { FileState::Valid } else { FileState::Invalid(shape.faults) }
            }
        };
        File { path, state }
    }
}

/// The refusals of `pkg/kubelet/kubeletconfig`: empty, no YAML, another kind.
fn parse(host: &Host, path: &str) -> Result<Node, FileState> {
    let invalid = |fault: Fault| FileState::Invalid(vec![fault]);
    let bytes = host.read(path, LIMIT).map_err(state_of)?;
    let node = yaml::parse(&bytes, path).map_err(invalid)?.ok_or_else(|| invalid(Fault::new("the file is empty")))?;
    if !matches!(node.tree, Tree::Map(_)) {
        return Err(invalid(node.at.fault(format!("{node}, where a KubeletConfiguration is expected"))));
    }
    for (key, expected) in [("apiVersion", "kubelet.config.k8s.io/v1beta1"), ("kind", "KubeletConfiguration")] {
        match node.find(&[key]) {
            Some(found) if found.text() == Some(expected) => {}
            Some(found) => return Err(invalid(found.at.fault(format!("{key} is {found}, where {expected} is expected")))),
            None => return Err(invalid(node.at.fault(format!("{key} is not set, where {expected} is expected")))),
        }
    }
    Ok(node)
}

/// The `*.conf` files below a directory, in the lexical order in which Go's `filepath.WalkDir` meets them.
fn drop_ins(host: &Host, dir: &Sourced<String>) -> Vec<Sourced<String>> {
    let mut found = Vec::new();
    walk(host, &dir.value, 0, &mut found);
    found.truncate(MOST_DROP_INS);
    found.into_iter().map(|path| Sourced::new(path, dir.source.clone())).collect()
}

fn walk(host: &Host, dir: &str, depth: usize, found: &mut Vec<String>) {
    // WalkDir follows no links: only what is a directory itself is gone into.
    for name in host.list(dir).ok().flatten().unwrap_or_default() {
        let path = format!("{}/{name}", dir.trim_end_matches('/'));
        let is_directory = host.link(&path).is_none() && matches!(host.read(&path, 0), Err(ReadError::NotRegular("a directory")));
        if is_directory {
            if depth < 8 && found.len() < MOST_DROP_INS {
                walk(host, &path, depth + 1, found);
            }
        } else if name.rsplit_once('.').is_some_and(|(_, extension)| extension == "conf") {
            found.push(path);
        }
    }
}

fn directory(host: &Host, path: &str) -> FileState {
    match host.list(path) {
        Ok(Some(_)) => FileState::Valid,
        Ok(None) => FileState::Missing,
        Err(blind) => FileState::Unreadable(blind),
    }
}

fn ca_state(host: &Host, path: &str) -> FileState {
    match host.read(path, LIMIT) {
        Err(error) => state_of(error),
        Ok(bytes) => match super::certificates::parse(&bytes) {
            Ok(_) => FileState::Valid,
            Err(message) => FileState::Invalid(vec![Fault::new(message)]),
        },
    }
}

/// Puts each refusal to the file or the flag whose value it is about.
fn refuse(found: &mut Kubelet, refusals: Vec<validate::Refusal>) {
    let live = found.command_line_source.starts_with("/proc/");
    for (at, message) in refusals {
        let file = found.config.iter_mut().chain(&mut found.drop_ins).find(|file| file.path.value == *at.file);
        match file.map(|file| &mut file.state) {
            Some(FileState::Invalid(faults)) => faults.push(at.fault(message)),
            Some(state) => *state = FileState::Invalid(vec![at.fault(message)]),
            None => {
                let Some((_, name)) = at.file.rsplit_once(" --") else { continue };
                let odd = OddFlag { name: name.to_owned(), source: at.file.to_string(), oddity: Oddity::Refused(message), live };
                found.odd_flags.push(odd);
            }
        }
    }
    for file in found.config.iter_mut().chain(&mut found.drop_ins) {
        if let FileState::Invalid(faults) = &mut file.state {
            faults.sort_by_key(|fault| (fault.line, fault.column));
        }
    }
}
