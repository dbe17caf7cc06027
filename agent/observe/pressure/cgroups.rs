//! Which pods and services hold the memory, and whose processes the OOM killer ended.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;

use super::names::Pods;
use super::{PROC_FILE_LIMIT, field};
use crate::facts::pressure::{Growth, Holder, MemoryHolder, pod_uid};
use crate::observe::host::Host;

/// Between two looks: what grows within hours is seen, and a node of 110 pods costs 10 ms.
const EVERY: Duration = Duration::from_mins(15);
/// Two hours of looks.
const LOOKS: usize = 9;
/// Cgroups looked at, at most.
const MOST: usize = 2000;
/// Told: the largest, and those that grow most.
const LARGEST: usize = 5;
const GROWING: usize = 3;

/// Remembers what each has held.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    looked: Option<Instant>,
    memory: HashMap<String, VecDeque<(Instant, u64)>>,
    told: Vec<MemoryHolder>,
    kills: BTreeMap<String, u64>,
}

/// Where the memory controller's files are, and how they are called.
fn base(v1: bool) -> &'static str {
    if v1 { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" }
}

impl Cgroups {
    /// Those that hold most, or grow most: the largest first. `now` may be later than the last look by less than the interval.
    pub fn memory(&mut self, host: &Host, v1: bool, now: Instant) -> Vec<MemoryHolder> {
        if self.looked.is_none() {
            self.kills = kills(host, v1);
        }
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= EVERY) {
            self.looked = Some(now);
            let pods = Pods::read(host);
            let held: Vec<_> = holders(host, v1).into_iter().filter_map(|cgroup| Some((working_set(host, v1, &cgroup)?, cgroup))).collect();
            self.memory.retain(|cgroup, _| held.iter().any(|(_, other)| other == cgroup));
            let mut all: Vec<_> = held.into_iter().map(|(bytes, cgroup)| self.remember(&pods, cgroup, bytes, now)).collect();
            all.sort_by_key(|holder| std::cmp::Reverse(holder.growth.map_or(0, |growth| growth.bytes)));
            let rest = all.split_off(GROWING.min(all.len()));
            let (mut growing, not): (Vec<_>, Vec<_>) = all.into_iter().partition(|holder| holder.growth.is_some_and(|growth| growth.bytes > 0));
            let mut largest: Vec<_> = rest.into_iter().chain(not).collect();
            largest.sort_by_key(|holder| std::cmp::Reverse(holder.working_set));
            largest.truncate(LARGEST);
            growing.append(&mut largest);
            growing.sort_by_key(|holder| std::cmp::Reverse(holder.working_set));
            self.told = growing;
        }
        self.told.clone()
    }

    fn remember(&mut self, pods: &Pods, cgroup: String, bytes: u64, now: Instant) -> MemoryHolder {
        let holder = pods.holder(&cgroup);
        let series = self.memory.entry(cgroup).or_default();
        let growth = series.front().map(|(then, before)| Growth {
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX).saturating_sub_unsigned(*before),
            inodes: 0,
            seconds: i64::try_from(now.saturating_duration_since(*then).as_secs()).unwrap_or(i64::MAX),
        });
        series.push_back((now, bytes));
        while series.len() > LOOKS {
            series.pop_front();
        }
        MemoryHolder { holder, working_set: bytes, growth }
    }

    /// Whose processes the OOM killer has ended since this was last asked, or since the first look at the memory.
    pub fn killed(&mut self, host: &Host, v1: bool) -> Vec<Holder> {
        let before = std::mem::replace(&mut self.kills, kills(host, v1));
        let pods = Pods::read(host);
        let risen = self.kills.iter().filter(|(cgroup, kills)| **kills > before.get(*cgroup).copied().unwrap_or(0));
        risen.map(|(cgroup, _)| pods.holder(cgroup)).collect()
    }
}

fn working_set(host: &Host, v1: bool, cgroup: &str) -> Option<u64> {
    let (usage, inactive) = if v1 { ("memory.usage_in_bytes", "total_inactive_file") } else { ("memory.current", "inactive_file") };
    let text = |file: &str| host.read_text(&format!("{}{cgroup}/{file}", base(v1)), PROC_FILE_LIMIT).ok();
    let usage: u64 = text(usage)?.trim().parse().ok()?;
    Some(usage.saturating_sub(field(&text("memory.stat")?, inactive).unwrap_or(0)))
}

/// `oom_kill` of each pod and service. In v1 each cgroup counts its own processes only, and a pod's are in its containers'.
fn kills(host: &Host, v1: bool) -> BTreeMap<String, u64> {
    let of = |cgroup: &str| {
        let file = if v1 { "memory.oom_control" } else { "memory.events" };
        host.read_text(&format!("{}{cgroup}/{file}", base(v1)), PROC_FILE_LIMIT).ok().and_then(|text| field(&text, "oom_kill")).unwrap_or(0)
    };
    let with_containers = |cgroup: &str| {
        let inside = if v1 { directories(host, &format!("{}{cgroup}", base(v1))) } else { Vec::new() };
        inside.iter().fold(of(cgroup), |sum, name| sum.saturating_add(of(&format!("{cgroup}/{name}"))))
    };
    holders(host, v1).into_iter().map(|cgroup| (with_containers(&cgroup), cgroup)).map(|(kills, cgroup)| (cgroup, kills)).collect()
}

/// The cgroups of pods and services, below the root.
fn holders(host: &Host, v1: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(cgroup) = open.pop() {
        for name in directories(host, &format!("{}{cgroup}", base(v1))) {
            let path = format!("{cgroup}/{name}");
            let groups = name.strip_suffix(".slice").is_some() || matches!(name.as_str(), "kubepods" | "burstable" | "besteffort");
            if groups && pod_uid(&name).is_none() { open.push(path) } else { found.push(path) }
        }
        if found.len() + open.len() > MOST {
            break;
        }
    }
    found.truncate(MOST);
    found
}

fn directories(host: &Host, path: &str) -> Vec<String> {
    let Ok(fd) = host.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) else { return Vec::new() };
    let Ok(mut directory) = Dir::from_fd(fd) else { return Vec::new() };
    let names = directory.iter().flatten().filter(|entry| entry.file_type() == Some(Type::Directory));
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name != "." && name != "..").take(MOST).collect()
}
