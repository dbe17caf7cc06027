use serde::{Deserialize, Serialize};

use super::cni::Runtime as Kind;
use super::kubelet::{File, FileState};
use super::{Blind, Sourced};

/// The container runtime: how it is configured, and what it says of itself over the CRI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    pub kind: Kind,
    /// The kubelet's `containerRuntimeEndpoint`: `unix:///run/containerd/containerd.sock`.
    pub endpoint: Sourced<String>,
    /// The runtime's own configuration files, in the order they are read; later ones override.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<File>,
    /// Where the configuration switches the CRI off: containerd's `disabled_plugins`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cri_disabled: Option<String>,
    /// The cgroup driver that the configuration sets for the default way to run containers.
    pub cgroup_driver: Sourced<CgroupDriver>,
    /// The image that every pod's sandbox is made of, where the configuration names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_image: Option<Sourced<String>>,
    /// containerd's generation, 1 or 2, by what it keeps on the disk or by the version of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u8>,
    /// Sockets of runtimes that are there, if the endpoint's is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_sockets: Vec<String>,
    pub reply: Reply,
}

/// How containers' cgroups are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    Systemd,
    Cgroupfs,
}

impl CgroupDriver {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Cgroupfs => "cgroupfs",
        }
    }
}

/// What came of asking the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// No node runs here (a disk or a copy of one), or it is not wanted (`runtime.ask`).
    NotAsked,
    /// Nothing lies at the endpoint's path.
    NoSocket,
    /// What lies at the endpoint's path is no socket.
    NotASocket,
    /// The socket is there, and nobody listens on it.
    Refused,
    /// This call had no answer in so many seconds.
    NoAnswer {
        call: String,
        seconds: u64,
        /// The runtime's main process, where its unit names one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<Process>,
    },
    /// This call ended with an error: gRPC's name for it, and the runtime's words.
    Failed {
        call: String,
        code: String,
        message: String,
    },
    Answered(Box<Answer>),
    /// We may not ask.
    Unseen(Blind),
}

/// A process in `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// `S` sleeping, `D` waiting for a disk, `T` stopped: proc_pid_stat(5).
    pub state: char,
}

/// What the runtime says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `containerd`
    pub name: String,
    /// `v1.7.24`, `2.1.9`
    pub version: String,
    /// `RuntimeReady`, `NetworkReady`.
    pub conditions: Vec<Condition>,
    /// The cgroup driver it runs with, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_driver: Option<CgroupDriver>,
    /// It tells the kubelet its driver (CRI `RuntimeConfig`): containerd from 2.0 on, CRI-O from 1.28 on.
    #[serde(default)]
    pub tells_cgroup_driver: bool,
    /// Mount points of `ImageFsInfo`: where images are unpacked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_filesystems: Vec<String>,
    /// Where containers' writable layers are, as `ImageFsInfo` tells it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub container_filesystems: Vec<String>,
    /// The sandbox image it would use, and whether it has it; absent where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_image: Option<SandboxImage>,
    /// containerd's own word on the CNI directory; absent where it gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<LoadedCni>,
}

/// dockerd's configuration, beside which cri-dockerd has none.
pub const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// A condition of the CRI's `RuntimeStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxImage {
    /// `registry.k8s.io/pause:3.10`
    pub name: String,
    pub present: bool,
}

/// What containerd loaded from its CNI directory (`cniconfig` and `lastCNILoadStatus` of a verbose Status).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedCni {
    /// The directory it really watches.
    pub conf_dir: String,
    /// Where it really looks for plugins.
    pub bin_dirs: Vec<String>,
    /// Names of the networks, in the order of their interfaces; without the loopback.
    pub networks: Vec<String>,
    /// Why the last load failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Runtime {
    /// The path of the endpoint's socket, if it is one.
    #[must_use]
    pub fn socket(&self) -> Option<&str> {
        socket(&self.endpoint.value)
    }

    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.reply {
            Reply::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// The kubelet takes the runtime's driver rather than its own (`KubeletCgroupDriverFromCRI`). One that does not run is
    /// taken for one that tells, unless it is known to be of an age that does not.
    #[must_use]
    pub fn tells_cgroup_driver(&self) -> bool {
        match (self.answer(), self.kind) {
            (Some(answer), _) => answer.tells_cgroup_driver,
            (None, Kind::Containerd) => self.generation != Some(1),
            (None, Kind::CriO | Kind::CriDockerd) => true,
        }
    }

    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        let config = self.config.iter().filter_map(|file| match &file.state {
            FileState::Unreadable(blind) => Some(blind),
            _ => None,
        });
        let reply = match &self.reply {
            Reply::Unseen(blind) => Some(blind),
            _ => None,
        };
        config.chain(reply).collect()
    }
}

/// The path in `unix:///path`, `unix:/path` or `/path`, as the kubelet takes it (`pkg/kubelet/util/util_unix.go` `parseEndpoint`).
#[must_use]
pub fn socket(endpoint: &str) -> Option<&str> {
    let path = endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    path.starts_with('/').then_some(path)
}
