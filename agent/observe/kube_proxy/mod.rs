//! kube-proxy, as unit, static pod or DaemonSet's pod: its process, its configuration, what the kernel has for it; and who does its
//! work where it does not run.
//!
//! `container` finds its files on the node, `config` reads them, `kernel` looks at modules.

mod config;
mod container;
mod kernel;

use std::collections::BTreeSet;
use std::fs::File as OpenFile;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use tokio::time::sleep;

use super::board::Board;
use super::files_watch::FilesWatch;
use super::health::sockets::{comm, holder, pod_uid};
use super::host::Host;
use super::kubeconfig::{self, current_context, load};
use super::kubelet::command_line::{exec_start, variables};
use super::look::Look;
use super::units::jittered;
use super::yaml::{self, Node};
use crate::config::Config;
use crate::facts::kube_proxy::{BridgeNetfilter, Kernel, Process};
use crate::facts::kubelet::{File, FileState, Kubeconfig};
use crate::facts::units::{EMBEDDED, Unit};
use crate::facts::{Blind, Domain, Facts, KubeProxy, Kubelet, Observed, Sourced, Units};

const LIMIT: u64 = 1 << 20;
const NAME: &str = "kube-proxy";
const UNIT: &str = "kube-proxy.service";
const POD_LOGS: &str = "/var/log/pods";
/// kubeadm mounts the ConfigMap kube-proxy there; the kubelet writes it below the pod's directory.
const CONFIG_MAP: &str = "volumes/kubernetes.io~configmap/kube-proxy";
const KUBEADM: &str = "/var/lib/kube-proxy";
/// `pkg/cluster/ports/ports.go`
const HEALTHZ: &str = "0.0.0.0:10256";
const METRICS: &str = "127.0.0.1:10249";
/// The end of a container's log that is read.
const TAIL: u64 = 16 << 10;
const LINES: usize = 5;
/// Embedded distributions in whose own process kube-proxy runs. (RKE2 runs it as a static pod, k0s as a DaemonSet.)
const WITHIN: [&str; 3] = ["k3s.service", "k3s-agent.service", "snap.microk8s.daemon-kubelite.service"];

/// Looks for it.
#[must_use]
pub fn observe(host: &Host, kubelet: Option<&Kubelet>, units: &Observed<Units>) -> KubeProxy {
    let (process, others) = match host.is_live().then(|| processes(host, units)) {
        Some(Ok((process, others))) => (Observed::Known(process), others),
        Some(Err(blind)) => (Observed::Unknown(blind), Vec::new()),
        None => (Observed::Known(Process::NotAsked), Vec::new()),
    };
    let running = match &process {
        Observed::Known(Process::Running(holder)) => Some(holder.clone()),
        _ => None,
    };
    let root_dir = kubelet.map_or("/var/lib/kubelet", |kubelet| kubelet.root_dir.value.as_str());
    let pod = pod(host, root_dir);
    let place = Place { host, pid: running.as_ref().map(|holder| holder.pid), pod_dir: pod.as_ref().map(|pod| pod.dir.as_str()) };
    let started = running.as_ref().and_then(|holder| argv(host, holder.pid)).or_else(|| as_unit(host, units)).unwrap_or_default();
    let (mut found, config) = configured(&place, &started, pod.is_some());
    found.replaced_by = within(units).or_else(|| others.iter().find_map(|(of, pid)| replacement(host, of, *pid).filter(|(_, sure)| *sure).map(|(by, _)| by)));
    found.may_be_replaced_by = others.iter().filter_map(|(of, pid)| replacement(host, of, *pid).filter(|(_, sure)| !sure).map(|(by, _)| by)).collect();
    if running.is_none() {
        found.last_words = pod.as_ref().map(|pod| last_words(host, &pod.logs)).unwrap_or_default();
    }
    found.process = process;
    found.pod_logs = pod.map(|pod| pod.logs);
    let mode = config.or(started.flag("proxy-mode"));
    if let Some(mode) = mode {
        found.mode = mode;
    }
    if host.is_live() {
        found.kernel = kernel::observe(host, &found.mode.value);
    }
    found
}

/// The words kube-proxy was started with, each with where it stands.
#[derive(Default)]
struct Started {
    words: Vec<Sourced<String>>,
    source: String,
}

impl Started {
    /// `--name=value` or `--name value`; the last one counts.
    fn flag(&self, name: &str) -> Option<Sourced<String>> {
        let mut found = None;
        for (at, word) in self.words.iter().enumerate() {
            let Some(rest) = word.value.trim_start_matches('-').strip_prefix(name).filter(|_| word.value.starts_with('-')) else { continue };
            match rest.strip_prefix('=') {
                Some(value) => found = Some(Sourced::new(value.to_owned(), &word.source)),
                None if rest.is_empty() => found = self.words.get(at + 1).cloned(),
                None => {}
            }
        }
        found.map(|found| Sourced::new(found.value, format!("{} --{name}", found.source)))
    }
}

fn argv(host: &Host, pid: u32) -> Option<Started> {
    let source = format!("/proc/{pid}/cmdline");
    let text = host.read_text(&source, LIMIT).ok()?;
    let words: Vec<_> = text.split('\0').filter(|word| !word.is_empty()).map(|word| Sourced::new(word.to_owned(), &source)).collect();
    (!words.is_empty()).then_some(Started { words, source })
}

/// As the unit would start it, its variables replaced as systemd does; `None` also where a variable is one that nothing tells: only
/// those called `KUBE…` are facts, and those that are in files.
fn as_unit(host: &Host, units: &Observed<Units>) -> Option<Started> {
    let units = units.known()?;
    let unit = units.get(UNIT).filter(|unit| unit.is_installed())?;
    let known = variables(host, unit, units.source);
    if unit.exec_start.iter().flat_map(|word| variables_in(word)).any(|name| !known.contains_key(name)) {
        return None;
    }
    let written = unit.fragment_path.clone().unwrap_or_else(|| UNIT.to_owned());
    let place = |word: Sourced<String>| if word.source.ends_with(" ExecStart") { Sourced::new(word.value, &written) } else { word };
    let words = exec_start(host, unit, units.source).into_iter().map(place);
    Some(Started { words: words.collect(), source: written.clone() })
}

/// The names in `$NAME` and `a${NAME}b`.
fn variables_in(word: &str) -> impl Iterator<Item = &str> {
    let after = word.split('$').skip(1).filter(|after| !after.is_empty());
    after.map(|after| after.strip_prefix('{').and_then(|after| after.split_once('}')).map_or(after, |(name, _)| name))
}

/// By their names as the kernel cuts them, after 15 bytes.
const AGENTS: [&str; 6] = ["cilium-agent", "kube-router", "ovnkube", "antrea-agent", "calico-node", "openshift-sdn-n"];

/// Processes of network plugins that can do kube-proxy's work: name and pid.
type Agents = Vec<(&'static str, u32)>;

/// The process called kube-proxy, and those of network plugins that can do its work.
fn processes(host: &Host, units: &Observed<Units>) -> Result<(Process, Agents), Blind> {
    let unit = units.known().and_then(|units| units.get(UNIT)?.active.as_ref()?.main_pid);
    if let Some(holder) = unit.and_then(|pid| holder(host, pid)).filter(|holder| holder.command == NAME) {
        return Ok((Process::Running(holder), Vec::new()));
    }
    let names = host.list("/proc")?.unwrap_or_default();
    let (mut process, mut others, mut seen) = (None, Vec::new(), false);
    for pid in names.iter().filter_map(|name| name.parse::<u32>().ok()) {
        let Some(comm) = comm(host, pid) else { continue };
        seen = true;
        if comm == NAME {
            process = process.or_else(|| holder(host, pid));
        } else if let Some(known) = AGENTS.into_iter().find(|known| *known == comm) {
            others.push((known, pid));
        }
    }
    if seen {
        Ok((process.map_or(Process::Absent, Process::Running), others))
    } else {
        Err(Blind::new("/proc shows no process").grant("mount the node's /proc below the root, without hidepid="))
    }
}

/// A distribution that has kube-proxy within its own process.
fn within(units: &Observed<Units>) -> Option<Sourced<String>> {
    let unit = units.known()?.units.iter().filter(|unit| EMBEDDED.contains(&unit.name.as_str()) && WITHIN.contains(&unit.name.as_str()));
    let unit = unit.filter(|unit| Unit::is_installed(unit)).min_by_key(|unit| unit.name.len())?;
    Some(Sourced::new(unit.name.trim_end_matches(".service").to_owned(), unit.name.clone()))
}

/// What a network plugin's process is set to do of kube-proxy's work: whether it surely does it, or could be told to.
fn replacement(host: &Host, of: &str, pid: u32) -> Option<(Sourced<String>, bool)> {
    let started = argv(host, pid)?;
    let flag = |name: &str| started.flag(name);
    let sourced = |name: &str, source: String| Sourced::new(name.to_owned(), source);
    match of {
        // `--run-service-proxy` is true by default.
        "kube-router" => match flag("run-service-proxy") {
            Some(off) if off.value == "false" => None,
            set => Some((sourced("kube-router", set.map_or_else(|| started.source.clone(), |set| set.source)), true)),
        },
        "ovnkube" => Some((sourced("ovn-kubernetes", started.source.clone()), true)),
        // It has kube-proxy within its own process.
        "openshift-sdn-n" => Some((sourced("openshift-sdn", started.source.clone()), true)),
        "cilium-agent" => {
            let set = flag("kube-proxy-replacement").or_else(|| {
                let path = format!("{}/kube-proxy-replacement", flag("config-dir")?.value);
                let file = container::on_node(host, pid, &path).ok()?;
                Some(Sourced::new(host.read_text(&file, 4096).ok()?.trim().to_owned(), file))
            });
            match set {
                Some(set) if matches!(set.value.as_str(), "true" | "strict") => Some((sourced("cilium", set.source), true)),
                Some(set) if matches!(set.value.as_str(), "false" | "disabled") => None,
                _ => Some((sourced("cilium", started.source.clone()), false)),
            }
        }
        // calico's eBPF data plane and antrea's proxyAll are switched on in the cluster.
        "calico-node" => Some((sourced("calico", started.source.clone()), false)),
        "antrea-agent" => Some((sourced("antrea", started.source.clone()), false)),
        _ => None,
    }
}

/// kube-proxy's pod on this node.
struct Pod {
    /// Below the kubelet's root directory.
    dir: String,
    logs: String,
}

/// By its directory of logs, `NAMESPACE_kube-proxy-…_UID`; of several, the one that the kubelet still has.
fn pod(host: &Host, root_dir: &str) -> Option<Pod> {
    let names = host.list(POD_LOGS).ok()??;
    let mut pods = names.iter().filter_map(|name| {
        let (pod, uid) = name.rsplit_once('_')?;
        let (_, pod) = pod.split_once('_')?;
        (pod == NAME || pod.starts_with("kube-proxy-"))
            .then(|| Pod { dir: format!("{}/pods/{uid}", root_dir.trim_end_matches('/')), logs: format!("{POD_LOGS}/{name}") })
    });
    pods.rfind(|pod| host.exists(&pod.dir).unwrap_or(false))
}

/// Whether the file system of a container's image is mounted here, too, is not for us to say: a file in it is not missing.
fn judged(state: FileState, file: &str) -> FileState {
    match state {
        FileState::Missing if is_in_image(file) => {
            FileState::Unreadable(Blind::new(format!("{file}: lies in a container's image, which is not seen from here")))
        }
        state => state,
    }
}

/// Whether a path lies in the file system of a container's image.
fn is_in_image(file: &str) -> bool {
    file.contains("/rootfs/") || file.contains("/merged/")
}

/// Where its files are looked for.
struct Place<'a> {
    host: &'a Host,
    pid: Option<u32>,
    pod_dir: Option<&'a str>,
}

impl Place<'_> {
    /// Where what kube-proxy names by a path is read. Of a pod whose process is gone, the kubelet's copy of its ConfigMap.
    fn at(&self, path: &str) -> Result<At, Blind> {
        let on_node = |path: String| At { host: self.host.clone(), shown: path.clone(), path };
        match (self.pid, self.pod_dir) {
            (Some(pid), _) => self.in_process(pid, path).map_or_else(|| container::on_node(self.host, pid, path).map(on_node), Ok),
            (None, Some(dir)) => Ok(on_node(path.strip_prefix(KUBEADM).map_or_else(|| path.to_owned(), |rest| format!("{dir}/{CONFIG_MAP}{rest}")))),
            (None, None) => Ok(on_node(path.to_owned())),
        }
    }

    /// Through the process's own root, where the file has no name on the node and we may look into processes.
    fn in_process(&self, pid: u32, path: &str) -> Option<At> {
        let named = container::on_node(self.host, pid, path);
        if named.is_ok_and(|file| !is_in_image(&file) || self.host.exists(&file) == Ok(true)) {
            return None;
        }
        let host = self.host.of_process(pid).ok()?;
        Some(At { host, path: path.to_owned(), shown: format!("/proc/{pid}/root{path}") })
    }

    /// It has a file system of its own.
    fn is_container(&self) -> bool {
        let cgroup = self.pid.and_then(|pid| self.host.read_text(&format!("/proc/{pid}/cgroup"), 1 << 16).ok());
        cgroup.map_or(self.pod_dir.is_some(), |cgroup| pod_uid(&cgroup).is_some())
    }
}

/// A file: in which root, by which path there, and how a person on the node gets at it.
struct At {
    host: Host,
    path: String,
    shown: String,
}

/// The effective configuration, by the file if there is one, else by flags (`cmd/kube-proxy/app/options.go`); and the file's mode.
fn configured(place: &Place<'_>, started: &Started, is_pod: bool) -> (KubeProxy, Option<Sourced<String>>) {
    let mut found = KubeProxy {
        process: Observed::Known(Process::Absent),
        pod_logs: None,
        last_words: Vec::new(),
        replaced_by: None,
        may_be_replaced_by: Vec::new(),
        config: None,
        config_on_node: None,
        kubeconfig: None,
        mode: Sourced::default_value(String::new()),
        hostname_override: started.flag("hostname-override"),
        healthz_bind_address: started.flag("healthz-bind-address").unwrap_or_else(|| Sourced::default_value(HEALTHZ.to_owned())),
        metrics_bind_address: started.flag("metrics-bind-address").unwrap_or_else(|| Sourced::default_value(METRICS.to_owned())),
        kernel: Kernel { modules: Vec::new(), bridge_netfilter: Observed::Known(BridgeNetfilter::NotAsked) },
    };
    let kubeadm = || Sourced::default_value(format!("{KUBEADM}/config.conf"));
    // Of a pod without a process, kubeadm's path, if the ConfigMap is there.
    let guessed =
        || (is_pod && place.pid.is_none()).then(kubeadm).filter(|path| place.at(&path.value).is_ok_and(|file| file.host.exists(&file.path).unwrap_or(false)));
    let Some(path) = started.flag("config").or_else(guessed).filter(|path| !path.value.is_empty()) else {
        found.kubeconfig = started.flag("kubeconfig").map(|path| kubeconfig(place, path));
        return (found, None);
    };
    let (state, tree, on_node) = read(place, &path.value);
    found.config_on_node = on_node.filter(|file| *file != path.value);
    found.config = Some(File { path, state });
    let Some(tree) = tree else { return (found, None) };
    let text = |keys: &[&str]| config::text(&tree, keys).filter(|text| !text.value.is_empty());
    found.kubeconfig = text(&["clientConnection", "kubeconfig"]).map(|path| kubeconfig(place, path));
    // The flag is heeded beside a file, too (`processHostnameOverrideFlag`).
    found.hostname_override = found.hostname_override.or_else(|| text(&["hostnameOverride"]));
    found.healthz_bind_address = text(&["healthzBindAddress"]).map_or_else(|| Sourced::default_value(HEALTHZ.to_owned()), |address| with_port(address, 10256));
    found.metrics_bind_address = text(&["metricsBindAddress"]).map_or_else(|| Sourced::default_value(METRICS.to_owned()), |address| with_port(address, 10249));
    let mode = config::text(&tree, &["mode"]);
    (found, mode)
}

/// An address without a port gets the usual one (`pkg/proxy/apis/config/v1alpha1/defaults.go`).
fn with_port(address: Sourced<String>, port: u16) -> Sourced<String> {
    match address.value.parse::<std::net::IpAddr>() {
        Ok(ip) => Sourced::new(std::net::SocketAddr::new(ip, port).to_string(), address.source),
        Err(_) => address,
    }
}

/// The configuration file: its state, its content where that is YAML, and its path on the node.
fn read(place: &Place<'_>, path: &str) -> (FileState, Option<Node>, Option<String>) {
    let file = match place.at(path) {
        Ok(file) => file,
        Err(blind) => return (FileState::Unreadable(blind), None, None),
    };
    let bytes = match file.host.read(&file.path, LIMIT) {
        Ok(bytes) => bytes,
        Err(error) => return (judged(kubeconfig::state_of(error), &file.shown), None, Some(file.shown)),
    };
    let (state, tree) = match yaml::parse(&bytes, &file.shown) {
        Err(fault) => (FileState::Invalid(vec![fault]), None),
        Ok(None) => (FileState::Invalid(vec![crate::facts::kubelet::Fault::new("the file is empty")]), None),
        Ok(Some(tree)) => match config::faults(&tree) {
            faults if faults.is_empty() => (FileState::Valid, Some(tree)),
            faults => (FileState::Invalid(faults), Some(tree)),
        },
    };
    (state, tree, Some(file.shown))
}

/// Its kubeconfig. Of a container only what stands in the file itself is judged: what it names lies in the container.
fn kubeconfig(place: &Place<'_>, path: Sourced<String>) -> Kubeconfig {
    let mut found = Kubeconfig { file: File { path, state: FileState::Valid }, server: None, user: None, client_certificate: None };
    let file = match place.at(&found.file.path.value) {
        Ok(file) => file,
        Err(blind) => {
            found.file.state = FileState::Unreadable(blind);
            return found;
        }
    };
    if !place.is_container() {
        return kubeconfig::observe(place.host, found.file.path);
    }
    match load(&file.host, &file.path) {
        Err(state) => found.file.state = judged(state, &file.shown),
        Ok(config) => match current_context(&config) {
            Err(fault) => found.file.state = FileState::Invalid(vec![fault]),
            Ok(context) => found.server = context.cluster.find(&["server"]).and_then(|server| Some(server.sourced(server.text()?.to_owned()))),
        },
    }
    found
}

/// What its container said last: the end of its newest log (`LOGS/kube-proxy/N.log`), without the runtime's prefix
/// (`TIME stderr F `).
fn last_words(host: &Host, logs: &str) -> Vec<Sourced<String>> {
    let dir = format!("{logs}/{NAME}");
    let names = host.list(&dir).ok().flatten().unwrap_or_default();
    let number = |name: &String| name.strip_suffix(".log").and_then(|number| number.parse::<u64>().ok());
    let Some(newest) = names.iter().filter_map(number).max() else { return Vec::new() };
    let path = format!("{dir}/{newest}.log");
    let text = tail(host, &path).unwrap_or_default();
    let said = |line: &str| {
        let message = line.splitn(4, ' ').nth(3)?;
        let message: String = message.chars().filter(|c| !c.is_control()).take(500).collect();
        // klog's errors and fatal ones, and its last words.
        (message.starts_with(['E', 'F']) || message.contains("command failed")).then(|| Sourced::new(message, path.clone()))
    };
    let mut lines: Vec<_> = text.lines().rev().filter_map(said).take(LINES).collect();
    lines.reverse();
    lines
}

fn tail(host: &Host, path: &str) -> Option<String> {
    let file = OpenFile::from(host.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).ok()?);
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let start = metadata.len().saturating_sub(TAIL);
    let mut bytes = vec![0; usize::try_from(metadata.len() - start).ok()?];
    file.read_exact_at(&mut bytes, start).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Longest wait for the node's files.
const LOOK: Duration = Duration::from_secs(10);
/// Between two looks whether the process still lives: as often as it is asked how it is.
const ALIVE: Duration = Duration::from_secs(30);
/// After something has changed, a process that does not run yet is looked for so often, at this interval.
const SOON: Duration = Duration::from_secs(1);
const SOON_AGAIN: u32 = 3;
/// kube-proxy's files are written in bursts, as by the kubelet for a ConfigMap.
const BURST: Duration = Duration::from_millis(30);

/// Looks again when its files or the units change, when its process is gone, and after the resync.
pub async fn watch(host: Arc<Host>, config: Arc<Config>, board: Arc<Board>) {
    let mut news = board.news();
    let known = |facts: &Facts| [Domain::Kubelet, Domain::Units].iter().all(|domain| facts.observed.contains_key(domain));
    while !board.read(known) && news.changed().await.is_ok() {}
    let mut look = Look::new(LOOK);
    let mut directories = BTreeSet::new();
    let mut read_twice = false;
    let mut soon = 0;
    loop {
        let start = Instant::now();
        let files = FilesWatch::new(&host, &directories);
        let around = board.read(Around::of);
        let (at, kubelet, units) = (Arc::clone(&host), board.read(|facts| facts.kubelet.known().cloned()), board.read(|facts| facts.units.clone()));
        let seen: Observed<KubeProxy> = look.at(move || observe(&at, kubelet.as_ref(), &units)).await.into();
        let pid = seen.known().and_then(|seen| Some(seen.running()?.pid));
        let wanted = seen.known().map(watched).unwrap_or_default();
        board.put(Domain::KubeProxy, start.elapsed(), |facts| facts.kube_proxy = seen);
        if wanted != directories {
            directories = wanted;
            // What was read has named other directories: watch those and read once more.
            read_twice = !read_twice;
            if read_twice {
                continue;
            }
        }
        read_twice = false;
        // A container's log is there before its process.
        soon = if pid.is_some() { 0 } else { soon };
        tokio::select! {
            () = super::files_watch::changed(files.as_ref().ok()) => {
                soon = SOON_AGAIN;
                sleep(BURST).await;
            }
            () = around_changed(&board, &around) => soon = SOON_AGAIN,
            () = gone(&host, pid) => soon = SOON_AGAIN,
            () = sleep(if soon > 0 { SOON } else { jittered(config.intervals.resync) }) => soon = soon.saturating_sub(1),
        }
    }
}

/// What of other domains decides: its unit's state, and the kubelet's root directory.
#[derive(PartialEq)]
struct Around(Option<Unit>, Option<String>);

impl Around {
    fn of(facts: &Facts) -> Self {
        let unit = facts.units.known().and_then(|units| units.get(UNIT)).cloned();
        Self(unit, facts.kubelet.known().map(|kubelet| kubelet.root_dir.value.clone()))
    }
}

async fn around_changed(board: &Board, before: &Around) {
    let mut news = board.news();
    while board.read(Around::of) == *before && news.changed().await.is_ok() {}
}

/// The directories of its files; and where its pod's would appear.
fn watched(seen: &KubeProxy) -> BTreeSet<String> {
    let config = seen.config.as_ref().map(|file| seen.config_on_node.as_deref().unwrap_or(&file.path.value));
    let kubeconfig = seen.kubeconfig.as_ref().map(|kubeconfig| kubeconfig.file.path.value.as_str());
    let dirs = config.into_iter().chain(kubeconfig).filter_map(|file| Some(file.rsplit_once('/')?.0.to_owned()));
    let logs =
        if seen.runs() { Vec::new() } else { std::iter::once(POD_LOGS.to_owned()).chain(seen.pod_logs.iter().map(|logs| format!("{logs}/{NAME}"))).collect() };
    dirs.chain(logs).filter(|dir| dir.starts_with('/')).collect()
}

/// Returns once that process is no kube-proxy any more.
async fn gone(host: &Host, pid: Option<u32>) {
    let Some(pid) = pid else { return std::future::pending().await };
    while comm(host, pid).as_deref() == Some(NAME) {
        sleep(jittered(ALIVE)).await;
    }
}
