use serde::{Deserialize, Serialize};

use super::Sourced;

/// The source of a name that the caller gave: the cluster's own name for this machine, rather than the machine's for itself.
pub const GIVEN_NAME: &str = "--node-name";

/// What machine this is, and by which signs it is a Kubernetes node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The node's name in the cluster; absent where nothing tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Sourced<String>>,
    /// Where the node's file system is seen: `/`, `/host`, a mounted disk.
    pub root: String,
    /// The root is a running node's. False for a disk or a fixture: then processes and the bus are not asked.
    pub live: bool,
    /// Paths that only a Kubernetes node has (`/etc/kubernetes/kubelet.conf`, `/var/lib/kubelet`…).
    #[serde(default)]
    pub signs: Vec<String>,
    /// `PRETTY_NAME` of `/etc/os-release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// It runs the control plane: `kube-apiserver.yaml` lies in the static pod directory.
    #[serde(default)]
    pub control_plane: bool,
}
