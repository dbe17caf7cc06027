//! The manifests of static pods, as the kubelet takes them: which it refuses, and what the others need that is not there.
//!
//! From `pkg/kubelet/config/file.go` and `common.go` (which files are read, and how), `pkg/apis/core/validation/validation.go` (of a pod,
//! what a hand that edits a manifest gets wrong) and `pkg/api/pod/util.go` (`HasAPIObjectReference`). Fields that no pod has are passed over.

use std::collections::BTreeMap;

use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use super::directory;
use super::schema::{self, CONTAINERS, POD};
use crate::facts::kubelet::{Fault, FileState, Manifest};
use crate::observe::host::{Host, ReadError};
use crate::observe::kubeconfig::state_of;
use crate::observe::yaml::{self, Node, Tree};

const LIMIT: u64 = 1 << 20;
/// Of static pods on one node.
const MOST: usize = 50;
/// Faults of one manifest that are kept.
const MOST_FAULTS: usize = 20;
/// What a pod's name ends in, where one is meant; a README lies in such directories, too, and does no harm.
const MEANT: [&str; 4] = [".yaml", ".yml", ".json", ".manifest"];
/// The first release that refuses manifests which name objects of the API (feature gate PreventStaticPodAPIReferences).
const NO_REFERENCES: u32 = 34;

/// Reads every manifest in `path`, a directory or a single file.
pub(super) fn observe(host: &Host, path: &str, release: Option<u32>, references: Option<bool>) -> Vec<Manifest> {
    let refuses_references = references.unwrap_or_else(|| release.is_some_and(|release| release >= NO_REFERENCES));
    let read = |path: String| manifest(host, path, refuses_references);
    if directory(host, path) == FileState::Missing {
        return read(path.to_owned()).into_iter().filter(|manifest| manifest.state != FileState::Missing).collect();
    }
    let names = host.list(path).ok().flatten().unwrap_or_default();
    // `filepath.Glob("[^.]*")`.
    let names = names.iter().filter(|name| !name.starts_with('.')).take(MOST);
    names.filter_map(|name| read(format!("{}/{name}", path.trim_end_matches('/')))).collect()
}

/// `None`: the kubelet does not read it, or it was never meant to be one.
fn manifest(host: &Host, path: String, refuses_references: bool) -> Option<Manifest> {
    let meant = MEANT.iter().any(|ending| path.ends_with(ending));
    let invalid =
        |faults: Vec<Fault>, pod: Option<String>| meant.then(|| Manifest { path: path.clone(), state: FileState::Invalid(faults), pod, missing: Vec::new() });
    let bytes = match host.read(&path, LIMIT) {
        Ok(bytes) => bytes,
        // It goes into no directory, and reads no device.
        Err(ReadError::NotRegular(_)) => return None,
        Err(ReadError::Missing) if host.link(&path).is_some() => return invalid(vec![Fault::new("a symlink that leads nowhere")], None),
        Err(error) => {
            let state = state_of(error);
            return Some(Manifest { path, state, pod: None, missing: Vec::new() }).filter(|_| meant);
        }
    };
    let node = match yaml::parse(&bytes, &path) {
        Ok(Some(node)) => node,
        Ok(None) => return invalid(vec![Fault::new("the file is empty")], None),
        Err(fault) => return invalid(vec![fault], None),
    };
    let mut faults = faults(&node);
    if refuses_references && faults.is_empty() {
        faults.extend(reference(&node));
    }
    let pod = text(&node, &["metadata", "name"]).map(|name| format!("{}/{name}", text(&node, &["metadata", "namespace"]).unwrap_or("default")));
    if faults.is_empty() {
        return Some(Manifest { state: FileState::Valid, pod, missing: missing(host, &node), path });
    }
    faults.truncate(MOST_FAULTS);
    invalid(faults, pod)
}

fn text<'a>(node: &'a Node, path: &[&str]) -> Option<&'a str> {
    node.find(path).and_then(Node::text).filter(|text| !text.is_empty())
}

fn items<'a>(node: &'a Node, path: &[&str]) -> &'a [Node] {
    node.find(path).map(Node::items).unwrap_or_default()
}

/// Why the kubelet would not take it: another kind, a wrong type, a value that validation refuses.
fn faults(pod: &Node) -> Vec<Fault> {
    if !matches!(pod.tree, Tree::Map(_)) {
        return vec![pod.at.fault(format!("{pod}, where a Pod is expected"))];
    }
    for (key, expected) in [("kind", "Pod"), ("apiVersion", "v1")] {
        match pod.find(&[key]) {
            Some(found) if found.text() == Some(expected) => {}
            Some(found) => return vec![found.at.fault(format!("{key} is {found}, where {expected} is expected: the kubelet runs single pods only"))],
            None => return vec![pod.at.fault(format!("{key} is not set, where {expected} is expected"))],
        }
    }
    let types = schema::types(pod, POD);
    if !types.is_empty() {
        return types;
    }
    let mut found = Vec::new();
    metadata(pod, &mut found);
    let volumes = volumes(pod, &mut found);
    containers(pod, &volumes, &mut found);
    for (field, words) in
        [("restartPolicy", &["Always", "OnFailure", "Never"][..]), ("dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"])]
    {
        word(pod.find(&["spec", field]), &format!("spec.{field}"), words, &mut found);
    }
    found
}

fn metadata(pod: &Node, found: &mut Vec<Fault>) {
    match pod.find(&["metadata", "name"]) {
        None => found.push(pod.at.fault("metadata.name is not set")),
        Some(name) if !name.text().is_some_and(is_subdomain) => {
            found.push(name.at.fault(format!("metadata.name is {name}, where lower-case letters, digits, - and . are expected")));
        }
        Some(_) => {}
    }
    if let Some(namespace) = pod.find(&["metadata", "namespace"]).filter(|namespace| !namespace.text().is_some_and(|name| name.is_empty() || is_label(name))) {
        found.push(namespace.at.fault(format!("metadata.namespace is {namespace}, where lower-case letters, digits and - are expected")));
    }
}

/// The names of the volumes.
fn volumes<'a>(pod: &'a Node, found: &mut Vec<Fault>) -> Vec<&'a str> {
    const TYPES: [&str; 8] = ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
    let mut names = Vec::new();
    for volume in items(pod, &["spec", "volumes"]) {
        let Some(name) = named(volume, "a volume", &names, found) else { continue };
        names.push(name);
        let Some(host_path) = volume.find(&["hostPath"]) else { continue };
        match host_path.find(&["path"]) {
            Some(path) if path.text().is_some_and(|path| path.split('/').any(|part| part == "..")) => {
                found.push(path.at.fault(format!("the volume {name:?} has the hostPath {path}, which may not hold ..")));
            }
            Some(path) if path.text() != Some("") => {}
            _ => found.push(host_path.at.fault(format!("the volume {name:?} has a hostPath without a path"))),
        }
        word(host_path.find(&["type"]), &format!("the hostPath's type of the volume {name:?}"), &TYPES, found);
    }
    names
}

fn containers(pod: &Node, volumes: &[&str], found: &mut Vec<Fault>) {
    if items(pod, &["spec", "containers"]).is_empty() {
        let at = pod.find(&["spec", "containers"]).or_else(|| pod.find(&["spec"])).unwrap_or(pod);
        found.push(at.at.fault("spec.containers holds no container"));
    }
    let host_network = pod.find(&["spec", "hostNetwork"]).and_then(Node::bool) == Some(true);
    let mut names = Vec::new();
    for container in CONTAINERS.iter().flat_map(|list| items(pod, &["spec", list])) {
        let Some(name) = named(container, "a container", &names, found) else { continue };
        names.push(name);
        if text(container, &["image"]).is_none() {
            found.push(container.at.fault(format!("the container {name:?} has no image")));
        }
        word(container.find(&["imagePullPolicy"]), &format!("imagePullPolicy of the container {name:?}"), &["Always", "IfNotPresent", "Never"], found);
        mounts(container, name, volumes, found);
        ports(container, name, host_network, found);
    }
}

fn mounts(container: &Node, name: &str, volumes: &[&str], found: &mut Vec<Fault>) {
    let mut paths = Vec::new();
    for mount in items(container, &["volumeMounts"]) {
        let volume = text(mount, &["name"]).unwrap_or_default();
        if !volumes.contains(&volume) {
            let at = mount.find(&["name"]).unwrap_or(mount);
            found.push(at.at.fault(format!("the container {name:?} mounts the volume {volume:?}, which is not in spec.volumes")));
        }
        match text(mount, &["mountPath"]) {
            None => found.push(mount.at.fault(format!("the container {name:?} mounts the volume {volume:?} without a mountPath"))),
            Some(path) if paths.contains(&path) => found.push(mount.at.fault(format!("the container {name:?} mounts two volumes at {path}"))),
            Some(path) => paths.push(path),
        }
    }
}

fn ports(container: &Node, name: &str, host_network: bool, found: &mut Vec<Fault>) {
    for port in items(container, &["ports"]) {
        let number = port.find(&["containerPort"]);
        if !number.and_then(Node::int).is_some_and(|number| (1..=65_535).contains(&number)) {
            found.push(number.unwrap_or(port).at.fault(format!("the container {name:?} has a port whose containerPort is none from 1 to 65535")));
        }
        let host_port = port.find(&["hostPort"]).filter(|host| host_network && host.int() != Some(0) && host.int() != number.and_then(Node::int));
        if let Some(host_port) = host_port {
            found.push(
                host_port
                    .at
                    .fault(format!("the container {name:?} has the hostPort {host_port}, where its containerPort is expected, for hostNetwork is true")),
            );
        }
        word(port.find(&["protocol"]), &format!("a port's protocol of the container {name:?}"), &["TCP", "UDP", "SCTP"], found);
    }
}

/// The name of a volume or a container, each of which has one of its own.
fn named<'a>(node: &'a Node, what: &str, others: &[&str], found: &mut Vec<Fault>) -> Option<&'a str> {
    let Some((at, name)) = node.find(&["name"]).and_then(|name| Some((&name.at, name.text().filter(|name| !name.is_empty())?))) else {
        found.push(node.at.fault(format!("{what} has no name")));
        return None;
    };
    if !is_label(name) {
        found.push(at.fault(format!("{what} is called {name:?}, where lower-case letters, digits and - are expected")));
    } else if others.contains(&name) {
        found.push(at.fault(format!("{what} is called {name:?}, and so is another one")));
    }
    Some(name)
}

/// An empty word is the default.
fn word(node: Option<&Node>, what: &str, words: &[&str], found: &mut Vec<Fault>) {
    if let Some(node) = node.filter(|node| !node.text().is_some_and(|word| word.is_empty() || words.contains(&word))) {
        let known: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
        found.push(node.at.fault(format!("{what} is {node}, where one of {} is expected", known.join(", "))));
    }
}

/// RFC 1123, as `k8s.io/apimachinery/pkg/util/validation` has it.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_dns(text)
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns)
}

fn is_dns(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(alphanumeric) && text.ends_with(alphanumeric) && text.chars().all(|c| alphanumeric(c) || c == '-')
}

/// The first object of the API that it names; the kubelet would have to ask the API server for it before there is one.
fn reference(pod: &Node) -> Option<Fault> {
    let refused =
        |at: &Node, what: &str| Some(at.at.fault(format!("it names {what} of the API, which static pods may not (Kubernetes 1.{NO_REFERENCES} and later)")));
    if let Some(account) = pod.find(&["spec", "serviceAccountName"]).filter(|name| name.text() != Some("")) {
        return refused(account, "a service account");
    }
    for volume in items(pod, &["spec", "volumes"]) {
        let named = [("secret", "a secret"), ("configMap", "a config map"), ("persistentVolumeClaim", "a persistent volume claim")];
        if let Some((at, what)) = named.into_iter().find_map(|(key, what)| Some((volume.find(&[key])?, what))) {
            return refused(at, what);
        }
    }
    for container in CONTAINERS.iter().flat_map(|list| items(pod, &["spec", list])) {
        let sources = items(container, &["envFrom"]).iter().chain(items(container, &["env"]).iter().filter_map(|variable| variable.find(&["valueFrom"])));
        for source in sources {
            let named = [("secretRef", "a secret"), ("secretKeyRef", "a secret"), ("configMapRef", "a config map"), ("configMapKeyRef", "a config map")];
            if let Some((at, what)) = named.into_iter().find_map(|(key, what)| Some((source.find(&[key])?, what))) {
                return refused(at, what);
            }
        }
    }
    None
}

/// The programs of a control plane, whose images hold no file that a flag could name.
const PROGRAMS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];

/// Their flags that name a file which must be there. Certificates in use are looked at elsewhere, with their keys.
const FILES: [&str; 24] = [
    "kubeconfig",
    "authentication-kubeconfig",
    "authorization-kubeconfig",
    "config",
    "config-file",
    "admission-control-config-file",
    "audit-policy-file",
    "audit-webhook-config-file",
    "authentication-config",
    "authentication-token-webhook-config-file",
    "authorization-config",
    "authorization-policy-file",
    "authorization-webhook-config-file",
    "egress-selector-config-file",
    "encryption-provider-config",
    "etcd-cafile",
    "oidc-ca-file",
    "peer-trusted-ca-file",
    "root-ca-file",
    "service-account-key-file",
    "service-account-private-key-file",
    "service-account-signing-key-file",
    "token-auth-file",
    "tracing-config-file",
];

/// What a valid pod needs of the node and does not find: then its containers are not started, or exit at once.
fn missing(host: &Host, pod: &Node) -> Vec<Fault> {
    let mut found = Vec::new();
    let mut directories = BTreeMap::new();
    for volume in items(pod, &["spec", "volumes"]) {
        let (Some(name), Some(path)) = (text(volume, &["name"]), volume.find(&["hostPath", "path"])) else { continue };
        directories.insert(name, path.text().unwrap_or_default());
        let kind = text(volume, &["hostPath", "type"]).filter(|kind| !kind.ends_with("OrCreate"));
        if let Some(kind) = kind.filter(|_| path.text().is_some_and(|path| is_gone(host, path))) {
            found.push(path.at.fault(format!("the volume {name:?} needs a {kind} at {}, where there is nothing", path.text().unwrap_or_default())));
        }
    }
    for container in items(pod, &["spec", "containers"]) {
        let words: Vec<&Node> = ["command", "args"].into_iter().flat_map(|key| items(container, &[key])).collect();
        let program = words.first().and_then(|word| word.text()?.rsplit('/').next()).unwrap_or_default();
        if PROGRAMS.contains(&program) {
            found.extend(words.iter().filter_map(|word| file_of_flag(host, container, &directories, word)));
        }
    }
    found.truncate(MOST_FAULTS);
    found
}

/// What is wrong with the file that a flag names.
fn file_of_flag(host: &Host, container: &Node, directories: &BTreeMap<&str, &str>, word: &Node) -> Option<Fault> {
    let (flag, path) = word.text()?.trim_start_matches('-').split_once('=')?;
    let inside = Some(path).filter(|path| path.starts_with('/') && FILES.contains(&flag))?;
    let mounts = items(container, &["volumeMounts"]).iter().filter_map(|mount| {
        let rest = inside.strip_prefix(text(mount, &["mountPath"])?.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some((inside.len() - rest.len(), mount, rest))
    });
    let Some((_, mount, rest)) = mounts.max_by_key(|(length, ..)| *length) else {
        return Some(word.at.fault(format!("--{flag} names {inside}, which is in no volume that the container mounts")));
    };
    let sub_path = text(mount, &["subPath"]).map(|below| format!("/{}", below.trim_matches('/'))).unwrap_or_default();
    // Of another kind of volume nothing lies on the node.
    let path = format!("{}{sub_path}{rest}", directories.get(text(mount, &["name"])?)?.trim_end_matches('/'));
    // FileOrCreate leaves an empty file in the place of what is missing.
    // It may be a key, and is not read.
    let what = match host.open_at(&path, OFlag::O_PATH).map(fstat) {
        Ok(Ok(stat)) if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits() && stat.st_size == 0 => "is empty",
        Err(_) if host.exists(&path) == Ok(false) => "does not exist",
        _ => return None,
    };
    Some(word.at.fault(format!("--{flag} names {path}, which {what}")))
}

/// Of a disk nobody knows what is made at boot.
fn is_gone(host: &Host, path: &str) -> bool {
    let volatile = ["/run", "/var/run", "/dev", "/proc", "/sys", "/tmp"]
        .iter()
        .any(|dir| path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    (host.is_live() || !volatile) && host.exists(path) == Ok(false)
}
