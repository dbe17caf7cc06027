use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::kubelet::Fault;
use super::{Blind, Sourced};

/// The CNI configuration directory as the container runtime sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cni {
    pub runtime: Runtime,
    pub conf_dir: Sourced<String>,
    /// Where plugins are looked for, in order.
    pub bin_dirs: Vec<Sourced<String>>,
    /// containerd's `max_conf_num`: how many files it loads, each a further interface of every pod. 0: all.
    #[serde(default = "one_file")]
    pub max_conf_num: Sourced<u64>,
    /// CRI-O's `cni_default_network`, if set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_network: Option<Sourced<String>>,
    /// The runtime runs the plugin `loopback` for every pod, beside the network's own.
    #[serde(default)]
    pub needs_loopback: bool,
    /// cri-dockerd's `--network-plugin`, where that is not `cni`: then nobody reads the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused: Option<Sourced<String>>,
    /// False when the directory does not exist.
    pub conf_dir_exists: bool,
    /// What lies in the directory but directories, in the runtime's order (bytes of the name).
    pub files: Vec<ConfFile>,
    /// For each plugin (`type`, `ipam.type`) that a loadable file names: its binary.
    pub binaries: BTreeMap<String, Binary>,
    /// Network plugins that are at work on this node, by [`Network::provider`].
    pub installed: BTreeMap<String, Mark>,
    /// What the loadable networks' plugins need besides their binaries.
    #[serde(default)]
    pub runtime_files: Vec<RuntimeFile>,
    /// The addresses that host-local gives out for the loadable networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<AddressPool>,
    /// The node's own routes, but the default ones and those of pods' interfaces; where there are pools to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The log directory of a pod that enforces NetworkPolicy beside a network plugin that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_engine: Option<String>,
    /// Where a mark, a file or an address could be and may not be looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<Blind>,
}

/// What host-local keeps for one network (`plugins/ipam/host-local`): a file for each address given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// The configuration file's name.
    pub file: String,
    /// The directory of the allocations: `/var/lib/cni/networks/cbr0`.
    pub directory: String,
    /// Every pod gets one address of each set.
    pub sets: Vec<RangeSet>,
    /// Allocations whose sandbox the runtime does not have; absent where that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphaned: Option<u64>,
}

/// A row of the kernel's routing table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub first: IpAddr,
    pub last: IpAddr,
    /// The prefix's length.
    pub length: u8,
    pub interface: String,
}

/// Ranges of which any may serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeSet {
    /// First and last address of each.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// Addresses that pods can get; without the gateways.
    pub size: u64,
    /// Those given out.
    pub used: u64,
}

impl AddressPool {
    /// Nine tenths of the addresses of a set are given out.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.sets.iter().any(|set| set.used >= set.size - set.size / 10)
    }
}

fn one_file() -> Sourced<u64> {
    Sourced::default_value(1)
}

/// Who reads the directory; the rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// go-cni: the first file, and an invalid first file is fatal.
    Containerd,
    /// ocicni: files that are invalid, or whose plugins are missing, are skipped.
    CriO,
    /// dockershim's successor skips as CRI-O does.
    CriDockerd,
}

impl Runtime {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "CRI-O",
            Self::CriDockerd => "cri-dockerd",
        }
    }

    /// The runtime loads the first good file, rather than stopping at the first file.
    #[must_use]
    pub fn skips_bad_files(self) -> bool {
        self != Self::Containerd
    }
}

/// A file in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfFile {
    /// The file's name, without the directory; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// What the runtime does with it and why, in words: [`Cni::standing`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub standing: String,
    pub state: ConfState,
}

/// What the runtime makes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfState {
    Network(Network),
    Invalid(Fault),
    /// Not looked at by the runtime: the extension is none of .conf, .conflist, .json.
    OtherExtension,
    Unreadable(Blind),
}

/// A loadable configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Empty where a .conf has none.
    pub name: String,
    /// Empty where none is given, which means 0.1.0.
    pub cni_version: String,
    pub plugins: Vec<Plugin>,
    /// What it belongs to: `flannel`, `calico`, `cilium`, `podman`, `cri-o`, `bridge`…
    pub provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    #[serde(rename = "type")]
    pub kind: String,
    /// `ipam.type`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipam: Option<String>,
}

/// What lies where a plugin's binary should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binary {
    Found(String),
    /// libcni takes the first regular file of that name, whether it can be run or not.
    NotExecutable(String),
    Missing,
    /// In none of the runtime's plugin directories, but here.
    Elsewhere(String),
    Unreadable(Blind),
}

impl Binary {
    #[must_use]
    pub fn cannot_run(&self) -> bool {
        matches!(self, Self::Missing | Self::Elsewhere(_) | Self::NotExecutable(_))
    }
}

/// How a network plugin shows that it is at work here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// A state file or socket of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The log directory of its pod: `/var/log/pods/kube-flannel_kube-flannel-ds-x7k2p_UID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_logs: Option<String>,
}

impl Mark {
    /// The path that shows it.
    #[must_use]
    pub fn place(&self) -> &str {
        self.path.as_deref().or(self.pod_logs.as_deref()).unwrap_or_default()
    }
}

/// A file without which a plugin fails when it is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFile {
    /// The provider whose plugin needs it.
    pub provider: String,
    pub path: String,
    pub exists: bool,
}

impl Network {
    /// Whether every plugin will refuse its `cniVersion`: no version of the specification up to 1.1.0 is this one.
    /// A later 1.x is not judged.
    #[must_use]
    pub fn has_unknown_version(&self) -> bool {
        if ["", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"].contains(&self.cni_version.as_str()) {
            return false;
        }
        let numbers: Option<Vec<u32>> = self.cni_version.split('.').map(|number| number.parse().ok()).collect();
        !matches!(numbers.as_deref(), Some([1, minor, _]) if *minor > 0)
    }

    /// Every binary that is run for a pod in this network, in order; plugins and their address managers.
    pub fn binaries(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().flat_map(|plugin| std::iter::once(&plugin.kind).chain(&plugin.ipam)).map(String::as_str)
    }

    /// What it is, and its chain: `flannel (network cbr0: flannel, portmap)`, `bridge (network own: bridge with host-local)`.
    #[must_use]
    pub fn identity(&self) -> String {
        let name = if self.name.is_empty() { String::new() } else { format!("network {}: ", self.name) };
        let plugins = self.plugins.iter().map(|plugin| match &plugin.ipam {
            Some(ipam) => format!("{} with {ipam}", plugin.kind),
            None => plugin.kind.clone(),
        });
        format!("{} ({name}{})", self.provider, plugins.collect::<Vec<_>>().join(", "))
    }

    /// A network that comes with a tool, never with a cluster's network plugin.
    #[must_use]
    pub fn is_leftover(&self) -> bool {
        matches!(self.provider.as_str(), "podman" | "cri-o" | "containerd-sample" | "nerdctl" | "loopback")
    }

    /// The generic plugins: a cluster's own, or a leftover; the file alone does not tell.
    #[must_use]
    pub fn is_generic(&self) -> bool {
        matches!(self.provider.as_str(), "bridge" | "ptp" | "macvlan" | "ipvlan" | "host-device")
    }
}

impl Cni {
    /// The files whose extension the runtime looks at, in order.
    pub fn candidates(&self) -> impl Iterator<Item = &ConfFile> {
        self.files.iter().filter(|file| file.state != ConfState::OtherExtension)
    }

    /// The valid ones among them.
    pub fn networks(&self) -> impl Iterator<Item = (&ConfFile, &Network)> {
        self.files.iter().filter_map(|file| match &file.state {
            ConfState::Network(network) => Some((file, network)),
            _ => None,
        })
    }

    /// The files the runtime loads when all goes well: containerd the first `max_conf_num`, the others every one.
    pub fn loads(&self) -> impl Iterator<Item = &ConfFile> {
        let most = match (self.runtime, self.max_conf_num.value) {
            (Runtime::Containerd, most) if most > 0 => usize::try_from(most).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        self.candidates().take(most)
    }

    /// The network that pods get as eth0. containerd gives up at any invalid file among those it loads (go-cni `opts.go`
    /// `loadFromConfDir`); CRI-O takes its default network, else the first whose plugins are all there (`ocicni.go` `loadNetworks`).
    #[must_use]
    pub fn in_effect(&self) -> Option<(&ConfFile, &Network)> {
        if self.runtime.skips_bad_files() {
            return self.networks().filter(|(_, network)| self.is_usable(network)).find(|(file, network)| match &self.default_network {
                Some(wanted) => wanted.value == if network.name.is_empty() { &file.name } else { &network.name }.as_str(),
                None => true,
            });
        }
        if self.loads().any(|file| !matches!(file.state, ConfState::Network(_))) {
            return None;
        }
        let first = self.loads().next()?;
        self.networks().find(|(file, _)| file.name == first.name)
    }

    /// What the runtime does with a file, and why.
    #[must_use]
    pub fn standing(&self, file: &ConfFile) -> String {
        let skips = self.runtime.skips_bad_files();
        match &file.state {
            ConfState::Network(network) => self.network_standing(file, network).to_owned(),
            ConfState::Invalid(fault) if skips => format!("skipped: {}", fault.message),
            ConfState::Invalid(fault) => format!("invalid: {}", fault.message),
            ConfState::OtherExtension => "not looked at: no .conf, .conflist or .json".to_owned(),
            ConfState::Unreadable(blind) => blind.reason.clone(),
        }
    }

    /// [`Self::standing`], and of a network [`Network::identity`].
    #[must_use]
    pub fn describe(&self, file: &ConfFile) -> String {
        match &file.state {
            ConfState::Network(network) => format!("{}: {}", self.standing(file), network.identity()),
            _ => self.standing(file),
        }
    }

    fn network_standing(&self, file: &ConfFile, network: &Network) -> &'static str {
        let skips = self.runtime.skips_bad_files();
        if self.in_effect().is_some_and(|(effective, _)| effective.name == file.name) {
            "in effect"
        } else if skips && network.has_unknown_version() {
            "skipped, its cniVersion is unknown"
        } else if skips && !self.is_usable(network) {
            "skipped, its plugin is missing"
        } else if !skips && self.max_conf_num.value != 1 && self.loads().any(|loaded| loaded.name == file.name) {
            "a further interface"
        } else {
            "ignored"
        }
    }

    /// As ocicni's `ValidateNetworkList`: each plugin is there and takes this version. Address managers are not looked at.
    #[must_use]
    pub fn is_usable(&self, network: &Network) -> bool {
        let found = |kind: &String| !self.binaries.get(kind).is_some_and(Binary::cannot_run);
        !network.has_unknown_version() && network.plugins.iter().all(|plugin| found(&plugin.kind))
    }

    /// `/etc/cni/net.d/10-flannel.conflist`
    #[must_use]
    pub fn path_of(&self, file: &ConfFile) -> String {
        format!("{}/{}", self.conf_dir.value.trim_end_matches('/'), file.name)
    }

    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        let files = self.files.iter().filter_map(|file| match &file.state {
            ConfState::Unreadable(blind) => Some(blind),
            _ => None,
        });
        let binaries = self.binaries.values().filter_map(|binary| match binary {
            Binary::Unreadable(blind) => Some(blind),
            _ => None,
        });
        files.chain(binaries).chain(&self.unseen).collect()
    }
}
