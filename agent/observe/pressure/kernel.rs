//! The kernel's own limits and counters, and how long work waits.

use std::collections::VecDeque;
use std::path::Path;

use super::kept::Kept;
use super::{PROC_FILE_LIMIT, field, not_running, text};
use crate::facts::pressure::{Forwarding, Holder, Memory, Oom, OomSeen, Pids, Stall, Stalls, Usage};
use crate::facts::{Blind, Kubelet, Timestamp};
use crate::observe::host::{Host, ReadError};

/// What is read every time, kept open; and what was found once and does not change while a machine runs.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Bytes: `MemTotal`.
    capacity: Result<u64, Blind>,
    memory: [Kept; 2],
    pid_max: Kept,
    threads_max: Kept,
    loadavg: Kept,
    stalls: [Kept; 3],
    file_nr: Kept,
    vmstat: Kept,
    conntrack: [Kept; 2],
    forwarding: [Kept; 2],
    /// Whether the files below /sys/fs/cgroup are those of the node's root cgroup.
    root_cgroup: Result<(), Blind>,
    /// Whether what /proc/sys/net tells is the node's.
    network: Result<Families, Blind>,
    /// Whether kernel.pid_max is the node's.
    pid_namespace: Result<(), Blind>,
    oom: Option<u64>,
    oom_seen: VecDeque<OomSeen>,
}

/// What addresses the node has.
#[derive(Clone, Copy, Debug)]
struct Families {
    ipv4: bool,
    ipv6: bool,
}

const V1_USAGE: &str = "/sys/fs/cgroup/memory/memory.usage_in_bytes";
const V1_STAT: &str = "/sys/fs/cgroup/memory/memory.stat";
const V2_STAT: &str = "/sys/fs/cgroup/memory.stat";

impl Kernel {
    /// Looks at what does not change; the files are opened when they are read first.
    pub fn new(host: &Host) -> Self {
        let v1 = host.exists(V1_USAGE).unwrap_or(false);
        Self {
            capacity: not_running(host).and_then(|()| capacity(host)),
            memory: if v1 { [Kept::new(V1_USAGE), Kept::new(V1_STAT)] } else { [Kept::new(V2_STAT), Kept::new(V2_STAT)] },
            pid_max: Kept::new("/proc/sys/kernel/pid_max"),
            threads_max: Kept::new("/proc/sys/kernel/threads-max"),
            loadavg: Kept::new("/proc/loadavg"),
            stalls: ["/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"].map(Kept::new),
            file_nr: Kept::new("/proc/sys/fs/file-nr"),
            vmstat: Kept::new("/proc/vmstat"),
            conntrack: ["/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max"].map(Kept::new),
            forwarding: ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"].map(Kept::new),
            root_cgroup: not_running(host).and_then(|()| root_cgroup(host, v1)),
            network: not_running(host).and_then(|()| own_network(host)),
            pid_namespace: not_running(host).and_then(|()| own_pid_namespace(host)),
            oom: None,
            oom_seen: VecDeque::new(),
        }
    }

    /// capacity − (usage − inactive file cache) of the root cgroup (cadvisor `setMemoryStats`; opencontainers/cgroups `rootStatsFromMeminfo`).
    pub fn memory(&mut self, host: &Host) -> Result<Memory, Blind> {
        self.root_cgroup.clone()?;
        let capacity = self.capacity.clone()?;
        let [usage, stat] = &mut self.memory;
        let source = usage.path();
        let first = read(usage, host)?;
        let (usage, inactive) = if source == V1_USAGE {
            let usage = first.trim().parse().map_err(|_| Blind::new(format!("{source} holds no number")))?;
            (usage, field(&read(stat, host)?, "total_inactive_file"))
        } else {
            let sum = field(&first, "anon").zip(field(&first, "file")).map(|(anon, file)| anon.saturating_add(file));
            (sum.ok_or_else(|| Blind::new(format!("{source} has no anon and file")))?, field(&first, "inactive_file"))
        };
        Ok(Memory { capacity, working_set: usage.saturating_sub(inactive.unwrap_or(0)), source: source.to_owned() })
    }

    /// As `pkg/kubelet/stats/pidlimit/pidlimit_linux.go`.
    pub fn pids(&mut self, host: &Host, kubelet: &Kubelet) -> Result<Pids, Blind> {
        not_running(host)?;
        if kubelet.eviction_threshold("pid.available").is_some() {
            self.pid_namespace.clone()?;
        }
        let limit = needed(&mut self.pid_max, host)?.min(needed(&mut self.threads_max, host)?);
        let loadavg = read(&mut self.loadavg, host)?;
        let threads = loadavg.split_whitespace().nth(3).and_then(|tasks| tasks.split_once('/')?.1.parse().ok());
        Ok(Pids { limit, threads: threads.ok_or_else(|| Blind::new("/proc/loadavg has no count of threads"))? })
    }

    /// `/proc/pressure/{cpu,memory,io}`; a kernel without PSI, or started with `psi=0`, has none of them.
    pub fn stalls(&mut self, host: &Host) -> Result<Stalls, Blind> {
        not_running(host)?;
        let [cpu, memory, io] = &mut self.stalls;
        Ok(Stalls { cpu: stall(cpu, host)?, memory: stall(memory, host)?, io: stall(io, host)? })
    }

    /// `/proc/sys/fs/file-nr`: allocated, free (always 0 since Linux 2.6), at most (Documentation/admin-guide/sysctl/fs.rst).
    pub fn file_handles(&mut self, host: &Host) -> Result<Usage, Blind> {
        not_running(host)?;
        let numbers: Vec<u64> = read(&mut self.file_nr, host)?.split_whitespace().map_while(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [used, _, most, ..] => Ok(Usage { used: *used, most: *most }),
            _ => Err(Blind::new(format!("{} has no three numbers", self.file_nr.path()))),
        }
    }

    /// Entries of the connection table. Each network namespace has its own; the node's counts.
    pub fn conntrack(&mut self, host: &Host) -> Result<Option<Usage>, Blind> {
        self.network.as_ref().map_err(Clone::clone)?;
        let [used, most] = &mut self.conntrack;
        Ok(number(used, host)?.zip(number(most, host)?).map(|(used, most)| Usage { used, most }))
    }

    pub fn ipv4_forwarding(&mut self, host: &Host) -> Result<Forwarding, Blind> {
        let families = self.network.clone()?;
        forwarding(&mut self.forwarding[0], host, families.ipv4)
    }

    pub fn ipv6_forwarding(&mut self, host: &Host) -> Result<Forwarding, Blind> {
        let families = self.network.clone()?;
        forwarding(&mut self.forwarding[1], host, families.ipv6)
    }

    /// The OOM killer's count; if it has risen, `of` says whose processes were killed.
    pub fn oom(&mut self, host: &Host, clock: Timestamp, of: impl FnOnce() -> Vec<Holder>) -> Result<Oom, Blind> {
        not_running(host)?;
        let kills = field(&read(&mut self.vmstat, host)?, "oom_kill").ok_or_else(|| Blind::new("/proc/vmstat has no oom_kill (Linux before 4.13)"))?;
        let rise = kills.saturating_sub(self.oom.replace(kills).unwrap_or(kills));
        if rise > 0 {
            self.oom_seen.push_back(OomSeen { at: clock, kills: rise, of: of() });
            while self.oom_seen.len() > Oom::MOST {
                self.oom_seen.pop_front();
            }
        }
        Ok(Oom { kills, seen: self.oom_seen.iter().cloned().collect() })
    }

    /// The memory controller is cgroup v1's.
    pub fn v1(&self) -> bool {
        self.memory.first().is_some_and(|kept| kept.path() == V1_USAGE)
    }

    pub fn sees_root_cgroup(&self) -> bool {
        self.root_cgroup.is_ok()
    }

    /// Takes over what `older` has counted.
    pub fn after(mut self, older: Self) -> Self {
        (self.oom, self.oom_seen) = (older.oom, older.oom_seen);
        self
    }
}

fn read(kept: &mut Kept, host: &Host) -> Result<String, Blind> {
    let path = kept.path();
    kept.text(host, PROC_FILE_LIMIT).map_err(|error| Blind::new(format!("{path}: {error}")).grant("mount the node's /proc and /sys below the root"))
}

fn number(kept: &mut Kept, host: &Host) -> Result<Option<u64>, Blind> {
    let path = kept.path();
    match kept.text(host, PROC_FILE_LIMIT) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| Blind::new(format!("{path} holds no number"))),
        Err(ReadError::Missing) => Ok(None),
        Err(error) => Err(Blind::new(format!("{path}: {error}"))),
    }
}

fn needed(kept: &mut Kept, host: &Host) -> Result<u64, Blind> {
    let path = kept.path();
    number(kept, host)?.ok_or_else(|| Blind::new(format!("{path} does not exist")))
}

fn forwarding(kept: &mut Kept, host: &Host, used: bool) -> Result<Forwarding, Blind> {
    if !used {
        return Ok(Forwarding::Unused);
    }
    needed(kept, host).map(|number| if number == 0 { Forwarding::Disabled } else { Forwarding::Enabled })
}

fn stall(kept: &mut Kept, host: &Host) -> Result<Option<Stall>, Blind> {
    let text = match kept.text(host, PROC_FILE_LIMIT) {
        Ok(text) => text,
        Err(ReadError::Blind(blind)) => return Err(blind),
        Err(_) => return Ok(None),
    };
    let value = |line: &str, key: &str| {
        let line = text.lines().find_map(|text| text.strip_prefix(line))?;
        line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
    };
    let of = |line, key| value(line, key).unwrap_or_default();
    Ok(Some(Stall { some_avg10: of("some", "avg10"), some_avg60: of("some", "avg60"), full_avg10: of("full", "avg10"), full_avg60: of("full", "avg60") }))
}

fn capacity(host: &Host) -> Result<u64, Blind> {
    let meminfo = text(host, "/proc/meminfo")?;
    field(&meminfo, "MemTotal:").map(|kilobytes| kilobytes.saturating_mul(1024)).ok_or_else(|| Blind::new("/proc/meminfo has no MemTotal"))
}

/// A container's own cgroup would pass for an almost idle node. The kernel shows release_agent in a v1 hierarchy's root only
/// (cgroup-v1.c `CFTYPE_ONLY_ON_ROOT`), and cgroup.type everywhere but in v2's (cgroup.c `CFTYPE_NOT_ON_ROOT`), also when a cgroup
/// namespace calls it the root.
fn root_cgroup(host: &Host, v1: bool) -> Result<(), Blind> {
    let is_root = if v1 { host.exists("/sys/fs/cgroup/memory/release_agent")? } else { !host.exists("/sys/fs/cgroup/cgroup.type")? };
    if is_root {
        return Ok(());
    }
    Err(Blind::new("/sys/fs/cgroup is not the node's root cgroup but that of a container").grant("mount the node's /sys/fs/cgroup below the root"))
}

/// /proc/sys/net is that of the reader's network namespace, whichever /proc it is read through. Of the first process only
/// its interfaces can be read without privilege: ours are its own, or we are somewhere else.
fn own_network(host: &Host) -> Result<Families, Blind> {
    let ours = Host::open(Path::new("/")).map_err(|error| Blind::new(format!("our own root: {error}")))?;
    if interfaces(&text(host, "/proc/1/net/dev")?) != interfaces(&text(&ours, "/proc/self/net/dev")?) {
        return Err(Blind::new("the network seen from here is that of a container, not the node's").grant("hostNetwork: true"));
    }
    // A line for each route, below a heading; those of loopback are not in it. Of IPv6, those of the interface lo are.
    let ipv4 = ours.read_text("/proc/self/net/route", PROC_FILE_LIMIT).map_or(0, |routes| routes.lines().count()) > 1;
    let ipv6 = ours.read_text("/proc/self/net/ipv6_route", PROC_FILE_LIMIT).is_ok_and(|routes| routes.lines().any(leads_out));
    // A node that has neither has lost its network: then it is judged as most are.
    Ok(Families { ipv4: ipv4 || !ipv6, ipv6 })
}

/// A route of /proc/net/ipv6_route that is no interface's own link-local one (fe80::) nor multicast (ff00::) nor loopback.
fn leads_out(route: &str) -> bool {
    !route.starts_with("fe80") && !route.starts_with("ff") && route.split_whitespace().last().is_some_and(|interface| interface != "lo")
}

/// The names in /proc/PID/net/dev, sorted.
fn interfaces(table: &str) -> Vec<&str> {
    let mut names: Vec<_> = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    names.sort_unstable();
    names
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

#[cfg(test)]
mod tests {
    use super::leads_out;

    #[test]
    fn a_link_local_address_is_no_ipv6_network() {
        let line = |destination: &str, interface: &str| format!("{destination} 40 {0} 00 {0} 00000100 00000001 00000000 00000001 {interface}", "0".repeat(32));
        for (destination, interface, out) in [
            ("fe800000000000000000000000000000", "eth0", false),
            ("ff000000000000000000000000000000", "eth0", false),
            ("00000000000000000000000000000001", "lo", false),
            ("20010db8000000000000000000000000", "eth0", true),
            ("00000000000000000000000000000000", "eth0", true),
        ] {
            assert_eq!(leads_out(&line(destination, interface)), out, "{destination} {interface}");
        }
        assert!(!leads_out(""));
    }
}
