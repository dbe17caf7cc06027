use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Blind, Observed, Timestamp};

/// The kubelet's eviction signals, measured the way the kubelet measures them
/// (`pkg/kubelet/eviction/helpers.go` `makeSignalObservations`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    pub memory: Observed<Memory>,
    /// The file system of the kubelet's root directory.
    pub nodefs: Observed<Filesystem>,
    /// The file system the runtime unpacks images on.
    pub imagefs: Observed<Filesystem>,
    /// The file system of containers' writable layers, where the runtime is set to keep those apart from the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containerfs: Option<Observed<Filesystem>>,
    pub pids: Observed<Pids>,
    /// The mounts that hold what the kubelet and the runtime write, as the node's first process sees them.
    pub mounts: Observed<Vec<Mount>>,
    #[serde(default = "not_measured")]
    pub stalls: Observed<Stalls>,
    #[serde(default = "not_measured")]
    pub file_handles: Observed<Usage>,
    /// Connections that the kernel tracks; `None` where it tracks none (nf_conntrack is not loaded).
    #[serde(default = "not_measured")]
    pub conntrack: Observed<Option<Usage>>,
    /// net.ipv4.ip_forward: what arrives for another address is passed on.
    #[serde(default = "not_measured")]
    pub ipv4_forwarding: Observed<bool>,
    /// What the signals have been, oldest first: a point for each [`Point::SPAN`], at most [`Point::MOST`]. Empty at a first look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Point>,
}

fn not_measured<T>() -> Observed<T> {
    Observed::Unknown(Blind::new("not measured"))
}

/// How long work waited for what it needs (/proc/pressure, PSI); `None` where the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stalls {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Stall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Stall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<Stall>,
}

/// Percent of the time, over the last 10 and 60 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// In which some task waited.
    pub some_avg10: f32,
    pub some_avg60: f32,
    /// In which all waited that had something to do.
    pub full_avg10: f32,
    pub full_avg60: f32,
}

/// A table of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub used: u64,
    pub most: u64,
}

impl Usage {
    /// Whether more than `percent` are used. A table without places is not judged.
    #[must_use]
    pub fn is_over(self, percent: u64) -> bool {
        self.most > 0 && u128::from(self.used) * 100 > u128::from(self.most) * u128::from(percent)
    }
}

/// The signals over a few minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The end of these minutes.
    pub at: Timestamp,
    /// By the signal's name: the median of what was available.
    pub available: BTreeMap<String, u64>,
}

impl Point {
    /// The time a point stands for.
    pub const SPAN: Duration = Duration::from_mins(5);
    /// Two hours of them.
    pub const MOST: usize = 24;
}

/// Bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// `MemTotal` of /proc/meminfo.
    pub capacity: u64,
    /// Usage of the root cgroup less its inactive file cache.
    pub working_set: u64,
    /// The cgroup file the usage was read from.
    pub source: String,
}

impl Memory {
    /// `memory.available`: capacity less working set.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.capacity.saturating_sub(self.working_set)
    }
}

/// statfs of the file system that holds `path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    pub path: String,
    /// Where it is mounted on the node, if that could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_point: Option<String>,
    /// Bytes: `f_bavail * f_frsize`, what is left to processes without privilege.
    pub available: u64,
    /// Bytes: `f_blocks * f_frsize`.
    pub capacity: u64,
    pub inodes_free: u64,
    /// 0 where the file system does not count inodes (btrfs, some overlays).
    pub inodes: u64,
    /// Device number, to tell whether two paths share a file system.
    pub device: u64,
}

impl Filesystem {
    /// Its name for a person: the mount point, as `df` says, else the path that was measured.
    #[must_use]
    pub fn name(&self) -> &str {
        self.mount_point.as_deref().unwrap_or(&self.path)
    }
}

/// A mount that holds something the kubelet or the runtime writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub mount_point: String,
    /// The paths on it that must be writable.
    pub holds: Vec<String>,
    pub fs_type: String,
    /// The device, or the server with what it exports.
    pub source: String,
    /// The mount's own option `ro`: another mount of the same file system may be writable.
    pub read_only_mount: bool,
    /// The file system's option `ro`, which the kernel also sets by itself after an error (`errors=remount-ro`).
    pub read_only_filesystem: bool,
}

/// Threads against the limit (`pkg/kubelet/stats/pidlimit`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// The lesser of kernel.pid_max and kernel.threads-max.
    pub limit: u64,
    /// Threads that exist: after the slash in /proc/loadavg.
    pub threads: u64,
}

impl Pids {
    #[must_use]
    pub fn available(&self) -> u64 {
        self.limit.saturating_sub(self.threads)
    }
}

/// A signal with its measured value and the capacity that percentages are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    pub name: &'static str,
    pub available: u64,
    pub capacity: u64,
}

impl Signal {
    /// The signal whose threshold decides. Those of containerfs are the kubelet's copies of nodefs' where it shares that file
    /// system, else of imagefs' (`pkg/kubelet/eviction/helpers.go` `UpdateContainerFsThresholds`).
    #[must_use]
    pub fn threshold_name(&self, containers_on_nodefs: bool) -> &'static str {
        match (self.name, containers_on_nodefs) {
            ("containerfs.available", true) => "nodefs.available",
            ("containerfs.available", false) => "imagefs.available",
            ("containerfs.inodesFree", true) => "nodefs.inodesFree",
            ("containerfs.inodesFree", false) => "imagefs.inodesFree",
            (own, _) => own,
        }
    }
}

impl Pressure {
    /// Every signal that could be measured, by the kubelet's names. What has no size has no signal: a file system that counts no
    /// inodes has no inode signal.
    #[must_use]
    pub fn signals(&self) -> Vec<Signal> {
        let mut signals = Vec::new();
        if let Some(memory) = self.memory.known().filter(|memory| memory.capacity > 0) {
            signals.push(Signal { name: "memory.available", available: memory.available(), capacity: memory.capacity });
        }
        for (bytes, inodes) in
            [("nodefs.available", "nodefs.inodesFree"), ("imagefs.available", "imagefs.inodesFree"), ("containerfs.available", "containerfs.inodesFree")]
        {
            let Some(filesystem) = self.filesystem(bytes) else { continue };
            if filesystem.capacity > 0 {
                signals.push(Signal { name: bytes, available: filesystem.available, capacity: filesystem.capacity });
            }
            if filesystem.inodes > 0 {
                signals.push(Signal { name: inodes, available: filesystem.inodes_free, capacity: filesystem.inodes });
            }
        }
        if let Some(pids) = self.pids.known() {
            signals.push(Signal { name: "pid.available", available: pids.available(), capacity: pids.limit });
        }
        signals
    }

    /// The file system a signal is about, if it is about one and could be measured.
    #[must_use]
    pub fn filesystem(&self, signal: &str) -> Option<&Filesystem> {
        match signal.split('.').next()? {
            "nodefs" => self.nodefs.known(),
            "imagefs" => self.imagefs.known(),
            "containerfs" => self.containerfs.as_ref()?.known(),
            _ => None,
        }
    }

    /// Containers write to the kubelet's own file system.
    #[must_use]
    pub fn containers_on_nodefs(&self) -> bool {
        let device = |signal| self.filesystem(signal).map(|filesystem| filesystem.device);
        device("containerfs.available") == device("nodefs.available")
    }

    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        let containerfs = self.containerfs.as_ref().and_then(Observed::blind);
        let kernel = [self.stalls.blind(), self.file_handles.blind(), self.conntrack.blind(), self.ipv4_forwarding.blind()];
        let signals = [self.memory.blind(), self.nodefs.blind(), self.imagefs.blind(), containerfs, self.pids.blind(), self.mounts.blind()];
        signals.into_iter().chain(kernel).flatten().collect()
    }
}
