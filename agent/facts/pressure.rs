use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kubelet::EvictionThreshold;
use super::{Blind, Kubelet, Observed, Timestamp};

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
    /// net.ipv4.ip_forward.
    #[serde(default = "not_measured")]
    pub ipv4_forwarding: Observed<Forwarding>,
    /// net.ipv6.conf.all.forwarding.
    #[serde(default = "not_measured")]
    pub ipv6_forwarding: Observed<Forwarding>,
    /// How many processes the kernel's OOM killer has ended.
    #[serde(default = "not_measured")]
    pub oom: Observed<Oom>,
    /// Processes that have ended and that nobody waits for.
    #[serde(default = "not_measured")]
    pub zombies: Observed<Zombies>,
    /// The user who holds most of its inotify instances or watches; `None` where processes' descriptors may not be seen. That an
    /// inotify call has failed is then told by the program that needed it, in its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inotify: Option<Inotify>,
    /// Pods and services that hold most memory, or whose memory grows most: the largest first. Empty where cgroups cannot be seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_holders: Vec<MemoryHolder>,
    /// What lies in the places that usually fill a disk, the largest first, as far as it was measured and may be read.
    #[serde(default, skip_serializing_if = "is_empty", with = "shared")]
    pub places: Arc<Vec<Place>>,
    /// The thresholds that were crossed lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crossed: Vec<Crossed>,
    /// What the signals have been, oldest first: a point for each [`Point::SPAN`], at most [`Point::MOST`]. Empty at a first look.
    #[serde(default, skip_serializing_if = "is_empty", with = "shared")]
    pub history: Arc<Vec<Point>>,
    /// The least that was available in each of the hours before, oldest first, at most [`Point::MOST_HOURS`].
    #[serde(default, skip_serializing_if = "is_empty", with = "shared")]
    pub hours: Arc<Vec<Point>>,
}

/// What changes rarely and is copied often.
pub(crate) mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(list: &Arc<Vec<T>>, serializer: S) -> Result<S::Ok, S::Error> {
        list.as_slice().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Vec<T>>, D::Error> {
        Vec::deserialize(deserializer).map(Arc::new)
    }
}

fn is_empty<T>(list: &Arc<Vec<T>>) -> bool {
    list.is_empty()
}

/// Whether what arrives for another address is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    Enabled,
    Disabled,
    /// The node has no such addresses.
    Unused,
}

/// `/proc/vmstat` `oom_kill`, and when it rose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oom {
    /// Since the machine was started.
    pub kills: u64,
    /// The rises that were seen, oldest first, at most [`Oom::MOST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<OomSeen>,
}

impl Oom {
    pub const MOST: usize = 32;
}

/// Processes were killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomSeen {
    /// Between this look and the one before.
    pub at: Timestamp,
    pub kills: u64,
    /// The pods and services whose own count (`oom_kill` of memory.events or memory.oom_control) rose meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<Holder>,
}

/// A pod or a service, by its cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `/kubepods.slice/kubepods-pod1234.slice`.
    pub cgroup: String,
    /// `namespace/name` of the pod, where its log directory tells it; else the last part of the cgroup.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
}

/// The pod of a part of a cgroup's path: `kubepods-burstable-pod0330b2c1_a15b_….slice`, or `pod0330b2c1-a15b-…` with the cgroupfs driver.
#[must_use]
pub fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let (before, uid) = name.rsplit_once("pod")?;
    let is_uid = uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_' || b == b'-');
    ((before.is_empty() || before.starts_with("kubepods")) && is_uid).then(|| uid.replace('_', "-"))
}

/// What a pod or a service holds of the memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryHolder {
    #[serde(flatten)]
    pub holder: Holder,
    /// Bytes: its usage less its inactive file cache.
    pub working_set: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
}

/// Processes that have ended and whose parent has not asked how (state Z).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zombies {
    pub count: u64,
    /// Those that should have asked, most children first: at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<ZombieParent>,
}

/// A process that does not wait for its children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZombieParent {
    pub pid: u32,
    /// Its `comm`.
    pub program: String,
    pub zombies: u64,
}

/// What one user holds of inotify (inotify(7)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inotify {
    pub uid: u32,
    /// Against fs.inotify.max_user_instances.
    pub instances: Usage,
    /// Against fs.inotify.max_user_watches.
    pub watches: Usage,
    /// The programs that hold most instances, with how many: at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<(String, u64)>,
}

/// What something has grown by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    pub bytes: i64,
    #[serde(default)]
    pub inodes: i64,
    /// The time in which it did, in seconds.
    pub seconds: i64,
}

/// A place that usually fills a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub kind: PlaceKind,
    /// `namespace/name`, or the pod's uid where its log directory does not tell the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The volume or the container, where it is one of the pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub path: String,
    /// Device number of the file system it is on.
    pub device: u64,
    /// On the disk; of a sparse file only what is there.
    pub bytes: u64,
    pub inodes: u64,
    /// There is more: the look ended at its limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    pub measured: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
}

/// What a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceKind {
    /// A pod's container logs.
    Logs,
    EmptyDir,
    /// What a container has written into its image.
    WritableLayer,
    Images,
    Journal,
    CoreDumps,
    /// /tmp and its like.
    Temporary,
    /// Another directory, told by its path.
    Other,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pod, name) = (self.pod.as_deref().unwrap_or("a pod"), self.name.as_deref().unwrap_or_default());
        match self.kind {
            PlaceKind::Logs => write!(f, "logs of {pod}"),
            PlaceKind::EmptyDir => write!(f, "emptyDir {name} of {pod}"),
            PlaceKind::WritableLayer if name.is_empty() => write!(f, "what a container has written into its image"),
            PlaceKind::WritableLayer => write!(f, "what container {name} of {pod} has written into its image"),
            PlaceKind::Images => f.write_str("images"),
            PlaceKind::Journal => f.write_str("the journal's files"),
            PlaceKind::CoreDumps => f.write_str("core dumps"),
            PlaceKind::Temporary => f.write_str("temporary files"),
            PlaceKind::Other => f.write_str("files"),
        }
    }
}

/// A threshold of the kubelet's that was crossed within its transition period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossed {
    pub signal: String,
    /// When it was last seen so.
    pub last: Timestamp,
    /// It is available again by less than evictionMinimumReclaim asks for: to the kubelet the threshold is still crossed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reclaiming: bool,
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
    /// Three days, so that what comes and goes once a day has been seen twice.
    pub const MOST_HOURS: usize = 72;
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

    /// The hard threshold that decides over a signal, and from where on it is crossed, in the signal's unit.
    #[must_use]
    pub fn hard<'a>(&self, signal: &Signal, kubelet: &'a Kubelet) -> Option<(&'a EvictionThreshold, u64)> {
        let threshold = kubelet.eviction_threshold(signal.threshold_name(self.containers_on_nodefs()))?;
        Some((threshold, threshold.value.of(signal.capacity)))
    }

    /// As [`Self::hard`], of the soft one.
    #[must_use]
    pub fn soft<'a>(&self, signal: &Signal, kubelet: &'a Kubelet) -> Option<(&'a EvictionThreshold, u64)> {
        let name = signal.threshold_name(self.containers_on_nodefs());
        let threshold = kubelet.eviction_soft.iter().find(|threshold| threshold.signal == name)?;
        Some((threshold, threshold.value.of(signal.capacity)))
    }

    /// How much must be available beyond the threshold before the kubelet stops (`evictionMinimumReclaim`), in the signal's unit.
    #[must_use]
    pub fn minimum_reclaim<'a>(&self, signal: &Signal, kubelet: &'a Kubelet) -> Option<(&'a EvictionThreshold, u64)> {
        let name = signal.threshold_name(self.containers_on_nodefs());
        let reclaim = kubelet.eviction_minimum_reclaim.iter().find(|reclaim| reclaim.signal == name)?;
        Some((reclaim, reclaim.value.of(signal.capacity)))
    }

    /// Whether the kubelet still acts although the threshold itself is not crossed any more.
    #[must_use]
    pub fn is_reclaiming(&self, signal: &str) -> bool {
        self.crossed.iter().any(|crossed| crossed.signal == signal && crossed.reclaiming)
    }

    /// The places on that file system, by what they hold of its `inodes` or its bytes.
    #[must_use]
    pub fn places_on(&self, device: u64, inodes: bool) -> Vec<&Place> {
        let mut places: Vec<_> = self.places.iter().filter(|place| place.device == device).collect();
        places.sort_by_key(|place| std::cmp::Reverse(if inodes { place.inodes } else { place.bytes }));
        places
    }

    /// Containers write to the kubelet's own file system.
    #[must_use]
    pub fn containers_on_nodefs(&self) -> bool {
        let device = |signal| self.filesystem(signal).map(|filesystem| filesystem.device);
        device("containerfs.available") == device("nodefs.available")
    }

    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        let containerfs = self.containerfs.as_ref().and_then(Observed::blind);
        let network = [self.conntrack.blind(), self.ipv4_forwarding.blind(), self.ipv6_forwarding.blind()];
        let kernel = [self.stalls.blind(), self.file_handles.blind(), self.oom.blind(), self.zombies.blind()];
        let signals = [self.memory.blind(), self.nodefs.blind(), self.imagefs.blind(), containerfs, self.pids.blind(), self.mounts.blind()];
        signals.into_iter().chain(kernel).chain(network).flatten().collect()
    }
}
