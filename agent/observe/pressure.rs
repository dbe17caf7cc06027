//! The kubelet's eviction signals, from the same kernel files the kubelet reads.

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::host::Host;
use crate::facts::pressure::{Filesystem, Memory, Pids};
use crate::facts::{Blind, Kubelet, Pressure};

const PROC_FILE_LIMIT: u64 = 1 << 20;

/// Measures every signal. The file systems are those of the kubelet's root directory and of the runtime's.
///
/// # Errors
/// Never as a whole: each signal is known or unknown by itself.
#[must_use]
pub fn observe(host: &Host, kubelet: &Kubelet) -> Pressure {
    let endpoint = kubelet.container_runtime_endpoint.as_ref().map_or("", |endpoint| endpoint.value.as_str());
    let images = if endpoint.contains("crio") {
        "/var/lib/containers/storage"
    } else if endpoint.contains("k3s") {
        "/var/lib/rancher/k3s/agent/containerd"
    } else if endpoint.contains("dockerd") {
        "/var/lib/docker"
    } else {
        "/var/lib/containerd"
    };
    Pressure {
        memory: memory(host).into(),
        nodefs: filesystem(host, &kubelet.root_dir.value).into(),
        imagefs: filesystem(host, images).into(),
        pids: pids(host).into(),
    }
}

fn not_running(host: &Host) -> Result<(), Blind> {
    if host.is_live() {
        return Ok(());
    }
    Err(Blind::new(format!("{} is a disk or a tree, not a running node: it has no /proc", host.path().display()))
        .grant("mount the node's /proc below the root"))
}

fn text(host: &Host, path: &str) -> Result<String, Blind> {
    host.read_text(path, PROC_FILE_LIMIT).map_err(|error| Blind::new(format!("{path}: {error}")).grant("mount the node's /proc and /sys below the root"))
}

/// capacity − (usage − inactive file cache) of the root cgroup (cadvisor `setMemoryStats`; opencontainers/cgroups `rootStatsFromMeminfo`).
fn memory(host: &Host) -> Result<Memory, Blind> {
    not_running(host)?;
    let meminfo = text(host, "/proc/meminfo")?;
    let capacity = field(&meminfo, "MemTotal:").ok_or_else(|| Blind::new("/proc/meminfo has no MemTotal"))? * 1024;
    let v1 = "/sys/fs/cgroup/memory/memory.usage_in_bytes";
    let (usage, inactive, source) = if host.exists(v1)? {
        let usage = text(host, v1)?.trim().parse().map_err(|_| Blind::new(format!("{v1} holds no number")))?;
        (usage, field(&text(host, "/sys/fs/cgroup/memory/memory.stat")?, "total_inactive_file"), v1)
    } else {
        let path = "/sys/fs/cgroup/memory.stat";
        let stat = text(host, path)?;
        let sum = field(&stat, "anon").zip(field(&stat, "file")).map(|(anon, file)| anon.saturating_add(file));
        (sum.ok_or_else(|| Blind::new(format!("{path} has no anon and file")))?, field(&stat, "inactive_file"), path)
    };
    Ok(Memory { capacity, working_set: usage.saturating_sub(inactive.unwrap_or(0)), source: source.to_owned() })
}

/// The number after `name` on the line that begins with it.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

/// What the kubelet sees of a file system (cadvisor fs/vfs/stats.go).
fn filesystem(host: &Host, path: &str) -> Result<Filesystem, Blind> {
    let blind = |what: &str| Blind::new(format!("{path}: {what}")).grant(format!("mount the node's {path} below the root"));
    let fd = host.open_at(path, OFlag::O_PATH).map_err(|errno| blind(errno.desc()))?;
    let device = fstat(&fd).map_err(|errno| blind(errno.desc()))?.st_dev;
    if !host.is_live() && device == outside(host).map_err(|errno| blind(errno.desc()))? {
        return Err(Blind::new(format!("{path}: {} is a directory of this machine, not the node's disk", host.path().display())));
    }
    let stat = fstatvfs(&fd).map_err(|errno| blind(errno.desc()))?;
    let unit = stat.fragment_size();
    Ok(Filesystem {
        path: path.to_owned(),
        available: stat.blocks_available().saturating_mul(unit),
        capacity: stat.blocks().saturating_mul(unit),
        inodes_free: stat.files_free(),
        inodes: stat.files(),
        read_only: stat.flags().contains(FsFlags::ST_RDONLY),
        device,
    })
}

/// The device of the directory above the root: a file system of the node lies on another one.
fn outside(host: &Host) -> Result<u64, nix::errno::Errno> {
    nix::sys::stat::stat(&host.path().join("..")).map(|stat| stat.st_dev)
}

/// As `pkg/kubelet/stats/pidlimit/pidlimit_linux.go`.
fn pids(host: &Host) -> Result<Pids, Blind> {
    not_running(host)?;
    let number = |path: &str| text(host, path)?.trim().parse::<u64>().map_err(|_| Blind::new(format!("{path} holds no number")));
    let limit = number("/proc/sys/kernel/pid_max")?.min(number("/proc/sys/kernel/threads-max")?);
    let loadavg = text(host, "/proc/loadavg")?;
    let threads = loadavg.split_whitespace().nth(3).and_then(|tasks| tasks.split_once('/')?.1.parse().ok());
    Ok(Pids { limit, threads: threads.ok_or_else(|| Blind::new("/proc/loadavg has no count of threads"))? })
}
