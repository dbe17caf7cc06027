//! The log lines that checks declare ([`Signal`]), compiled once for all of them.

use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::finding::{LogSource, Signal};

/// All patterns of one source, in one automaton.
#[derive(Debug)]
pub struct Set {
    source: LogSource,
    patterns: RegexSet,
    /// By pattern: the code of the check that declared it.
    codes: Vec<&'static str>,
}

/// Every check's signals, by who writes the lines.
#[derive(Debug)]
pub struct Signals {
    sets: Vec<Set>,
}

impl Signals {
    /// Compiles what the checks declare. Patterns that are no regular expressions match nothing; a test finds them.
    #[must_use]
    pub fn new(declared: &[(&'static str, &'static Signal)]) -> Self {
        let mut sources: Vec<LogSource> = Vec::new();
        for (_, signal) in declared {
            if !sources.contains(&signal.from) {
                sources.push(signal.from);
            }
        }
        let of = |source: LogSource| {
            let of_source = declared.iter().filter(|(_, signal)| signal.from == source);
            let (codes, patterns): (Vec<_>, Vec<_>) = of_source.map(|(code, signal)| (*code, signal.pattern)).unzip();
            Set { source, patterns: compile(&patterns).unwrap_or_default(), codes }
        };
        Self { sets: sources.into_iter().map(of).collect() }
    }

    /// Lets go of what the automata have kept of the lines they saw: up to 2 MB each, and made again as it is needed.
    pub fn rest(&mut self) {
        for set in &mut self.sets {
            // The patterns are shared by the copy, what is kept is not.
            set.patterns = set.patterns.clone();
        }
    }

    /// The signals in the kernel's lines.
    #[must_use]
    pub fn kernel(&self) -> Option<&Set> {
        self.sets.iter().find(|set| set.source == LogSource::Kernel)
    }

    /// The signals in the lines of that unit, or of the container of that name: no unit's name is without a dot.
    #[must_use]
    pub fn unit(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| matches!(set.source, LogSource::Unit(source) | LogSource::Container(source) if source == name))
    }
}

/// Of bytes: what a line holds need not be UTF-8, and `\d` means a digit of klog.
fn compile(patterns: &[&str]) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(patterns).unicode(false).build()
}

impl Set {
    /// The codes of the checks that count this line, each once.
    #[must_use]
    pub fn matching(&self, message: &[u8]) -> Vec<&'static str> {
        if !self.patterns.is_match(message) {
            return Vec::new();
        }
        let mut codes: Vec<_> = self.patterns.matches(message).into_iter().filter_map(|at| self.codes.get(at).copied()).collect();
        codes.dedup();
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks;

    #[test]
    fn every_pattern_is_a_regular_expression() {
        for (code, signal) in checks::signals() {
            assert!(compile(&[signal.pattern]).is_ok(), "{code}: {}", signal.pattern);
        }
    }

    #[test]
    fn a_line_counts_for_its_source_alone() {
        let signals = Signals::new(&checks::signals());
        let line = b"Memory cgroup out of memory: Killed process 17 (stress) total-vm:1kB";
        assert_eq!(signals.kernel().unwrap().matching(line), ["oom-kill"]);
        assert!(signals.unit("kubelet.service").unwrap().matching(line).is_empty());
        assert!(signals.unit("sshd.service").is_none());
    }

    /// Who writes it, the line, and the checks that must count it: the wordings of the kernels in use, and of Kubernetes 1.20
    /// to 1.36.
    const LINES: &[(&str, &str, &[&str])] = &[
        ("kernel", "INFO: task containerd:1234 blocked for more than 120 seconds.", &["kernel-hung-task"]),
        ("kernel", "INFO: task kworker/u8:2:77 blocked in I/O wait for more than 122 seconds.", &["kernel-hung-task"]),
        ("kernel", "INFO: task jbd2/sda1-8:250 blocked for more than 241 seconds.", &["kernel-hung-task"]),
        ("kernel", "NMI watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [migration/1:12]", &["kernel-soft-lockup"]),
        ("kernel", "watchdog: BUG: soft lockup - CPU#3 stuck for 45s! [kworker/3:1:77]", &["kernel-soft-lockup"]),
        ("kernel", "NMI watchdog: Watchdog detected hard LOCKUP on cpu 5", &["kernel-soft-lockup"]),
        ("kernel", "rcu: INFO: rcu_sched self-detected stall on CPU", &["kernel-soft-lockup"]),
        ("kernel", "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", &["kernel-soft-lockup"]),
        ("kernel", "BUG: kernel NULL pointer dereference, address: 0000000000000008", &["kernel-oops"]),
        ("kernel", "BUG: unable to handle page fault for address: ffffb0c2c0a00000", &["kernel-oops"]),
        ("kernel", "Oops: 0002 [#1] PREEMPT SMP NOPTI", &["kernel-oops"]),
        ("kernel", "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000", &["kernel-oops"]),
        ("kernel", "Internal error: Oops: 0000000096000004 [#1] SMP", &["kernel-oops"]),
        ("kernel", "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP", &["kernel-oops"]),
        ("kernel", "kernel BUG at fs/ext4/inode.c:2721!", &["kernel-oops"]),
        ("kernel", "traps: node[4711] general protection fault ip:7f3c sp:7ffd error:0 in libc.so.6", &[]),
        ("kernel", "node[4711]: segfault at 8 ip 000055d sp 00007ffd error 4 in node", &[]),
        ("kernel", "EXT4-fs error (device sda1): ext4_find_entry:1463: inode #2: comm ls: reading directory lblock 0", &["filesystem-error"]),
        ("kernel", "EXT4-fs (sda1): Remounting filesystem read-only", &["filesystem-error"]),
        ("kernel", "EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: (null)", &[]),
        ("kernel", "XFS (dm-2): Metadata I/O Error (0x1) detected at xfs_trans_read_buf_map", &[]),
        ("kernel", "XFS (dm-2): log I/O error -5", &["filesystem-error"]),
        ("kernel", "XFS (dm-2): Filesystem has been shut down due to log error (0x2).", &["filesystem-error"]),
        ("kernel", "XFS (dm-2): Ending clean mount", &[]),
        ("kernel", "BTRFS: error (device sda2) in btrfs_run_delayed_refs:2963: errno=-5 IO failure", &["filesystem-error"]),
        ("kernel", "BTRFS critical (device sda2): corrupt leaf: root=2 block=1 slot=0", &["filesystem-error"]),
        ("kernel", "BTRFS info (device sda2): disk space caching is enabled", &[]),
        ("kernel", "blk_update_request: I/O error, dev sdb, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0", &["disk-io-error"]),
        ("kernel", "print_req_error: I/O error, dev sdb, sector 2048", &["disk-io-error"]),
        ("kernel", "critical medium error, dev sdb, sector 2048 op 0x0:(READ)", &["disk-io-error"]),
        ("kernel", "Buffer I/O error on device dm-3, logical block 0", &["disk-io-error"]),
        ("kernel", "nvme nvme0: I/O 22 QID 3 timeout, aborting", &["disk-io-error"]),
        ("kernel", "nvme0: I/O 22 QID 3 timeout, aborting", &["disk-io-error"]),
        ("kernel", "nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10", &["disk-io-error"]),
        ("kernel", "sd 2:0:0:0: rejecting I/O to offline device", &["disk-io-error"]),
        ("kernel", "ata3.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen", &["disk-io-error"]),
        ("kernel", "mce: [Hardware Error]: CPU 1: Machine Check Exception: 5 Bank 4: be00000000000185", &["hardware-error"]),
        ("kernel", "mce: [Hardware Error]: Machine check events logged", &[]),
        ("kernel", "{1}[Hardware Error]: event severity: fatal", &["hardware-error"]),
        ("kernel", "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0 (channel:1 slot:0)", &["hardware-error"]),
        ("kernel", "EDAC MC: Ver: 3.0.0", &[]),
        ("kernel", "pcieport 0000:00:1c.0: PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=Transaction Layer", &["hardware-error"]),
        ("kernel", "unregister_netdevice: waiting for eth0 to become free. Usage count = 1", &["netdevice-unregister-stuck"]),
        ("kernel", "igb 0000:03:00.0 eno1: igb: eno1 NIC Link is Down", &["nic-flapping"]),
        ("kernel", "mlx5_core 0000:01:00.0 ens1f0: Link down", &["nic-flapping"]),
        ("kernel", "bond0: (slave eno1): link status definitely down, disabling slave", &["nic-flapping"]),
        ("kernel", "NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out", &["nic-flapping"]),
        ("kernel", "nf_conntrack: table full, dropping packet", &["conntrack-full"]),
        ("kernel", "nf_conntrack: nf_conntrack: table full, dropping packet", &["conntrack-full"]),
        (
            "kubelet.service",
            "E1123 18:26:06.472793    3335 controller.go:201] \"Failed to ensure lease exists, will retry\" err=\"x\" interval=\"200ms\"",
            &["node-lease-stale"],
        ),
        (
            "kubelet.service",
            "E0614 07:00:01.123456    1234 controller.go:144] failed to ensure lease exists, will retry in 7s, error: Get \"https://x\": EOF",
            &["node-lease-stale"],
        ),
        (
            "kubelet.service",
            "E0614 07:00:01.123456    1234 controller.go:144] failed to ensure node lease exists, will retry in 7s, error: Get",
            &["node-lease-stale"],
        ),
        (
            "kubelet.service",
            "E0614 07:00:01.123456    1234 controller.go:187] failed to update lease, error: Put \"https://x\": context deadline exceeded",
            &["node-lease-stale"],
        ),
        (
            "kubelet.service",
            "E1123 18:40:57.000000    3335 controller.go:251] \"Failed to update lease\" err=\"Put \\\"https://x\\\": context deadline exceeded\"",
            &["node-lease-stale"],
        ),
        (
            "kubelet.service",
            "E0614 07:00:01.123456    1234 remote_image.go:113] PullImage \"nginx:x\" from image service failed: rpc error: code = NotFound",
            &["image-pull-failing"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:20.314514     621 log.go:32] \"PullImage from image service failed\" err=\"rpc error\" image=\"nginx:x\"",
            &["image-pull-failing"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:20.314514     621 kuberuntime_image.go:55] \"Failed to pull image\" err=\"rpc error\" image=\"nginx:x\"",
            &["image-pull-failing"],
        ),
        ("kubelet.service", "I1201 03:12:20.314514     621 kubelet.go:2480] \"SyncLoop (PLEG): event for pod\"", &[]),
        ("etcd", "{\"level\":\"warn\",\"caller\":\"wal/wal.go:805\",\"msg\":\"slow fdatasync\",\"took\":\"1.9s\"}", &["etcd-slow"]),
        ("etcd", "{\"level\":\"warn\",\"msg\":\"apply request took too long\",\"took\":\"212ms\",\"expected-duration\":\"100ms\"}", &["etcd-slow"]),
        ("etcd", "2021-06-14 07:00:01.123456 W | wal: sync duration of 1.2s, expected less than 1s", &["etcd-slow"]),
        ("etcd", "2021-06-14 07:00:01.123456 W | etcdserver: failed to send out heartbeat on time (exceeded the 100ms timeout for 237ms)", &["etcd-slow"]),
        ("etcd", "{\"level\":\"info\",\"msg\":\"compaction finished\"}", &[]),
    ];

    #[test]
    fn the_wordings_of_all_versions_count_and_others_do_not() {
        let signals = Signals::new(&checks::signals());
        for (source, line, codes) in LINES {
            let set = if *source == "kernel" { signals.kernel() } else { signals.unit(source) };
            let mut matching = set.unwrap().matching(line.as_bytes());
            // What the error within a line says may count for other checks, too.
            matching.retain(|code| LINES.iter().any(|(_, _, codes)| codes.contains(code)));
            assert_eq!(matching, *codes, "{source}: {line}");
        }
    }
}
