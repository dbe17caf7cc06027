//! Which container runtime the kubelet uses, and what its own configuration says: where networks and images are.

mod settings;
mod watch;

use serde_json::Value as Json;

use super::cri;
use super::host::{Host, ReadError};
use super::kubeconfig;
use super::kubelet::command_line::exec_start;
use crate::config::Config;
use crate::facts::cni::Runtime as Kind;
use crate::facts::kubelet::{Fault, File, FileState};
use crate::facts::runtime::{self, CgroupDriver, DAEMON_JSON, Process, Reply};
use crate::facts::{Kubelet, Observed, Sourced, Units};
use settings::{LIMIT, MOST, Settings, trim};
pub use watch::watch;

/// A distribution that runs a containerd of its own; the mark is in the kubelet's endpoint, and a directory of it on the node.
struct Embedded {
    endpoint: &'static str,
    mark: &'static str,
    config: &'static str,
    conf_dir: &'static str,
    bin_dir: &'static str,
    root: &'static str,
    socket: &'static str,
}

const EMBEDDED: [Embedded; 4] = [
    Embedded {
        endpoint: "k3s",
        mark: "/var/lib/rancher/k3s",
        config: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
        conf_dir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        bin_dir: "/var/lib/rancher/k3s/data/cni",
        root: "/var/lib/rancher/k3s/agent/containerd",
        socket: "/run/k3s/containerd/containerd.sock",
    },
    Embedded {
        endpoint: "k3s",
        mark: "/var/lib/rancher/rke2",
        config: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        conf_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        root: "/var/lib/rancher/rke2/agent/containerd",
        socket: "/run/k3s/containerd/containerd.sock",
    },
    Embedded {
        endpoint: "microk8s",
        mark: "/var/snap/microk8s",
        config: "/var/snap/microk8s/current/args/containerd.toml",
        conf_dir: "/var/snap/microk8s/current/args/cni-network",
        bin_dir: "/var/snap/microk8s/current/opt/cni/bin",
        root: "/var/snap/microk8s/common/var/lib/containerd",
        socket: "/var/snap/microk8s/common/run/containerd.sock",
    },
    Embedded {
        endpoint: "k0s",
        mark: "/var/lib/k0s",
        config: "/etc/k0s/containerd.toml",
        conf_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        root: "/var/lib/k0s/containerd",
        socket: "/run/k0s/containerd.sock",
    },
];

/// The runtime's effective settings that other observers need.
#[derive(Debug)]
pub struct Runtime {
    pub kind: Kind,
    pub endpoint: Sourced<String>,
    /// The configuration files, in the order in which they override each other.
    pub config: Vec<File>,
    pub conf_dir: Sourced<String>,
    pub bin_dirs: Vec<Sourced<String>>,
    pub max_conf_num: Sourced<u64>,
    pub default_network: Option<Sourced<String>>,
    pub needs_loopback: bool,
    /// What gives pods their network where that is not CNI.
    pub instead_of_cni: Option<Sourced<String>>,
    /// Where images are unpacked; the first of these that exists.
    pub image_dirs: Vec<Sourced<String>>,
    /// Where containers' writable layers are, if that is not where the images are.
    pub container_dir: Option<Sourced<String>>,
    /// Where the CRI is switched off.
    pub cri_disabled: Option<String>,
    pub cgroup_driver: Sourced<CgroupDriver>,
    pub sandbox_image: Option<Sourced<String>>,
    /// containerd's generation.
    pub generation: Option<u8>,
}

impl Runtime {
    /// The facts of the runtime, before it is asked.
    #[must_use]
    pub fn unasked(self) -> runtime::Runtime {
        let Self { kind, endpoint, config, cri_disabled, cgroup_driver, sandbox_image, generation, .. } = self;
        let other_sockets = Vec::new();
        runtime::Runtime { kind, endpoint, config, cri_disabled, cgroup_driver, sandbox_image, generation, other_sockets, reply: Reply::NotAsked }
    }
}

/// Reads the runtime's configuration; what it does not set has the runtime's default.
#[must_use]
pub fn observe(host: &Host, kubelet: Option<&Kubelet>, units: &Observed<Units>) -> Runtime {
    let endpoint = kubelet.and_then(|kubelet| kubelet.container_runtime_endpoint.as_ref()).map(|endpoint| endpoint.value.as_str());
    let runtime = match kind(host, endpoint) {
        Kind::Containerd => containerd(host, units, endpoint.unwrap_or_default()),
        Kind::CriO => crio(host, units),
        Kind::CriDockerd => cri_dockerd(host, units),
    };
    match kubelet.and_then(|kubelet| kubelet.container_runtime_endpoint.clone()) {
        Some(endpoint) => Runtime { endpoint, ..runtime },
        None => runtime,
    }
}

/// Asks the runtime behind the endpoint, where a node runs and it is wanted.
pub async fn ask(host: &Host, config: &Config, units: &Observed<Units>, configured: Runtime) -> runtime::Runtime {
    let mut runtime = configured.unasked();
    let Some(socket) = runtime.socket().filter(|_| host.is_live() && config.runtime.ask) else { return runtime };
    let mut reply = cri::ask(host, socket, runtime.sandbox_image.as_ref().map(|image| image.value.as_str())).await;
    match &mut reply {
        Reply::NoAnswer { process, .. } => *process = main_process(host, units, runtime.kind),
        Reply::NoSocket => runtime.other_sockets = SOCKETS.iter().filter(|path| host.exists(path).unwrap_or(false)).map(|&path| path.to_owned()).collect(),
        _ => {}
    }
    runtime::Runtime { reply, ..runtime }
}

/// Where the runtimes have their sockets by default.
const SOCKETS: [&str; 3] = ["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/cri-dockerd.sock"];

fn main_process(host: &Host, units: &Observed<Units>, kind: Kind) -> Option<Process> {
    let unit = match kind {
        Kind::Containerd => "containerd.service",
        Kind::CriO => "crio.service",
        Kind::CriDockerd => "cri-docker.service",
    };
    let pid = units.known()?.get(unit)?.active.as_ref()?.main_pid?;
    let stat = host.read_text(&format!("/proc/{pid}/stat"), 4096).ok()?;
    // The name in brackets may itself hold brackets.
    let state = stat.rsplit_once(") ")?.1.chars().next()?;
    Some(Process { pid, state })
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
    let flag = |name: &[&str]| exec_flag(host, units, "containerd.service", name).filter(|_| embedded.is_none());
    let path =
        flag(&["--config", "-c"]).unwrap_or_else(|| Sourced::default_value(embedded.map_or("/etc/containerd/config.toml", |known| known.config).to_owned()));
    let data = flag(&["--root"]).map_or_else(|| embedded.map_or("/var/lib/containerd", |known| known.root).to_owned(), |root| root.value);
    let settings = Settings::containerd(host, path, &data);
    let (cni, images) = if settings.version >= 3 {
        (["plugins", "io.containerd.cri.v1.runtime", "cni"], vec!["plugins", "io.containerd.cri.v1.images", "snapshotter"])
    } else {
        (["plugins", "io.containerd.grpc.v1.cri", "cni"], vec!["plugins", "io.containerd.grpc.v1.cri", "containerd", "snapshotter"])
    };
    let key = |name: &'static str| [cni.as_slice(), &[name]].concat();
    let (conf_dir, bin_dir, root) =
        embedded.map_or(("/etc/cni/net.d", "/opt/cni/bin", "/var/lib/containerd"), |known| (known.conf_dir, known.bin_dir, known.root));
    let sandbox = settings.text(if settings.version >= 3 {
        &["plugins", "io.containerd.cri.v1.images", "pinned_images", "sandbox"]
    } else {
        &["plugins", "io.containerd.grpc.v1.cri", "sandbox_image"]
    });
    let bin_dirs = settings.list(&key("bin_dirs")).or_else(|| settings.text(&key("bin_dir")).map(|dir| vec![dir]));
    let root = flag(&["--root"]).or_else(|| settings.text(&["root"])).unwrap_or_else(|| Sourced::default_value(root.to_owned()));
    let cri = if settings.version >= 3 { "io.containerd.cri.v1.runtime" } else { "io.containerd.grpc.v1.cri" };
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
        instead_of_cni: None,
        needs_loopback: !settings.is_true(&key("use_internal_loopback")),
        image_dirs,
        container_dir: None,
        endpoint: Sourced::default_value(format!("unix://{}", embedded.map_or("/run/containerd/containerd.sock", |known| known.socket))),
        cri_disabled: disabled_cri(&settings),
        cgroup_driver: containerd_cgroup_driver(&settings, cri),
        sandbox_image: sandbox,
        generation: settings.generation,
        config: settings.files,
    }
}

/// The plugins without which containerd serves no CRI: version 1 of the configuration names them shortly.
fn disabled_cri(settings: &Settings) -> Option<String> {
    let names = ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"];
    settings.list(&["disabled_plugins"])?.into_iter().find(|plugin| names.contains(&plugin.value.as_str())).map(|plugin| plugin.source)
}

/// `SystemdCgroup` of the default runtime; false is containerd's default. `systemd_cgroup` is how version 1 had it for all.
fn containerd_cgroup_driver(settings: &Settings, cri: &str) -> Sourced<CgroupDriver> {
    let name = settings.text(&["plugins", cri, "containerd", "default_runtime_name"]).map_or_else(|| "runc".to_owned(), |name| name.value);
    let of_runtime = settings.truth(&["plugins", cri, "containerd", "runtimes", &name, "options", "SystemdCgroup"]);
    let of_all = settings.truth(&["plugins", cri, "systemd_cgroup"]);
    let set = of_all.filter(|set| set.value).or(of_runtime);
    set.map_or(Sourced::default_value(CgroupDriver::Cgroupfs), |set| {
        Sourced::new(if set.value { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs }, set.source)
    })
}

/// CRI-O's `pkg/config/config.go`: the file, then every drop-in in the order of its name.
fn crio(host: &Host, units: &Observed<Units>) -> Runtime {
    let file = exec_flag(host, units, "crio.service", &["--config", "-c"]).unwrap_or_else(|| Sourced::default_value("/etc/crio/crio.conf".to_owned()));
    let drop_ins = exec_flag(host, units, "crio.service", &["--config-dir", "-d"]).map_or_else(|| "/etc/crio/crio.conf.d".to_owned(), |dir| dir.value);
    let mut settings = Settings::default();
    settings.read(host, file);
    match host.list(&drop_ins) {
        Ok(names) => {
            for name in names.unwrap_or_default().into_iter().take(MOST) {
                settings.read(host, Sourced::new(format!("{drop_ins}/{name}"), drop_ins.clone()));
            }
        }
        Err(blind) => settings.hidden(&drop_ins, "crio.service", blind),
    }
    let mut storage = Settings::default();
    storage.read(host, Sourced::default_value("/etc/containers/storage.conf".to_owned()));
    // Flags override the files (`internal/criocli/criocli.go` `mergeConfig`).
    let set = |flags: &[&str], path: &[&str]| exec_flag(host, units, "crio.service", flags).or_else(|| settings.text(path));
    let mut bin_dirs = settings.list(&["crio", "network", "plugin_dirs"]).unwrap_or_default();
    bin_dirs.extend(settings.text(&["crio", "network", "plugin_dir"]));
    if let Some(flag) = exec_flag(host, units, "crio.service", &["--cni-plugin-dir"]) {
        bin_dirs = split(&flag);
    }
    if bin_dirs.is_empty() {
        bin_dirs.push(Sourced::default_value("/opt/cni/bin".to_owned()));
    }
    let root = set(&["--root", "-r"], &["crio", "root"]).or_else(|| storage.text(&["storage", "graphroot"]));
    let root = root.unwrap_or_else(|| Sourced::default_value("/var/lib/containers/storage".to_owned()));
    let socket = set(&["--listen"], &["crio", "api", "listen"]);
    let image_store = settings.text(&["crio", "imagestore"]).or_else(|| storage.text(&["storage", "imagestore"]));
    let (image_dirs, container_dir) = match image_store {
        Some(images) => (vec![images], Some(root)),
        None => (vec![root], None),
    };
    Runtime {
        kind: Kind::CriO,
        conf_dir: set(&["--cni-config-dir"], &["crio", "network", "network_dir"]).unwrap_or_else(|| Sourced::default_value("/etc/cni/net.d".to_owned())),
        bin_dirs,
        max_conf_num: Sourced::default_value(0),
        default_network: set(&["--cni-default-network"], &["crio", "network", "cni_default_network"]).filter(|name| !name.value.is_empty()),
        instead_of_cni: None,
        needs_loopback: false,
        image_dirs,
        container_dir,
        endpoint: Sourced::default_value(format!("unix://{}", socket.map_or_else(|| "/var/run/crio/crio.sock".to_owned(), |socket| socket.value))),
        cri_disabled: None,
        cgroup_driver: crio_cgroup_driver(set(&["--cgroup-manager"], &["crio", "runtime", "cgroup_manager"])),
        sandbox_image: set(&["--pause-image"], &["crio", "image", "pause_image"]),
        generation: None,
        config: settings.files,
    }
}

/// `cgroup_manager`; systemd is CRI-O's default since 1.18.
fn crio_cgroup_driver(set: Option<Sourced<String>>) -> Sourced<CgroupDriver> {
    set.map_or(Sourced::default_value(CgroupDriver::Systemd), |manager| {
        Sourced::new(if manager.value == "cgroupfs" { CgroupDriver::Cgroupfs } else { CgroupDriver::Systemd }, manager.source)
    })
}

/// Several paths with commas between them.
fn split(paths: &Sourced<String>) -> Vec<Sourced<String>> {
    paths.value.split(',').map(|path| Sourced::new(trim(path), paths.source.clone())).collect()
}

/// cri-dockerd's flags (`config/options.go`) and Docker's daemon.json.
fn cri_dockerd(host: &Host, units: &Observed<Units>) -> Runtime {
    let flag = |name: &str, default: &str| exec_flag(host, units, "cri-docker.service", &[name]).unwrap_or_else(|| Sourced::default_value(default.to_owned()));
    let daemon = DAEMON_JSON;
    let (json, state) = daemon_json(host);
    let root = json.get("data-root").and_then(Json::as_str).map(str::to_owned);
    let root = root.map_or_else(|| Sourced::default_value("/var/lib/docker".to_owned()), |root| Sourced::new(root, daemon));
    let bin_dirs = flag("--cni-bin-dir", "/opt/cni/bin");
    Runtime {
        kind: Kind::CriDockerd,
        config: state.map(|state| File { path: Sourced::default_value(daemon.to_owned()), state }).into_iter().collect(),
        conf_dir: flag("--cni-conf-dir", "/etc/cni/net.d"),
        bin_dirs: split(&bin_dirs),
        max_conf_num: Sourced::default_value(0),
        default_network: None,
        // Of old its package's unit set it to nothing, which is Docker's own bridge.
        instead_of_cni: exec_flag(host, units, "cri-docker.service", &["--network-plugin"]).filter(|plugin| plugin.value != "cni"),
        needs_loopback: true,
        image_dirs: vec![root],
        container_dir: None,
        endpoint: Sourced::default_value("unix:///run/cri-dockerd.sock".to_owned()),
        cri_disabled: None,
        cgroup_driver: docker_cgroup_driver(host, &json, daemon),
        sandbox_image: exec_flag(host, units, "cri-docker.service", &["--pod-infra-container-image"]),
        generation: None,
    }
}

/// dockerd's configuration; no state where there is none.
fn daemon_json(host: &Host) -> (Json, Option<FileState>) {
    let bytes = match host.read(DAEMON_JSON, LIMIT) {
        Ok(bytes) => bytes,
        Err(ReadError::Missing) => return (Json::Null, None),
        Err(error) => return (Json::Null, Some(kubeconfig::state_of(error))),
    };
    match serde_json::from_slice(&bytes) {
        Ok(json) => (json, Some(FileState::Valid)),
        Err(error) => {
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            let fault = Fault::at(format!("not JSON: {message}"), error.line() as u64, (error.column() as u64).max(1));
            (Json::Null, Some(FileState::Invalid(vec![fault])))
        }
    }
}

/// `exec-opts` of daemon.json; without it dockerd takes systemd where cgroup v2 is and systemd runs (`daemon/daemon_unix.go`).
fn docker_cgroup_driver(host: &Host, json: &Json, file: &str) -> Sourced<CgroupDriver> {
    let options = json.get("exec-opts").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
    let set = options.filter_map(|option| option.strip_prefix("native.cgroupdriver=")).next_back();
    match set {
        Some("systemd") => Sourced::new(CgroupDriver::Systemd, file),
        Some(_) => Sourced::new(CgroupDriver::Cgroupfs, file),
        None if host.exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false) => Sourced::default_value(CgroupDriver::Systemd),
        None => Sourced::default_value(CgroupDriver::Cgroupfs),
    }
}

/// The value that a flag has in the command line of the runtime's unit, its variables replaced; the last one counts.
fn exec_flag(host: &Host, units: &Observed<Units>, unit: &str, names: &[&str]) -> Option<Sourced<String>> {
    let units = units.known()?;
    let words = exec_start(host, units.get(unit)?, units.source);
    let name = names.first()?;
    let mut found = None;
    for (at, word) in words.iter().enumerate() {
        let value = match word.value.split_once('=') {
            Some((name, value)) if names.contains(&name) => Some(Sourced::new(value.to_owned(), &word.source)),
            None if names.contains(&word.value.as_str()) => words.get(at + 1).cloned(),
            _ => None,
        };
        found = value.or(found);
    }
    // `crio.service --config`, or `/etc/sysconfig/crio:3 --config`.
    found.map(|value| Sourced::new(trim(&value.value), format!("{} {name}", value.source.trim_end_matches(" ExecStart"))))
}
