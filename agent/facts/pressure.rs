use serde::{Deserialize, Serialize};

use super::{Blind, Observed};

/// The kubelet's eviction signals, measured the way the kubelet measures them
/// (`pkg/kubelet/eviction/helpers.go` `makeSignalObservations`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    pub memory: Observed<Memory>,
    pub nodefs: Observed<Filesystem>,
    pub imagefs: Observed<Filesystem>,
    pub pids: Observed<Pids>,
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
    /// Bytes: `f_bavail * f_frsize`, what is left to processes without privilege.
    pub available: u64,
    /// Bytes: `f_blocks * f_frsize`.
    pub capacity: u64,
    pub inodes_free: u64,
    /// 0 where the file system does not count inodes (btrfs, some overlays).
    pub inodes: u64,
    pub read_only: bool,
    /// Device number, to tell whether two paths share a file system.
    pub device: u64,
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

impl Pressure {
    /// Every signal that could be measured, by the kubelet's names. A file system that counts no inodes has no inode signal.
    #[must_use]
    pub fn signals(&self) -> Vec<Signal> {
        let mut signals = Vec::new();
        if let Some(memory) = self.memory.known() {
            signals.push(Signal { name: "memory.available", available: memory.available(), capacity: memory.capacity });
        }
        for (filesystem, bytes, inodes) in [(&self.nodefs, "nodefs.available", "nodefs.inodesFree"), (&self.imagefs, "imagefs.available", "imagefs.inodesFree")]
        {
            let Some(filesystem) = filesystem.known() else { continue };
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

    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        [self.memory.blind(), self.nodefs.blind(), self.imagefs.blind(), self.pids.blind()].into_iter().flatten().collect()
    }
}
