//! How the kubelet is configured: its flags, its configuration files, its kubeconfig.

pub(super) mod command_line;
mod quantity;
mod schema;
mod settings;
mod surroundings;
mod validate;

use super::host::{Host, ReadError};
use super::kubeconfig::{self, state_of};
use super::yaml::{self, Node, Tree};
use crate::facts::kubelet::{Fault, File, FileState, IgnoredField};
use crate::facts::{Kubelet, Observed, Sourced, Units};
use settings::Settings;

const LIMIT: u64 = 4 << 20;
/// More drop-ins than anybody writes.
const MOST_DROP_INS: usize = 100;

/// Reads the configuration that is in effect, or would be if the kubelet started now.
#[must_use]
pub fn observe(host: &Host, units: &Observed<Units>) -> Kubelet {
    let command_line::CommandLine { flags, other_flags, source } = command_line::observe(host, units);
    let flag = |name: &str| flags.get(name).filter(|flag| !flag.value.is_empty()).cloned();
    let mut files = Files::default();
    let config = flag("config").map(|path| files.read(host, path));
    let config_dir = flag("config-dir");
    let drop_ins = config_dir.iter().flat_map(|dir| drop_ins(host, dir)).map(|path| files.read(host, path)).collect();
    let mut found = settings::kubelet(&Settings { flags: &flags, config: files.merged.as_ref() }, source);
    found.config = config;
    found.config_dir = config_dir.map(|path| File { state: directory(host, &path.value), path });
    found.drop_ins = drop_ins;
    found.ignored_fields = files.ignored;
    if let Some(merged) = &files.merged {
        refuse(&mut found, validate::check(merged));
    }
    found.client_ca_file = found.client_ca_file.map(|file| File { state: ca_state(host, &file.path.value), ..file });
    found.kubeconfig = flag("kubeconfig").map(|path| kubeconfig::observe(host, path));
    found.bootstrap_kubeconfig = flag("bootstrap-kubeconfig").map(|path| kubeconfig::observe(host, path).file);
    found.flags = flags;
    found.other_flags = other_flags;
    found.surroundings = surroundings::observe(host, &found);
    found
}

/// The configuration files as they are read one after the other.
#[derive(Default)]
struct Files {
    merged: Option<Node>,
    ignored: Vec<IgnoredField>,
}

impl Files {
    /// Reads a file and lays it over those before, as `mergeKubeletConfigurations` of `cmd/kubelet/app/server.go` does.
    fn read(&mut self, host: &Host, path: Sourced<String>) -> File {
        let state = match parse(host, &path.value) {
            Err(state) => state,
            Ok(node) => {
                let shape = schema::check(&node);
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

/// Puts each refusal into the file whose value it is about.
fn refuse(found: &mut Kubelet, refusals: Vec<validate::Refusal>) {
    for (at, message) in refusals {
        let fault = at.fault(message);
        let Some(file) = found.config.iter_mut().chain(&mut found.drop_ins).find(|file| file.path.value == *at.file) else { continue };
        match &mut file.state {
            FileState::Invalid(faults) => faults.push(fault),
            state => *state = FileState::Invalid(vec![fault]),
        }
    }
    for file in found.config.iter_mut().chain(&mut found.drop_ins) {
        if let FileState::Invalid(faults) = &mut file.state {
            faults.sort_by_key(|fault| (fault.line, fault.column));
        }
    }
}
