use serde::{Deserialize, Serialize};

use super::health::Holder;
use super::kubelet::{File, Kubeconfig};
use super::{Blind, Observed, Sourced};

/// kube-proxy on this node: unit, static pod or DaemonSet's pod; and what does its work where it does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubeProxy {
    pub process: Observed<Process>,
    /// Its pod's directory of logs: `/var/log/pods/kube-system_kube-proxy-x7k2p_UID`; absent where no such pod was here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_logs: Option<String>,
    /// The last lines of its container's log, oldest first, where the pod was here and no process is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_words: Vec<Sourced<String>>,
    /// What does its work instead, by its process or its own state: `cilium`, `kube-router`, `k3s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<Sourced<String>>,
    /// The network plugins at work here that can be told to do its work; whether they were, only the cluster knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_be_replaced_by: Vec<Sourced<String>>,
    /// `--config`, as it is found on the node; absent where it runs by flags, or where nothing tells how it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<File>,
    /// Where that file lies on the node, if it is called otherwise inside its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_on_node: Option<String>,
    /// `clientConnection.kubeconfig` or `--kubeconfig`; absent where it uses its service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<Kubeconfig>,
    /// `mode`: iptables, ipvs, nftables; empty for its default.
    pub mode: Sourced<String>,
    /// `hostnameOverride`, if it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname_override: Option<Sourced<String>>,
    /// `healthzBindAddress`; empty if it does not answer.
    pub healthz_bind_address: Sourced<String>,
    pub metrics_bind_address: Sourced<String>,
    pub kernel: Kernel,
}

/// What the kernel has of what pods' networks need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// By module: what the mode, and the runtime's overlay file systems, need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<(String, Observed<Module>)>,
    /// net.bridge.bridge-nf-call-iptables.
    pub bridge_netfilter: Observed<BridgeNetfilter>,
}

/// Its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    Running(Holder),
    Absent,
    /// Of a disk, on which nothing runs.
    NotAsked,
}

/// Whether iptables sees what passes a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeNetfilter {
    On,
    Off,
    /// There is no such setting: br_netfilter is not loaded.
    NotLoaded,
    /// Of a disk, on which no kernel runs.
    NotAsked,
}

/// A module of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Module {
    /// Loaded, or built in.
    Present,
    /// Installed for the kernel that runs: loaded when it is needed.
    Loadable,
    Missing,
}

impl KubeProxy {
    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        use super::kubelet::FileState::Unreadable;
        let files = self.config.iter().chain(self.kubeconfig.iter().map(|kubeconfig| &kubeconfig.file));
        let files = files.filter_map(|file| if let Unreadable(blind) = &file.state { Some(blind) } else { None });
        let modules = self.kernel.modules.iter().filter_map(|(_, module)| module.blind());
        files.chain(modules).chain(self.process.blind()).chain(self.kernel.bridge_netfilter.blind()).collect()
    }

    /// The process, where one was seen.
    #[must_use]
    pub fn running(&self) -> Option<&Holder> {
        match self.process.known()? {
            Process::Running(holder) => Some(holder),
            Process::Absent | Process::NotAsked => None,
        }
    }

    #[must_use]
    pub fn runs(&self) -> bool {
        self.running().is_some()
    }

    /// The port of an address that it listens on: `0.0.0.0:10256`, `[::]:10256`, `:10256`.
    #[must_use]
    pub fn port(address: &str) -> Option<u16> {
        address.rsplit_once(':')?.1.parse().ok().filter(|port| *port != 0)
    }
}
