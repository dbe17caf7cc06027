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
        (
            "kubelet.service",
            "E1201 03:12:30.976970     621 log.go:32] \"RunPodSandbox from runtime service failed\" err=\"rpc error: code = Unknown desc = failed to get sandbox image \\\"registry.k8s.io/pause:3.10\\\": failed to pull image\"",
            &["sandbox-image-missing"],
        ),
        (
            "containerd.service",
            "time=\"2026-12-01T03:12:30.97Z\" level=error msg=\"RunPodSandbox for &PodSandboxMetadata{Name:x,} failed, error\" error=\"failed to get sandbox image \\\"registry.k8s.io/pause:3.8\\\": not found\"",
            &["sandbox-image-missing"],
        ),
        (
            "kubelet.service",
            "E0614 07:00:01.123456    1234 remote_runtime.go:116] RunPodSandbox from runtime service failed: rpc error: code = Unknown desc = failed pulling image \"k8s.gcr.io/pause:3.2\": Error response from daemon: Get https://k8s.gcr.io/v2/: dial tcp: lookup k8s.gcr.io: no such host",
            &["sandbox-image-missing"],
        ),
        (
            "kubelet.service",
            "E0614 07:00:01.123456    1234 remote_runtime.go:201] \"RunPodSandbox from runtime service failed\" err=\"rpc error: code = Unknown desc = error creating pod sandbox with name \\\"k8s_etcd-node1_kube-system_271a_0\\\": Error initializing source docker://k8s.gcr.io/pause:3.1: error pinging docker registry k8s.gcr.io: i/o timeout\"",
            &["sandbox-image-missing"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:30.976970     621 log.go:32] \"RunPodSandbox from runtime service failed\" err=\"rpc error: code = Unknown desc = creating pod sandbox with name \\\"k8s_web-0_shop_1_0\\\": initializing source docker://registry.k8s.io/pause:3.10: pinging container registry registry.k8s.io: no such host\"",
            &["sandbox-image-missing"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:30.976970     621 log.go:32] \"RunPodSandbox from runtime service failed\" err=\"rpc error: code = Unknown desc = creating pod sandbox with name \\\"k8s_web-0_shop_1_0\\\": could not find enough available IDs\"",
            &[],
        ),
        (
            "kubelet.service",
            "E0410 02:26:31.256115   44235 server.go:794] Starting healthz server failed: listen tcp 127.0.0.1:10248: bind: address already in use",
            &["kubelet-port-in-use"],
        ),
        ("kubelet.service", "F0410 02:26:31.256115   44235 server.go:162] listen tcp 0.0.0.0:10250: bind: address already in use", &["kubelet-port-in-use"]),
        (
            "kubelet.service",
            "E1201 03:12:41.534130     507 server.go:209] \"Failed to listen and serve\" err=\"listen tcp 0.0.0.0:10250: bind: address already in use\"",
            &["kubelet-port-in-use"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:41.127901     524 server.go:951] \"Failed to start healthz server\" err=\"listen tcp 127.0.0.1:10248: bind: address already in use\"",
            &["kubelet-port-in-use"],
        ),
        (
            "kube-proxy",
            "E1201 03:12:41.091393       1 server.go:455] \"Healthz server failed\" err=\"failed to start proxy healthz on 0.0.0.0:10256: listen tcp 0.0.0.0:10256: bind: address already in use\"",
            &["kube-proxy-port-in-use"],
        ),
        (
            "kube-proxy.service",
            "E0614 07:00:01.123456       1 server.go:541] starting metrics server failed: listen tcp 127.0.0.1:10249: bind: address already in use",
            &["kube-proxy-port-in-use"],
        ),
        (
            "kubelet.service",
            "E0614 07:00:01.123456    1234 kubelet.go:1855] skipping pod synchronization - PLEG is not healthy: pleg was last seen active 3m7.4s ago; threshold is 3m0s",
            &["kubelet-pleg-unhealthy"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:40.284180     621 kubelet.go:2661] \"Skipping pod synchronization\" err=\"PLEG is not healthy: pleg was last seen active 3m42s ago; threshold is 3m0s\"",
            &["kubelet-pleg-unhealthy"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:40.284180     621 kubelet.go:2661] \"Skipping pod synchronization\" err=\"PLEG is not healthy: pleg has yet to be successful\"",
            &[],
        ),
        ("kubelet.service", "F0614 07:00:01.123456    1234 server.go:158] unknown flag: --network-plugin", &["kubelet-flag-unknown"]),
        (
            "kubelet.service",
            "E1201 03:12:41.105541     280 run.go:72] \"command failed\" err=\"failed to parse kubelet flag: unknown flag: --network-plugin\"",
            &["kubelet-flag-unknown"],
        ),
        ("kubelet.service", "F0614 07:00:01.123456    1234 server.go:208] unrecognized feature gate: NoSuchGate", &["kubelet-config-invalid"]),
        (
            "kubelet.service",
            "E1201 03:12:30.630484     690 kubelet.go:1717] \"Failed to start cAdvisor\" err=\"inotify_init: too many open files\"",
            &["inotify-exhausting"],
        ),
        (
            "kubelet.service",
            "E0614 07:00:01.123456    1234 certificate_manager.go:437] Failed while requesting a signed certificate from the master: cannot create certificate signing request: Post",
            &["certificate-rotation-overdue"],
        ),
        (
            "kubelet.service",
            "E0614 07:00:01.123456    1234 certificate_manager.go:471] kubernetes.io/kube-apiserver-client-kubelet: certificate request was not signed: timed out waiting for the condition",
            &["certificate-rotation-overdue"],
        ),
        (
            "kubelet.service",
            "E1201 03:02:40.118044     612 certificate_manager.go:596] \"Certificate request was not signed\" err=\"timed out waiting for the condition\"",
            &["certificate-rotation-overdue"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:40.278416     612 log.go:32] \"RunPodSandbox from runtime service failed\" err=\"expected cgroupsPath to be of format \\\"slice:prefix:name\\\" for systemd cgroups, got \\\"/kubepods\\\"\"",
            &["cgroup-driver-mismatch"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:41.528763     469 run.go:72] \"command failed\" err=\"failed to validate kubelet configuration, error: kubelet is configured to not run on a host using cgroup v1\"",
            &["kubelet-config-invalid", "cgroup-v1-refused"],
        ),
        (
            "kubelet.service",
            "E1201 03:12:40.278416     612 pod_workers.go:1301] \"Error syncing pod, skipping\" err=\"failed to allocate for range 0: no IP addresses available in range set: 10.244.1.1-10.244.1.254\"",
            &["cni-addresses-exhausted"],
        ),
        ("coredns", "[FATAL] plugin/loop: Loop (127.0.0.1:36123 -> :53) detected for zone \".\", see https://coredns.io/plugins/loop", &["coredns-looping"]),
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
