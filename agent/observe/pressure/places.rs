//! Who fills the disk: how much lies in the usual places.
//!
//! A pass runs on a thread of its own, a little at a time, and stops while the disks are what everybody waits for. It never leaves
//! the file system that it began on. What it found is kept until the next pass has found more.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{fstat, fstatat};

use super::POD_LOGS;
use super::mounts::{Line, covering};
use super::names::{Pods, containers, pod_of_logs};
use crate::config;
use crate::facts::Timestamp;
use crate::facts::pressure::{Filesystem, Growth, Place, PlaceKind};
use crate::observe::host::Host;

/// Between two passes while a disk is short or fills up, and otherwise.
const OFTEN: Duration = Duration::from_mins(5);
const SELDOM: Duration = Duration::from_hours(1);
/// Growth is told over so much time at most.
const REMEMBERED: Duration = Duration::from_hours(2);
/// At the beginning of an urgent pass it works without pause, and the look waits for it: somebody may be waiting.
const HURRY: Duration = Duration::from_millis(500);
/// Then so many files at a time, and a pause that is many times longer.
const BURST: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);
/// Files of one place, and of a whole pass; and how long it may take.
const MOST_IN_PLACE: u64 = 300_000;
const MOST: u64 = 600_000;
const LONGEST: Duration = Duration::from_mins(2);
/// Places told.
const TOLD: usize = 12;
/// Directories that fill a disk now and then, beside the kubelet's and the runtime's.
const DIRECTORIES: [(&str, PlaceKind); 6] = [
    ("/var/log/journal", PlaceKind::Journal),
    ("/tmp", PlaceKind::Temporary),
    ("/var/tmp", PlaceKind::Temporary),
    ("/var/lib/systemd/coredump", PlaceKind::CoreDumps),
    ("/var/crash", PlaceKind::CoreDumps),
    ("/var/lib/etcd", PlaceKind::Other),
];
/// A file system whose files are on a server.
const NETWORK: [&str; 12] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "9p", "afs", "beegfs", "gpfs"];

/// Remembers what was found.
#[derive(Debug, Default)]
pub(super) struct Places {
    pass: Option<Pass>,
    begun: Option<(Instant, bool)>,
    /// The passes of the last hours.
    before: VecDeque<(Instant, Sizes)>,
    told: Arc<Vec<Place>>,
}

/// By path, bytes and inodes.
type Sizes = BTreeMap<String, (u64, u64)>;

/// A pass that is under way. Its thread ends when this is dropped.
#[derive(Debug)]
struct Pass {
    progress: Arc<Progress>,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Progress {
    found: Mutex<Vec<Place>>,
    done: AtomicBool,
    /// The disks are what everybody waits for.
    stalled: AtomicBool,
}

/// What decides where a pass goes.
pub(super) struct Wanted<'a> {
    /// The kubelet's, where that file system answers.
    pub root_dir: Option<&'a str>,
    /// Where images are unpacked, where that file system answers.
    pub images: Option<&'a str>,
    pub filesystems: Vec<&'a Filesystem>,
    pub table: &'a [Line],
    /// A disk is short or fills up.
    pub urgent: bool,
    /// All work waits for the disks.
    pub stalled: bool,
}

impl Places {
    /// What was found, and begins a pass when it is time for one.
    pub fn look(&mut self, host: &Host, setting: config::Places, wanted: &Wanted, now: Instant) -> Arc<Vec<Place>> {
        if let Some(pass) = &self.pass {
            pass.progress.stalled.store(wanted.stalled, Ordering::Relaxed);
        }
        let due = self
            .begun
            .is_none_or(|(begun, urgent)| now.saturating_duration_since(begun) >= if wanted.urgent { OFTEN } else { SELDOM } || (wanted.urgent && !urgent));
        if due && self.pass.is_none() && !wanted.stalled && setting != config::Places::None {
            self.begun = Some((now, wanted.urgent));
            self.pass = Pass::start(host, Targets::of(setting, wanted), wanted.urgent, now);
            if wanted.urgent
                && let Some(pass) = &self.pass
            {
                pass.wait(HURRY);
            }
        }
        self.take(now);
        Arc::clone(&self.told)
    }

    /// Takes over what the pass has found so far.
    fn take(&mut self, now: Instant) {
        let Some(pass) = &self.pass else { return };
        let done = pass.progress.done.load(Ordering::Acquire);
        let mut found = pass.progress.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !done && (found.is_empty() || !self.before.is_empty()) {
            return;
        }
        let before = self.before.front().filter(|(then, _)| *then < pass.begun);
        for place in &mut found {
            let known = before.and_then(|(then, sizes)| Some((then, sizes.get(&place.path)?)));
            place.growth = known.filter(|_| !place.partial).map(|(then, (bytes, inodes))| Growth {
                bytes: difference(place.bytes, *bytes),
                inodes: difference(place.inodes, *inodes),
                seconds: i64::try_from(pass.begun.saturating_duration_since(*then).as_secs()).unwrap_or(i64::MAX),
            });
        }
        if done {
            let sizes = found.iter().filter(|place| !place.partial).map(|place| (place.path.clone(), (place.bytes, place.inodes))).collect();
            self.before.push_back((pass.begun, sizes));
            self.before.retain(|(then, _)| now.saturating_duration_since(*then) <= REMEMBERED);
            self.pass = None;
        }
        self.told = Arc::new(worth_telling(found));
    }
}

fn difference(now: u64, before: u64) -> i64 {
    i64::try_from(now).unwrap_or(i64::MAX).saturating_sub_unsigned(before)
}

/// The largest by bytes, by inodes and by growth; the largest first.
fn worth_telling(found: Vec<Place>) -> Vec<Place> {
    let mut keep: HashSet<usize> = HashSet::new();
    let orders: [fn(&Place) -> i64; 4] = [
        |place| i64::try_from(place.bytes).unwrap_or(i64::MAX),
        |place| i64::try_from(place.inodes).unwrap_or(i64::MAX),
        |place| place.growth.map_or(0, |growth| growth.bytes),
        |place| place.growth.map_or(0, |growth| growth.inodes),
    ];
    for order in orders {
        let mut by: Vec<_> = found.iter().enumerate().filter(|(_, place)| order(place) > 0).collect();
        by.sort_by_key(|(_, place)| std::cmp::Reverse(order(place)));
        keep.extend(by.into_iter().take(TOLD / 3).map(|(index, _)| index));
    }
    let mut told: Vec<_> = found.into_iter().enumerate().filter(|(index, _)| keep.contains(index)).map(|(_, place)| place).collect();
    told.sort_by_key(|place| std::cmp::Reverse(place.bytes));
    told
}

/// A directory to be measured, and what it is.
#[derive(Clone, Debug)]
struct Target {
    kind: PlaceKind,
    path: String,
    pod: Option<String>,
    name: Option<String>,
}

/// What a pass measures; whatever asks the disk for it is asked on the pass's own thread.
#[derive(Debug)]
struct Targets {
    root_dir: Option<String>,
    images: Option<String>,
    urgent: bool,
    devices: Vec<u64>,
    mount_points: HashSet<String>,
    /// Where the containers' writable layers are, with where each is mounted.
    layers: Vec<(String, String)>,
}

impl Targets {
    fn of(setting: config::Places, wanted: &Wanted) -> Self {
        let near = |filesystem: &&&Filesystem| {
            let line = covering(wanted.table, &filesystem.path);
            setting == config::Places::All || line.is_none_or(|line| !NETWORK.contains(&line.fs_type.as_str()) && !line.fs_type.starts_with("fuse"))
        };
        Self {
            root_dir: wanted.root_dir.map(str::to_owned),
            images: wanted.images.map(str::to_owned),
            urgent: wanted.urgent,
            devices: wanted.filesystems.iter().filter(near).map(|filesystem| filesystem.device).collect(),
            mount_points: wanted.table.iter().map(|line| line.mount_point.clone()).collect(),
            layers: wanted.table.iter().filter_map(|line| Some((line.upper.clone()?, line.mount_point.clone()))).collect(),
        }
    }

    fn list(&self, host: &Host) -> Vec<Target> {
        let pods = Pods::read(host);
        let mut targets: Vec<_> = DIRECTORIES.iter().map(|(path, kind)| Target { kind: *kind, path: (*path).to_owned(), pod: None, name: None }).collect();
        for directory in names(host, POD_LOGS) {
            let pod = pod_of_logs(&directory).map(|(pod, _)| pod);
            targets.push(Target { kind: PlaceKind::Logs, path: format!("{POD_LOGS}/{directory}"), pod, name: None });
        }
        let pods_dir = self.root_dir.as_ref().map(|root_dir| format!("{root_dir}/pods"));
        for (dir, uid) in pods_dir.iter().flat_map(|dir| names(host, dir).into_iter().map(move |uid| (dir, uid))) {
            let volumes = format!("{dir}/{uid}/volumes/kubernetes.io~empty-dir");
            for volume in names(host, &volumes) {
                let path = format!("{volumes}/{volume}");
                targets.push(Target { kind: PlaceKind::EmptyDir, path, pod: Some(pods.name(&uid)), name: Some(volume) });
            }
        }
        if self.urgent {
            let known = containers(host, self.layers.iter().map(|(path, _)| path.as_str()));
            for (path, mount_point) in &self.layers {
                let container = mount_point.split('/').find_map(|part| known.get(part));
                let (pod, name) = container.cloned().unzip();
                targets.push(Target { kind: PlaceKind::WritableLayer, path: path.clone(), pod, name });
            }
            targets.extend(self.images.clone().map(|path| Target { kind: PlaceKind::Images, path, pod: None, name: None }));
        }
        targets
    }
}

fn names(host: &Host, path: &str) -> Vec<String> {
    host.list(path).ok().flatten().unwrap_or_default()
}

impl Pass {
    /// `None` if no thread can be had.
    fn start(host: &Host, targets: Targets, urgent: bool, now: Instant) -> Option<Self> {
        let progress = Arc::new(Progress::default());
        let (host, shared) = (host.clone(), Arc::downgrade(&progress));
        let work = move || walk(&host, &targets, urgent, &shared);
        thread::Builder::new().name("places".to_owned()).stack_size(1 << 19).spawn(work).ok()?;
        Some(Self { progress, begun: now })
    }

    fn wait(&self, longest: Duration) {
        let start = Instant::now();
        while !self.progress.done.load(Ordering::Acquire) && start.elapsed() < longest {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn walk(host: &Host, targets: &Targets, urgent: bool, progress: &Weak<Progress>) {
    let layers: HashSet<&str> = targets.layers.iter().map(|(path, _)| path.as_str()).collect();
    let mut pace = Pace { progress, began: Instant::now(), hurry: if urgent { HURRY } else { Duration::ZERO }, files: 0 };
    for target in targets.list(host) {
        let walk = Walk { host, targets, layers: &layers, images: target.kind == PlaceKind::Images };
        if let Some(place) = walk.measure(&target, &mut pace)
            && let Some(progress) = progress.upgrade()
        {
            progress.found.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        }
    }
    if let Some(progress) = progress.upgrade() {
        progress.done.store(true, Ordering::Release);
    }
}

/// How fast it goes, and whether on at all.
struct Pace<'a> {
    progress: &'a Weak<Progress>,
    began: Instant,
    hurry: Duration,
    files: u64,
}

impl Pace<'_> {
    /// Counts a file; false: nobody waits for it any more, or it has been enough.
    fn step(&mut self) -> bool {
        self.files += 1;
        if !self.files.is_multiple_of(u64::from(BURST)) {
            return true;
        }
        loop {
            let elapsed = self.began.elapsed();
            if elapsed > LONGEST || self.files > MOST {
                return false;
            }
            let Some(progress) = self.progress.upgrade() else { return false };
            let stalled = progress.stalled.load(Ordering::Relaxed);
            drop(progress);
            if !stalled && elapsed < self.hurry {
                return true;
            }
            thread::sleep(PAUSE);
            if !stalled {
                return true;
            }
        }
    }
}

struct Walk<'a> {
    host: &'a Host,
    targets: &'a Targets,
    layers: &'a HashSet<&'a str>,
    images: bool,
}

impl Walk<'_> {
    /// `None`: it is not there, may not be read, or lies on none of the file systems in question.
    fn measure(&self, target: &Target, pace: &mut Pace) -> Option<Place> {
        // A mount point may hang when it is only asked what it is.
        let device = covering_device(self.host, &target.path)?;
        if !self.targets.devices.contains(&device) {
            return None;
        }
        let (mut bytes, mut inodes, mut partial) = (0_u64, 0_u64, false);
        let mut open = vec![target.path.clone()];
        while let Some(path) = open.pop() {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | if path == target.path { OFlag::empty() } else { OFlag::O_NOFOLLOW };
            let Ok(mut directory) = self.host.open_at(&path, flags).and_then(Dir::from_fd) else { continue };
            let entries: Vec<_> = directory.iter().flatten().map(|entry| (entry.file_name().to_owned(), entry.file_type())).collect();
            for (name, file_type) in entries {
                let text = name.to_string_lossy();
                if text == "." || text == ".." {
                    continue;
                }
                if partial || inodes >= MOST_IN_PLACE || !pace.step() {
                    partial = true;
                    break;
                }
                let is_directory = matches!(file_type, Some(Type::Directory) | None);
                let inner = if is_directory { format!("{path}/{text}") } else { String::new() };
                if is_directory && (self.targets.mount_points.contains(&inner) || (self.images && self.layers.contains(inner.as_str()))) {
                    continue;
                }
                let Ok(stat) = fstatat(&directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
                if stat.st_dev != device {
                    continue;
                }
                bytes = bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512));
                inodes += 1;
                if is_directory && stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR {
                    open.push(inner);
                }
            }
        }
        let Target { kind, path, pod, name } = target.clone();
        Some(Place { kind, pod, name, path, device, bytes, inodes, partial, measured: Timestamp::from(SystemTime::now()), growth: None })
    }
}

fn covering_device(host: &Host, path: &str) -> Option<u64> {
    let fd = host.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY).ok()?;
    fstat(&fd).ok().map(|stat| stat.st_dev)
}
