//! What machine this is, what it is called, and whether it is a Kubernetes node.

use super::host::Host;
use crate::facts::node::GIVEN_NAME;
use crate::facts::{Kubelet, Node, Sourced};

/// Paths that only a Kubernetes node has, of kubeadm and of the distributions that keep theirs elsewhere.
const SIGNS: [&str; 8] = [
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/pki",
    "/var/lib/kubelet",
    "/var/lib/rancher/k3s/agent",
    "/var/lib/rancher/rke2/agent",
    "/var/snap/microk8s/current",
    "/var/lib/k0s",
];

/// Looks at the machine. `name` is what the caller was told the node is called.
#[must_use]
pub fn observe(host: &Host, name: Option<String>, kubelet: Option<&Kubelet>) -> Node {
    let static_pods = kubelet.and_then(|kubelet| kubelet.static_pod_path.as_ref()).map_or("/etc/kubernetes/manifests", |path| path.value.as_str());
    Node {
        name: name.map(|name| Sourced::new(name, GIVEN_NAME)).or_else(|| kubelet?.surroundings.node_name.clone()),
        root: host.path().display().to_string(),
        live: host.is_live(),
        signs: SIGNS.into_iter().filter(|path| host.exists(path).unwrap_or(false)).map(str::to_owned).collect(),
        os: line(host, "/etc/os-release", |text| Some(text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?.trim_matches('"').to_owned())),
        kernel: line(host, "/proc/sys/kernel/osrelease", |text| Some(text.to_owned())),
        boot_id: line(host, "/proc/sys/kernel/random/boot_id", |text| Some(text.to_owned())),
        control_plane: host.exists(&format!("{}/kube-apiserver.yaml", static_pods.trim_end_matches('/'))).unwrap_or(false),
    }
}

/// What `take` makes of a small file's trimmed text, if there is any.
fn line<T>(host: &Host, path: &str, take: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let text = host.read_text(path, 1 << 16).ok()?;
    Some(text.trim()).filter(|text| !text.is_empty()).and_then(take)
}
