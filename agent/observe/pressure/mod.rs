//! The kubelet's eviction signals, from the same kernel files the kubelet reads, and who fills what they are about.

mod cgroups;
mod crossed;
mod filesystems;
mod history;
mod kept;
mod kernel;
mod mounts;
mod names;
mod past;
mod places;
mod processes;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::host::Host;
use super::runtime;
use crate::config;
use crate::facts::pressure::{Signal, Stalls};
use crate::facts::units::EMBEDDED;
use crate::facts::{Blind, Kubelet, Observed, Pressure, Runtime, Timestamp, Units};
use cgroups::Cgroups;
use crossed::Thresholds;
use filesystems::{Filesystems, Measured};
use history::History;
use kernel::Kernel;
use mounts::Mounts;
pub use past::Past;
use places::{Places, Wanted};
use processes::Processes;
pub use watch::watch;

const PROC_FILE_LIMIT: u64 = 1 << 20;
/// Where the kubelet keeps container logs (`pkg/kubelet/apis/config/v1beta1/defaults.go` `DefaultPodLogsDir`).
const POD_LOGS: &str = "/var/log/pods";
/// What changes rarely is read so often: the runtime's configuration, whose namespaces these are, files opened anew.
const SLOWLY: Duration = Duration::from_mins(5);
/// Percent of ten seconds in which all work waited for the disks, from which nobody else is to use them.
const STALLED: f32 = 20.0;

/// What is remembered from one measurement to the next.
#[derive(Debug, Default)]
pub struct Probe {
    settings: config::Pressure,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slow: Option<Slow>,
    kernel: Option<Kernel>,
    mounts: Mounts,
    filesystems: Filesystems,
    /// Whether each file system was read-only, as seen from here.
    read_only: Vec<Option<bool>>,
    /// When the last measurement was made.
    measured: Option<(Instant, SystemTime)>,
    history: History,
    thresholds: Thresholds,
    processes: Processes,
    cgroups: Cgroups,
    places: Places,
}

/// What is read rarely, when, and for which kubelet.
#[derive(Debug)]
struct Slow {
    read: Instant,
    root_dir: String,
    endpoint: Option<String>,
    /// What the runtime itself says (CRI ImageFsInfo).
    told: Option<(Vec<String>, Vec<String>)>,
    images: Vec<String>,
    containers: Option<String>,
}

impl Probe {
    #[must_use]
    pub fn new(settings: config::Pressure) -> Self {
        Self { settings, state: Mutex::default() }
    }

    /// Goes on with what another process of this boot has left.
    #[must_use]
    pub fn resume(settings: config::Pressure, past: &Past) -> Self {
        let (now, clock) = (Instant::now(), SystemTime::now());
        if !past.is_of(clock) {
            return Self::new(settings);
        }
        let history = History::resume(&past.points, &past.hours, past.in_hour, clock);
        let thresholds = Thresholds::resume(&past.crossed, past.kubelet_since, now, Timestamp::from(clock));
        Self { settings, state: Mutex::new(State { history, thresholds, ..State::default() }) }
    }

    /// What to leave to the next process.
    #[must_use]
    pub fn past(&self) -> Past {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, clock) = state.measured.unwrap_or_else(|| (Instant::now(), SystemTime::now()));
        let at = Timestamp::from(clock);
        let ((points, hours), (crossed, kubelet_since)) = (state.history.told(), state.thresholds.keep(now, at));
        Past { at, booted: past::booted(clock), points, hours, in_hour: state.history.in_hour(), kubelet_since, crossed }
    }
}

/// Measures every signal. The file systems are those of the kubelet's root directory and of the runtime's: as it tells them itself
/// (CRI ImageFsInfo, which is what the kubelet asks), else as its configuration does.
/// Blocks for at most 2 s, once, when a file system stops answering; what hangs is kept track of in `probe`.
#[must_use]
pub fn observe(host: &Host, kubelet: &Kubelet, units: &Observed<Units>, runtime: Option<&Runtime>, probe: &Probe) -> Pressure {
    let mut state = probe.state.lock().unwrap_or_else(PoisonError::into_inner);
    let (now, clock) = (Instant::now(), SystemTime::now());
    state.read_slowly(host, kubelet, units, runtime, now);
    let mut pressure = state.signals(host, kubelet, clock);
    state.history.take(&pressure.signals(), now, clock);
    (pressure.history, pressure.hours) = state.history.told();
    state.measured = Some((now, clock));
    state.thresholds.kubelet_runs_since(kubelet_since(units));
    pressure.crossed = state.thresholds.take(&pressure, kubelet, now, Timestamp::from(clock));
    if host.is_live() {
        state.look_for_culprits(host, kubelet, &probe.settings, &mut pressure, now);
    }
    pressure
}

impl State {
    fn read_slowly(&mut self, host: &Host, kubelet: &Kubelet, units: &Observed<Units>, runtime: Option<&Runtime>, now: Instant) {
        let endpoint = kubelet.container_runtime_endpoint.as_ref().map(|endpoint| endpoint.value.clone());
        let told = runtime.and_then(Runtime::answer).filter(|answer| !answer.image_filesystems.is_empty());
        let told = told.map(|answer| (answer.image_filesystems.clone(), answer.container_filesystems.clone()));
        // A runtime that does not answer for a moment has not moved its images.
        let told = told.or_else(|| self.slow.as_ref()?.told.clone());
        let same = |slow: &Slow| slow.root_dir == kubelet.root_dir.value && slow.endpoint == endpoint && slow.told == told;
        if self.slow.as_ref().is_some_and(|slow| same(slow) && now.saturating_duration_since(slow.read) < SLOWLY) {
            return;
        }
        let runtime::Runtime { image_dirs, container_dir, .. } = runtime::observe(host, Some(kubelet), units);
        let configured: Vec<_> = image_dirs.into_iter().map(|dir| dir.value).collect();
        let (images, containers) = match &told {
            Some((images, containers)) => {
                let apart = containers.first().filter(|dir| !images.contains(dir)).cloned();
                (images.iter().take(1).cloned().chain(configured).collect(), apart)
            }
            None => (configured, container_dir.map(|dir| dir.value)),
        };
        let kernel = Kernel::new(host);
        self.kernel = Some(match self.kernel.take() {
            Some(older) => kernel.after(older),
            None => kernel,
        });
        self.mounts = Mounts::default();
        self.slow = Some(Slow { read: now, root_dir: kubelet.root_dir.value.clone(), endpoint, told, images, containers });
    }

    fn signals(&mut self, host: &Host, kubelet: &Kubelet, clock: SystemTime) -> Pressure {
        let table = not_running(host).and_then(|()| self.mounts.read(host));
        let known = table.as_deref().map(Vec::as_slice).unwrap_or_default();
        let (images, containers) = self.slow.as_ref().map(|slow| (slow.images.clone(), slow.containers.clone())).unwrap_or_default();
        let split = containers.is_some();
        let measured = self.filesystems.measure(host, known, &[vec![kubelet.root_dir.value.clone()], images, containers.into_iter().collect()]);
        // Made read-only by the kernel after an error, which is no event: the table is read again.
        let read_only: Vec<_> = measured.iter().map(|answer| answer.as_ref().ok().map(|measured| measured.read_only)).collect();
        let table = if read_only == std::mem::replace(&mut self.read_only, read_only.clone()) {
            table
        } else {
            self.mounts.forget();
            not_running(host).and_then(|()| self.mounts.read(host))
        };
        let written = measured.iter().flatten().map(|Measured { filesystem, .. }| (filesystem.path.as_str(), Some(filesystem.device)));
        let written: Vec<_> = written.chain([(POD_LOGS, None)]).collect();
        let mounts = table.as_ref().map(|table| mounts::holding(table, &written)).map_err(Clone::clone).into();
        let [nodefs, imagefs, containerfs] = measured.map(|answer| answer.map(|measured| measured.filesystem));
        let kernel = self.kernel.get_or_insert_with(|| Kernel::new(host));
        let v1 = kernel.v1();
        let pids = kernel.pids(host, kubelet);
        let processes = match &pids {
            Ok(pids) => self.processes.look(host, pids.threads, Instant::now()),
            // The number of threads only tells when to look.
            Err(_) => self.processes.look(host, 0, Instant::now()),
        };
        let (zombies, inotify) = processes.map_or_else(|blind| (Err(blind), None), |(zombies, inotify)| (Ok(zombies), inotify));
        let cgroups = &mut self.cgroups;
        let oom = kernel.oom(host, Timestamp::from(clock), || cgroups.killed(host, v1));
        Pressure {
            memory: kernel.memory(host).into(),
            mounts,
            nodefs: nodefs.into(),
            imagefs: imagefs.into(),
            containerfs: split.then(|| containerfs.into()),
            pids: pids.into(),
            stalls: kernel.stalls(host).into(),
            file_handles: kernel.file_handles(host).into(),
            conntrack: kernel.conntrack(host).into(),
            ipv4_forwarding: kernel.ipv4_forwarding(host).into(),
            ipv6_forwarding: kernel.ipv6_forwarding(host).into(),
            oom: oom.into(),
            zombies: zombies.into(),
            inotify,
            memory_holders: Vec::new(),
            places: Arc::default(),
            crossed: Vec::new(),
            history: Arc::default(),
            hours: Arc::default(),
        }
    }

    fn look_for_culprits(&mut self, host: &Host, kubelet: &Kubelet, settings: &config::Pressure, pressure: &mut Pressure, now: Instant) {
        let kernel = self.kernel.get_or_insert_with(|| Kernel::new(host));
        if kernel.sees_root_cgroup() {
            pressure.memory_holders = self.cgroups.memory(host, kernel.v1(), now);
        }
        let Ok(table) = self.mounts.read(host) else { return };
        let filesystems = [pressure.nodefs.known(), pressure.imagefs.known(), pressure.containerfs.as_ref().and_then(Observed::known)];
        let wanted = Wanted {
            root_dir: pressure.nodefs.known().map(|_| kubelet.root_dir.value.as_str()),
            images: pressure.imagefs.known().map(|imagefs| imagefs.path.as_str()),
            filesystems: filesystems.into_iter().flatten().collect(),
            table: &table,
            urgent: pressure.signals().iter().any(|signal| is_urgent(signal, pressure, kubelet)),
            stalled: pressure.stalls.known().is_some_and(are_disks_stalled),
        };
        let places = self.places.look(host, settings.places, &wanted, now);
        pressure.places = places;
    }
}

/// When the unit was last started that the kubelet is, or is a part of.
fn kubelet_since(units: &Observed<Units>) -> Option<Timestamp> {
    let units = units.known()?.units.iter().filter(|unit| unit.name == "kubelet.service" || EMBEDDED.contains(&unit.name.as_str()));
    units.filter_map(|unit| unit.active.as_ref()?.active_enter).max()
}

/// All work waits for the disks.
fn are_disks_stalled(stalls: &Stalls) -> bool {
    stalls.io.is_some_and(|io| io.full_avg10 >= STALLED)
}

/// A disk is under twice its threshold, or has lost a hundredth of its size in the last points.
fn is_urgent(signal: &Signal, pressure: &Pressure, kubelet: &Kubelet) -> bool {
    if !signal.name.contains("fs.") {
        return false;
    }
    let limit = pressure.hard(signal, kubelet).map_or(signal.capacity / 20, |(_, limit)| limit);
    let soft = pressure.soft(signal, kubelet).map_or(0, |(_, limit)| limit);
    let before = pressure.history.iter().rev().take(6).filter_map(|point| point.available.get(signal.name)).max();
    let lost = before.map_or(0, |before| before.saturating_sub(signal.available));
    signal.available < limit.max(soft).saturating_mul(2).min(limit.max(soft).saturating_add(signal.capacity / 20)) || lost > signal.capacity / 100
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

/// The number after `name` on the line that begins with it.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}
