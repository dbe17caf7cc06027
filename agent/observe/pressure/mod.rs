//! The kubelet's eviction signals, from the same kernel files the kubelet reads.

mod filesystems;
mod history;
mod kernel;
mod mounts;

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::host::Host;
use super::runtime::{self, Runtime};
use crate::facts::pressure::{Memory, Pids};
use crate::facts::{Blind, Kubelet, Observed, Pressure, Units};
use filesystems::Filesystems;
use history::History;

const PROC_FILE_LIMIT: u64 = 1 << 20;
/// Where the kubelet keeps container logs (`pkg/kubelet/apis/config/v1beta1/defaults.go` `DefaultPodLogsDir`).
const POD_LOGS: &str = "/var/log/pods";

/// What is remembered from one measurement to the next.
#[derive(Debug, Default)]
pub struct Probe {
    filesystems: Filesystems,
    history: Mutex<History>,
}

/// Measures every signal. The file systems are those of the kubelet's root directory and of the runtime's.
/// Blocks for at most 2 s, once, when a file system stops answering; what hangs is kept track of in `probe`.
#[must_use]
pub fn observe(host: &Host, kubelet: &Kubelet, units: &Observed<Units>, probe: &Probe) -> Pressure {
    let Runtime { image_dirs, container_dir, .. } = runtime::observe(host, Some(kubelet), units);
    let nodefs = kubelet.root_dir.value.as_str();
    let table = not_running(host).and_then(|()| mounts::read(host));
    let known = table.as_deref().unwrap_or_default();
    let images: Vec<_> = image_dirs.iter().map(|dir| dir.value.clone()).collect();
    let split = container_dir.is_some();
    let containers = container_dir.map_or_else(Vec::new, |dir| vec![dir.value]);
    let [nodefs, imagefs, containerfs] = probe.filesystems.measure(host, known, [vec![nodefs.to_owned()], images, containers]);
    let written = [&nodefs, &imagefs, &containerfs].into_iter().flatten().map(|filesystem| (filesystem.path.as_str(), Some(filesystem.device)));
    let written: Vec<_> = written.chain([(POD_LOGS, None)]).collect();
    let mut pressure = Pressure {
        memory: memory(host).into(),
        mounts: table.as_ref().map(|table| mounts::holding(table, &written)).map_err(Clone::clone).into(),
        nodefs: nodefs.into(),
        imagefs: imagefs.into(),
        containerfs: split.then(|| containerfs.into()),
        pids: pids(host, kubelet).into(),
        stalls: kernel::stalls(host).into(),
        file_handles: kernel::file_handles(host).into(),
        conntrack: kernel::conntrack(host).into(),
        ipv4_forwarding: kernel::ipv4_forwarding(host).into(),
        history: Vec::new(),
    };
    let mut history = probe.history.lock().unwrap_or_else(PoisonError::into_inner);
    history.take(&pressure.signals(), Instant::now(), SystemTime::now());
    pressure.history = history.points();
    pressure
}

/// One reason for all that only a running node tells, so that it is told once.
fn not_running(host: &Host) -> Result<(), Blind> {
    if host.is_live() {
        return Ok(());
    }
    Err(Blind::new(format!("{} is a disk or a tree, not a running node", host.path().display())).grant("mount the node's /proc, /sys and disks below the root"))
}

fn text(host: &Host, path: &str) -> Result<String, Blind> {
    host.read_text(path, PROC_FILE_LIMIT).map_err(|error| Blind::new(format!("{path}: {error}")).grant("mount the node's /proc and /sys below the root"))
}

/// capacity − (usage − inactive file cache) of the root cgroup (cadvisor `setMemoryStats`; opencontainers/cgroups `rootStatsFromMeminfo`).
fn memory(host: &Host) -> Result<Memory, Blind> {
    not_running(host)?;
    let meminfo = text(host, "/proc/meminfo")?;
    let capacity = field(&meminfo, "MemTotal:").ok_or_else(|| Blind::new("/proc/meminfo has no MemTotal"))?.saturating_mul(1024);
    let v1 = "/sys/fs/cgroup/memory/memory.usage_in_bytes";
    let (usage, inactive, source) = if host.exists(v1)? {
        // The kernel shows release_agent in a hierarchy's root only (cgroup-v1.c `CFTYPE_ONLY_ON_ROOT`).
        root_cgroup(host.exists("/sys/fs/cgroup/memory/release_agent")?)?;
        let usage = text(host, v1)?.trim().parse().map_err(|_| Blind::new(format!("{v1} holds no number")))?;
        (usage, field(&text(host, "/sys/fs/cgroup/memory/memory.stat")?, "total_inactive_file"), v1)
    } else {
        // And cgroup.type everywhere but there (cgroup.c `CFTYPE_NOT_ON_ROOT`), also when a cgroup namespace calls it the root.
        root_cgroup(!host.exists("/sys/fs/cgroup/cgroup.type")?)?;
        let path = "/sys/fs/cgroup/memory.stat";
        let stat = text(host, path)?;
        let sum = field(&stat, "anon").zip(field(&stat, "file")).map(|(anon, file)| anon.saturating_add(file));
        (sum.ok_or_else(|| Blind::new(format!("{path} has no anon and file")))?, field(&stat, "inactive_file"), path)
    };
    Ok(Memory { capacity, working_set: usage.saturating_sub(inactive.unwrap_or(0)), source: source.to_owned() })
}

/// A container's own cgroup would pass for an almost idle node.
fn root_cgroup(is_root: bool) -> Result<(), Blind> {
    if is_root {
        return Ok(());
    }
    Err(Blind::new("/sys/fs/cgroup is not the node's root cgroup but that of a container").grant("mount the node's /sys/fs/cgroup below the root"))
}

/// The number after `name` on the line that begins with it.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

/// As `pkg/kubelet/stats/pidlimit/pidlimit_linux.go`.
fn pids(host: &Host, kubelet: &Kubelet) -> Result<Pids, Blind> {
    not_running(host)?;
    if kubelet.eviction_threshold("pid.available").is_some() {
        own_pid_namespace(host)?;
    }
    let number = |path: &str| text(host, path)?.trim().parse::<u64>().map_err(|_| Blind::new(format!("{path} holds no number")));
    let limit = number("/proc/sys/kernel/pid_max")?.min(number("/proc/sys/kernel/threads-max")?);
    let loadavg = text(host, "/proc/loadavg")?;
    let threads = loadavg.split_whitespace().nth(3).and_then(|tasks| tasks.split_once('/')?.1.parse().ok());
    Ok(Pids { limit, threads: threads.ok_or_else(|| Blind::new("/proc/loadavg has no count of threads"))? })
}

/// Since Linux 6.14 kernel.pid_max belongs to the reader's PID namespace, whichever /proc it is read through
/// (kernel/pid.c `pid_table_root_lookup`): a pod without hostPID reads its own. /proc tells which namespace is whose by our number in it.
fn own_pid_namespace(host: &Host) -> Result<(), Blind> {
    let release = text(host, "/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let per_namespace = (numbers.next(), numbers.next()) >= (Some(6), Some(14));
    if !per_namespace || host.link("/proc/self").is_none_or(|number| number == std::process::id().to_string()) {
        return Ok(());
    }
    Err(Blind::new("kernel.pid_max is that of this container's PID namespace, not the node's (Linux 6.14 and later)").grant("hostPID: true"))
}
