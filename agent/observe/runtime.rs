//! Which container runtime the kubelet uses, and what its own configuration says: where networks and images are.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::host::{Host, ReadError};
use crate::facts::cni::Runtime as Kind;
use crate::facts::kubelet::{Fault, File, FileState};
use crate::facts::{Kubelet, Observed, Sourced, Units};

const LIMIT: u64 = 1 << 20;
/// Files read at most, imports and drop-ins included.
const MOST: usize = 100;

/// A distribution that runs a containerd of its own; the mark is in the kubelet's endpoint, and a directory of it on the node.
struct Embedded {
    endpoint: &'static str,
    mark: &'static str,
    config: &'static str,
    conf_dir: &'static str,
    bin_dir: &'static str,
    root: &'static str,
}

const EMBEDDED: [Embedded; 4] = [
    Embedded {
        endpoint: "k3s",
        mark: "/var/lib/rancher/k3s",
        config: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        conf_dir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        bin_dir: "/var/lib/rancher/k3s/data/cni",
        root: "/var/lib/rancher/k3s/agent/containerd",
    },
    Embedded {
        endpoint: "k3s",
        mark: "/var/lib/rancher/rke2",
        config: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        conf_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        root: "/var/lib/rancher/rke2/agent/containerd",
    },
    Embedded {
        endpoint: "microk8s",
        mark: "/var/snap/microk8s",
        config: "/var/snap/microk8s/current/args/containerd.toml",
        conf_dir: "/var/snap/microk8s/current/args/cni-network",
        bin_dir: "/var/snap/microk8s/current/opt/cni/bin",
        root: "/var/snap/microk8s/common/var/lib/containerd",
    },
    Embedded {
        endpoint: "k0s",
        mark: "/var/lib/k0s",
        config: "/etc/k0s/containerd.toml",
        conf_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        root: "/var/lib/k0s/containerd",
    },
];

/// The runtime's effective settings that other observers need.
#[derive(Debug)]
pub struct Runtime {
    pub kind: Kind,
    /// The configuration files, in the order in which they override each other.
    pub config: Vec<File>,
    pub conf_dir: Sourced<String>,
    pub bin_dirs: Vec<Sourced<String>>,
    pub max_conf_num: Sourced<u64>,
    pub default_network: Option<Sourced<String>>,
    pub needs_loopback: bool,
    /// Where images are unpacked; the first of these that exists.
    pub image_dirs: Vec<Sourced<String>>,
    /// Where containers' writable layers are, if that is not where the images are.
    pub container_dir: Option<Sourced<String>>,
}

/// Reads the runtime's configuration; what it does not set has the runtime's default.
#[must_use]
pub fn observe(host: &Host, kubelet: Option<&Kubelet>, units: &Observed<Units>) -> Runtime {
    let endpoint = kubelet.and_then(|kubelet| kubelet.container_runtime_endpoint.as_ref()).map(|endpoint| endpoint.value.as_str());
    match kind(host, endpoint) {
        Kind::Containerd => containerd(host, units, endpoint.unwrap_or_default()),
        Kind::CriO => crio(host, units),
        Kind::CriDockerd => cri_dockerd(host, units),
    }
}

/// By the kubelet's endpoint; else whose socket is there, else which is installed, else the kubelet's own default.
fn kind(host: &Host, endpoint: Option<&str>) -> Kind {
    match endpoint {
        Some(endpoint) if endpoint.contains("crio") => return Kind::CriO,
        Some(endpoint) if endpoint.contains("dockerd") => return Kind::CriDockerd,
        Some(endpoint) if endpoint.contains("containerd") => return Kind::Containerd,
        _ => {}
    }
    let signs = [
        (Kind::Containerd, ["/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"]),
        (Kind::CriO, ["/run/crio/crio.sock", "/var/run/crio/crio.sock"]),
        (Kind::CriDockerd, ["/run/cri-dockerd.sock", "/var/run/cri-dockerd.sock"]),
        (Kind::Containerd, ["/usr/bin/containerd", "/usr/local/bin/containerd"]),
        (Kind::CriO, ["/usr/bin/crio", "/usr/local/bin/crio"]),
        (Kind::CriDockerd, ["/usr/bin/cri-dockerd", "/usr/local/bin/cri-dockerd"]),
    ];
    let seen = signs.into_iter().find(|(_, paths)| paths.iter().any(|path| host.exists(path).unwrap_or(false)));
    seen.map_or(Kind::Containerd, |(kind, _)| kind)
}

/// containerd's `cmd/containerd/server/config/config.go` and `internal/cri/config/config_unix.go`.
fn containerd(host: &Host, units: &Observed<Units>, endpoint: &str) -> Runtime {
    let embedded = EMBEDDED.iter().find(|known| endpoint.contains(known.endpoint) && host.exists(known.mark).unwrap_or(false));
    let flag = |name: &[&str]| exec_flag(units, "containerd.service", name).filter(|_| embedded.is_none());
    let path =
        flag(&["--config", "-c"]).unwrap_or_else(|| Sourced::default_value(embedded.map_or("/etc/containerd/config.toml", |known| known.config).to_owned()));
    let settings = Settings::containerd(host, path);
    let (cni, images) = if settings.version >= 3 {
        (["plugins", "io.containerd.cri.v1.runtime", "cni"], vec!["plugins", "io.containerd.cri.v1.images", "snapshotter"])
    } else {
        (["plugins", "io.containerd.grpc.v1.cri", "cni"], vec!["plugins", "io.containerd.grpc.v1.cri", "containerd", "snapshotter"])
    };
    let key = |name: &'static str| [cni.as_slice(), &[name]].concat();
    let (conf_dir, bin_dir, root) =
        embedded.map_or(("/etc/cni/net.d", "/opt/cni/bin", "/var/lib/containerd"), |known| (known.conf_dir, known.bin_dir, known.root));
    let bin_dirs = settings.list(&key("bin_dirs")).or_else(|| settings.text(&key("bin_dir")).map(|dir| vec![dir]));
    let root = flag(&["--root"]).or_else(|| settings.text(&["root"])).unwrap_or_else(|| Sourced::default_value(root.to_owned()));
    let snapshotter = settings.text(&images).map_or_else(|| "overlayfs".to_owned(), |name| name.value);
    let plugin = format!("io.containerd.snapshotter.v1.{snapshotter}");
    let mut image_dirs: Vec<_> = settings.text(&["plugins", &plugin, "root_path"]).into_iter().collect();
    image_dirs.push(Sourced::new(format!("{}/{plugin}", root.value), root.source.clone()));
    image_dirs.push(root);
    Runtime {
        kind: Kind::Containerd,
        conf_dir: settings.text(&key("conf_dir")).unwrap_or_else(|| Sourced::default_value(conf_dir.to_owned())),
        bin_dirs: bin_dirs.unwrap_or_else(|| vec![Sourced::default_value(bin_dir.to_owned())]),
        max_conf_num: settings.number(&key("max_conf_num")).unwrap_or_else(|| Sourced::default_value(1)),
        default_network: None,
        needs_loopback: !settings.is_true(&key("use_internal_loopback")),
        image_dirs,
        container_dir: None,
        config: settings.files,
    }
}

/// CRI-O's `pkg/config/config.go`: the file, then every drop-in in the order of its name.
fn crio(host: &Host, units: &Observed<Units>) -> Runtime {
    let file = exec_flag(units, "crio.service", &["--config", "-c"]).unwrap_or_else(|| Sourced::default_value("/etc/crio/crio.conf".to_owned()));
    let drop_ins = exec_flag(units, "crio.service", &["--config-dir", "-d"]).map_or_else(|| "/etc/crio/crio.conf.d".to_owned(), |dir| dir.value);
    let mut settings = Settings::default();
    settings.read(host, file);
    for name in host.list(&drop_ins).ok().flatten().unwrap_or_default().into_iter().take(MOST) {
        settings.read(host, Sourced::new(format!("{drop_ins}/{name}"), drop_ins.clone()));
    }
    let mut storage = Settings::default();
    storage.read(host, Sourced::default_value("/etc/containers/storage.conf".to_owned()));
    let mut bin_dirs = settings.list(&["crio", "network", "plugin_dirs"]).unwrap_or_default();
    bin_dirs.extend(settings.text(&["crio", "network", "plugin_dir"]));
    if bin_dirs.is_empty() {
        bin_dirs.push(Sourced::default_value("/opt/cni/bin".to_owned()));
    }
    let root = settings.text(&["crio", "root"]).or_else(|| storage.text(&["storage", "graphroot"]));
    let root = root.unwrap_or_else(|| Sourced::default_value("/var/lib/containers/storage".to_owned()));
    let image_store = settings.text(&["crio", "imagestore"]).or_else(|| storage.text(&["storage", "imagestore"]));
    let (image_dirs, container_dir) = match image_store {
        Some(images) => (vec![images], Some(root)),
        None => (vec![root], None),
    };
    Runtime {
        kind: Kind::CriO,
        conf_dir: settings.text(&["crio", "network", "network_dir"]).unwrap_or_else(|| Sourced::default_value("/etc/cni/net.d".to_owned())),
        bin_dirs,
        max_conf_num: Sourced::default_value(0),
        default_network: settings.text(&["crio", "network", "cni_default_network"]),
        needs_loopback: false,
        image_dirs,
        container_dir,
        config: settings.files,
    }
}

/// cri-dockerd's flags (`config/options.go`) and Docker's daemon.json.
fn cri_dockerd(host: &Host, units: &Observed<Units>) -> Runtime {
    let flag = |name: &str, default: &str| exec_flag(units, "cri-docker.service", &[name]).unwrap_or_else(|| Sourced::default_value(default.to_owned()));
    let daemon = "/etc/docker/daemon.json";
    let text = host.read_text(daemon, LIMIT).unwrap_or_default();
    let root = serde_json::from_str::<Json>(&text).ok().and_then(|json| json.get("data-root")?.as_str().map(str::to_owned));
    let root = root.map_or_else(|| Sourced::default_value("/var/lib/docker".to_owned()), |root| Sourced::new(root, daemon));
    let bin_dirs = flag("--cni-bin-dir", "/opt/cni/bin");
    Runtime {
        kind: Kind::CriDockerd,
        config: Vec::new(),
        conf_dir: flag("--cni-conf-dir", "/etc/cni/net.d"),
        bin_dirs: bin_dirs.value.split(',').map(|dir| Sourced::new(trim(dir), bin_dirs.source.clone())).collect(),
        max_conf_num: Sourced::default_value(0),
        default_network: None,
        needs_loopback: true,
        image_dirs: vec![root],
        container_dir: None,
    }
}

/// The value that a flag has in the `ExecStart` of the runtime's unit.
fn exec_flag(units: &Observed<Units>, unit: &str, names: &[&str]) -> Option<Sourced<String>> {
    let found = units.known()?.get(unit)?;
    let mut words = found.exec_start.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let value = match word.split_once('=') {
            Some((name, value)) if names.contains(&name) => value,
            None if names.contains(&word) => words.next()?,
            _ => continue,
        };
        return Some(Sourced::new(trim(value), format!("{unit} {}", names.first()?)));
    }
    None
}

/// A path as it is joined to.
fn trim(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => path.to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// TOML files laid over each other: the last one that sets a key wins. containerd 2 merges its imports so; containerd 1
/// replaced whole plugin sections, which gives the same unless an import repeats a section without the key.
#[derive(Debug, Default)]
struct Settings {
    files: Vec<File>,
    /// The main file's `version`; containerd refuses imports of a higher one.
    version: u64,
    values: BTreeMap<Vec<String>, (Leaf, String)>,
}

#[derive(Clone, Debug)]
enum Leaf {
    Text(String),
    Number(u64),
    Bool(bool),
    List(Vec<String>),
}

impl Settings {
    /// The file and its `imports`, which may import in turn; a file is read once.
    fn containerd(host: &Host, path: Sourced<String>) -> Self {
        let mut settings = Self::default();
        let mut pending = vec![path];
        while let Some(path) = (!pending.is_empty()).then(|| pending.remove(0)) {
            if settings.files.len() >= MOST || settings.files.iter().any(|file| file.path.value == path.value) {
                continue;
            }
            let parent = path.value.clone();
            settings.values.remove(["imports".to_owned()].as_slice());
            settings.read(host, path);
            if settings.files.len() == 1 {
                settings.version = settings.number(&["version"]).map_or(1, |version| version.value);
            }
            for import in settings.list(&["imports"]).unwrap_or_default() {
                let path = clean(&super::kubeconfig::beside(&parent, &import.value));
                pending.extend(glob(host, &path).into_iter().map(|path| Sourced::new(path, import.source.clone())));
            }
        }
        settings
    }

    /// Lays a file over what was read before. One that is not there is left out, as the runtimes do.
    fn read(&mut self, host: &Host, path: Sourced<String>) {
        let state = match host.read_text(&path.value, LIMIT) {
            Ok(text) => match DeTable::parse(&text) {
                Ok(table) => {
                    self.lay(&path.value, &text, table.get_ref());
                    FileState::Valid
                }
                Err(error) => {
                    let (line, column) = place(&text, error.span().map_or(0, |span| span.start));
                    FileState::Invalid(vec![Fault::at(format!("not TOML: {}", error.message()), line, column)])
                }
            },
            Err(ReadError::Missing) => return,
            Err(ReadError::Blind(blind)) => FileState::Unreadable(blind),
            Err(error) => FileState::Invalid(vec![Fault::new(error.to_string())]),
        };
        self.files.push(File { path, state });
    }

    fn lay(&mut self, file: &str, text: &str, table: &DeTable) {
        let mut tables = vec![(Vec::new(), table)];
        while let Some((path, table)) = tables.pop() {
            for (key, value) in table {
                let name = key.get_ref().as_ref();
                // containerd's version 1 names its plugins shortly.
                let name = if name == "cri" && path == ["plugins"] { "io.containerd.grpc.v1.cri" } else { name };
                let path: Vec<String> = path.iter().cloned().chain([name.to_owned()]).collect();
                if let DeValue::Table(table) = value.get_ref() {
                    tables.push((path, table));
                } else if let Some(leaf) = leaf(value.get_ref()) {
                    let (line, _) = place(text, key.span().start);
                    self.values.insert(path, (leaf, format!("{file}:{line}")));
                }
            }
        }
    }

    fn get(&self, path: &[&str]) -> Option<&(Leaf, String)> {
        let path: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
        self.values.get(&path)
    }

    /// A path or a name; an empty one is as good as none.
    fn text(&self, path: &[&str]) -> Option<Sourced<String>> {
        match self.get(path)? {
            (Leaf::Text(text), source) if !text.is_empty() => Some(Sourced::new(trim(text), source)),
            _ => None,
        }
    }

    fn list(&self, path: &[&str]) -> Option<Vec<Sourced<String>>> {
        match self.get(path)? {
            (Leaf::List(list), source) if !list.is_empty() => Some(list.iter().map(|text| Sourced::new(trim(text), source)).collect()),
            _ => None,
        }
    }

    fn number(&self, path: &[&str]) -> Option<Sourced<u64>> {
        match self.get(path)? {
            (Leaf::Number(number), source) => Some(Sourced::new(*number, source)),
            _ => None,
        }
    }

    fn is_true(&self, path: &[&str]) -> bool {
        matches!(self.get(path), Some((Leaf::Bool(true), _)))
    }
}

fn leaf(value: &DeValue) -> Option<Leaf> {
    Some(match value {
        DeValue::String(text) => Leaf::Text(text.to_string()),
        DeValue::Integer(number) => Leaf::Number(u64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Boolean(truth) => Leaf::Bool(*truth),
        DeValue::Array(items) => Leaf::List(items.iter().filter_map(|item| item.get_ref().as_str().map(str::to_owned)).collect()),
        _ => return None,
    })
}

/// Line and column of a byte, from 1.
fn place(text: &str, at: usize) -> (u64, u64) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() as u64 + 1, before[line_start..].chars().count() as u64 + 1)
}

/// As Go's `filepath.Clean`: without `.` and `..`, so that one file has one name.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    format!("/{}", parts.join("/"))
}

/// The files a pattern names, sorted; `*` in the last part only, which is where imports have it.
fn glob(host: &Host, pattern: &str) -> Vec<String> {
    let Some((dir, name)) = pattern.rsplit_once('/') else { return Vec::new() };
    if !name.contains('*') {
        return vec![pattern.to_owned()];
    }
    let names = host.list(dir).ok().flatten().unwrap_or_default();
    names.into_iter().filter(|candidate| matches_glob(name, candidate)).map(|name| format!("{dir}/{name}")).take(MOST).collect()
}

/// `*` stands for any characters.
fn matches_glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, matches) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.tom", false),
            ("10-*-x*.toml", "10-a-xyz.toml", true),
            ("a*b", "ab", true),
            ("*", "any", true),
            ("a*", "b", false),
        ] {
            assert_eq!(matches_glob(pattern, name), matches, "{pattern} {name}");
        }
    }
}
