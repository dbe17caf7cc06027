//! The CNI configuration directory, read as the runtime reads it.

use std::collections::BTreeMap;

use nix::fcntl::{AtFlags, OFlag};
use serde_json::Value;

use super::host::{Host, ReadError};
use crate::facts::cni::{Binary, ConfFile, ConfState, Network, Plugin, Runtime};
use crate::facts::kubelet::Fault;
use crate::facts::{Blind, Cni, Kubelet, Sourced};

/// libcni refuses larger files; so do we.
const CONF_LIMIT: u64 = 2 << 20;
const CONF_DIR: &str = "/etc/cni/net.d";
const BIN_DIRS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];
/// Marks that network plugins leave on a node while they are installed.
const MARKS: [(&str, &str); 5] = [
    ("flannel", "/run/flannel/subnet.env"),
    ("calico", "/var/lib/calico/nodename"),
    ("cilium", "/var/run/cilium/cilium.sock"),
    ("weave", "/var/lib/weave/weave-netdata.db"),
    ("antrea", "/var/run/antrea/cni.sock"),
];

/// Reads the directory, every file in it and the plugins' binaries.
///
/// # Errors
/// Blind if the directory is there and cannot be listed.
pub fn observe(host: &Host, kubelet: Option<&Kubelet>) -> Result<Cni, Blind> {
    let endpoint = kubelet.and_then(|kubelet| kubelet.container_runtime_endpoint.as_ref()).map_or("", |endpoint| endpoint.value.as_str());
    let runtime = if endpoint.contains("crio") { Runtime::CriO } else { Runtime::Containerd };
    let listed = host.list(CONF_DIR)?;
    let bin_dirs: Vec<_> = BIN_DIRS.into_iter().map(|dir| Sourced::default_value(dir.to_owned())).collect();
    let conf_dir_exists = listed.is_some();
    let mut files: Vec<ConfFile> = Vec::new();
    for name in listed.unwrap_or_default() {
        let path = format!("{CONF_DIR}/{name}");
        let directory = matches!(host.read(&path, 0), Err(ReadError::NotRegular("a directory")));
        if !directory {
            files.push(ConfFile { state: conf_state(host, &path), name });
        }
    }
    let mut binaries = BTreeMap::new();
    for plugin in files.iter().filter_map(network).flat_map(|network| &network.plugins) {
        for kind in std::iter::once(&plugin.kind).chain(&plugin.ipam) {
            binaries.entry(kind.clone()).or_insert_with(|| binary(host, &bin_dirs, kind));
        }
    }
    let installed = MARKS.into_iter().filter(|(_, mark)| host.exists(mark).unwrap_or(false)).map(|(name, mark)| (name.to_owned(), mark.to_owned())).collect();
    Ok(Cni { runtime, conf_dir: Sourced::default_value(CONF_DIR.to_owned()), bin_dirs, default_network: None, conf_dir_exists, files, binaries, installed })
}

fn network(file: &ConfFile) -> Option<&Network> {
    match &file.state {
        ConfState::Network(network) => Some(network),
        _ => None,
    }
}

fn conf_state(host: &Host, path: &str) -> ConfState {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    if !matches!(extension, "conf" | "conflist" | "json") {
        return ConfState::OtherExtension;
    }
    match host.read(path, CONF_LIMIT) {
        Ok(bytes) => parse(&bytes, extension == "conflist").map_or_else(ConfState::Invalid, ConfState::Network),
        Err(ReadError::Blind(blind)) => ConfState::Unreadable(blind),
        Err(error) => ConfState::Invalid(Fault::new(error.to_string())),
    }
}

/// As libcni: a list needs a name and plugins with types; a single configuration needs a type.
fn parse(bytes: &[u8], list: bool) -> Result<Network, Fault> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| Fault::at(format!("not JSON: {error}"), error.line() as u64, error.column() as u64))?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let plugin = |value: &Value| -> Result<Plugin, Fault> {
        let kind = text(value, "type");
        // libcni looks plugins up by this name in the plugin directories: a path would leave them.
        if kind.is_empty() || kind.contains('/') {
            return Err(Fault::new("a plugin has no usable \"type\""));
        }
        let ipam = value.get("ipam").map(|ipam| text(ipam, "type")).filter(|kind| !kind.is_empty() && !kind.contains('/'));
        Ok(Plugin { kind, ipam })
    };
    let name = text(&value, "name");
    let plugins = match (list, value.get("plugins")) {
        (true, Some(Value::Array(plugins))) if !plugins.is_empty() => plugins.iter().map(plugin).collect::<Result<Vec<_>, _>>()?,
        (true, _) => return Err(Fault::new("a .conflist needs a non-empty list \"plugins\"")),
        (false, Some(_)) => return Err(Fault::new("\"plugins\" belongs in a .conflist, not in a .conf or .json")),
        (false, None) => vec![plugin(&value)?],
    };
    if list && name.is_empty() {
        return Err(Fault::new("a .conflist needs a \"name\""));
    }
    let provider = provider(&name, &plugins);
    Ok(Network { name, cni_version: text(&value, "cniVersion"), plugins, provider })
}

/// Whose network it is, by its plugins and, for the shared bridge plugin, by its name.
fn provider(name: &str, plugins: &[Plugin]) -> String {
    let first = plugins.first().map_or("", |plugin| plugin.kind.as_str());
    match first {
        "cilium-cni" => "cilium",
        "weave-net" => "weave",
        "bridge" if name == "podman" => "podman",
        "bridge" if name == "crio" => "cri-o",
        "ptp" if name == "kindnet" => "kindnet",
        other => other,
    }
    .to_owned()
}

fn binary(host: &Host, dirs: &[Sourced<String>], kind: &str) -> Binary {
    let mut found = Binary::Missing;
    for dir in dirs {
        let path = format!("{}/{kind}", dir.value);
        match host.open_at(&path, OFlag::O_PATH) {
            Ok(fd) => match nix::sys::stat::fstatat(&fd, "", AtFlags::AT_EMPTY_PATH) {
                Ok(stat) if stat.st_mode & 0o170_000 == 0o100_000 && stat.st_mode & 0o111 != 0 => return Binary::Found(path),
                _ => found = Binary::NotExecutable(path),
            },
            Err(nix::errno::Errno::EACCES | nix::errno::Errno::EPERM) => {
                found = Binary::Unreadable(Blind::new(format!("{path}: permission denied")).grant("grant CAP_DAC_READ_SEARCH"));
            }
            Err(_) => {}
        }
    }
    found
}
