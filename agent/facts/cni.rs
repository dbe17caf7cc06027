use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kubelet::Fault;
use super::{Blind, Sourced};

/// The CNI configuration directory as the container runtime sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cni {
    pub runtime: Runtime,
    pub conf_dir: Sourced<String>,
    pub bin_dirs: Vec<Sourced<String>>,
    /// CRI-O's `cni_default_network`, if set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_network: Option<Sourced<String>>,
    /// False when the directory does not exist.
    pub conf_dir_exists: bool,
    /// The directory's regular files in the runtime's order (bytes of the name).
    pub files: Vec<ConfFile>,
    /// For each plugin `type` (and `ipam.type`) that a loadable file names: its binary.
    pub binaries: BTreeMap<String, Binary>,
    /// Network plugins that left a mark on this node (a state directory, a socket): name → the mark.
    pub installed: BTreeMap<String, String>,
}

/// Who reads the directory; the rules differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// go-cni: the first file, and an invalid first file is fatal.
    Containerd,
    /// ocicni: invalid files are skipped.
    CriO,
}

/// A file in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfFile {
    /// The file's name, without the directory; bytes that are no UTF-8 are replaced.
    pub name: String,
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
    pub name: String,
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
    NotExecutable(String),
    Missing,
    Unreadable(Blind),
}

impl Cni {
    /// The files whose extension the runtime looks at, in order.
    pub fn candidates(&self) -> impl Iterator<Item = &ConfFile> {
        self.files.iter().filter(|file| file.state != ConfState::OtherExtension)
    }

    pub fn networks(&self) -> impl Iterator<Item = (&ConfFile, &Network)> {
        self.files.iter().filter_map(|file| match &file.state {
            ConfState::Network(network) => Some((file, network)),
            _ => None,
        })
    }

    /// The file in effect. containerd stops at the first one even if it is invalid (`go-cni` opts.go
    /// `loadFromConfDir`); CRI-O takes its default network, else the first loadable (`ocicni.go` `loadNetworks`).
    #[must_use]
    pub fn in_effect(&self) -> Option<(&ConfFile, &Network)> {
        match self.runtime {
            Runtime::Containerd => {
                let first = self.candidates().next()?;
                self.networks().find(|(file, _)| file.name == first.name)
            }
            Runtime::CriO => match &self.default_network {
                Some(wanted) => self.networks().find(|(_, network)| network.name == wanted.value),
                None => self.networks().find(|(_, network)| self.has_binaries(network)),
            },
        }
    }

    fn has_binaries(&self, network: &Network) -> bool {
        network.plugins.iter().all(|plugin| !matches!(self.binaries.get(&plugin.kind), Some(Binary::Missing | Binary::NotExecutable(_))))
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
        files.chain(binaries).collect()
    }
}
