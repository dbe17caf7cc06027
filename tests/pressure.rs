//! The kubelet's pressure arithmetic, case by case with the rule it comes from, and file systems that are really full, read-only or hung.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nodetriage::facts::pressure::Filesystem;
use nodetriage::facts::runtime::{Answer, Reply};
use nodetriage::facts::{Facts, Kubelet, Observed, Runtime};
use nodetriage::observe::host::Host;
use nodetriage::observe::pressure::{self, Probe};
use serde_json::{Value, json};

const GIB: u64 = 1 << 30;

fn scratch(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pressure").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A node's disk with this in the kubelet's configuration.
fn tree(name: &str, config: &str) -> PathBuf {
    let root = scratch(name);
    for dir in ["etc/kubernetes", "var/lib/kubelet", "var/lib/containerd", "var/log/pods", "proc", "sys/fs/cgroup", "out"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::write(root.join("etc/kubernetes/kubelet.conf"), "").unwrap();
    let config = format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{config}");
    fs::write(root.join("var/lib/kubelet/config.yaml"), config).unwrap();
    root
}

fn nodetriage(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(args).output().unwrap();
    assert!(matches!(output.status.code(), Some(0..=2)), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

fn observe(root: &Path) -> Value {
    nodetriage(&["observe", "--node-name", "node1", "--root", root.to_str().unwrap()])
}

fn filesystem(path: &str, device: u64, available: u64, capacity: u64) -> Value {
    json!({ "known": { "path": path, "available": available, "capacity": capacity, "inodes_free": 900, "inodes": 1000, "device": device } })
}

/// A node on which nothing is short.
fn healthy() -> Value {
    json!({
        "memory": { "known": { "capacity": 8 * GIB, "working_set": GIB, "source": "/sys/fs/cgroup/memory.stat" } },
        "nodefs": filesystem("/var/lib/kubelet", 1, 60 * GIB, 100 * GIB),
        "imagefs": filesystem("/var/lib/containerd", 2, 60 * GIB, 100 * GIB),
        "pids": { "known": { "limit": 32768, "threads": 500 } },
        "mounts": { "known": [] },
    })
}

/// What is said of this pressure under this configuration: `code subject`.
fn said(name: &str, config: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
    findings(name, config, change).iter().map(|finding| format!("{} {}", finding["code"].as_str().unwrap(), finding["subject"].as_str().unwrap())).collect()
}

fn findings(name: &str, config: &str, change: impl FnOnce(&mut Value)) -> Vec<Value> {
    let root = tree(name, config);
    let mut facts = observe(&root);
    let mut pressure = healthy();
    change(&mut pressure);
    facts["pressure"] = json!({ "known": pressure });
    let file = root.join("out/facts.json");
    fs::write(&file, facts.to_string()).unwrap();
    let mut report = nodetriage(&["diagnose", "--output", "json", "--facts", file.to_str().unwrap()]);
    let Value::Array(findings) = report["findings"].take() else { panic!("no findings in {report}") };
    findings.into_iter().filter(|finding| finding["code"].as_str().unwrap().contains("-pressure")).collect()
}

fn nodefs_has(available: u64) -> impl FnOnce(&mut Value) {
    move |pressure| pressure["nodefs"]["known"]["available"] = available.into()
}

/// `pkg/kubelet/eviction/helpers.go` `thresholdsMet`: `observed.available.Cmp(quantity) < 0`.
#[test]
fn a_threshold_is_met_when_strictly_less() {
    let config = "evictionHard: { nodefs.available: 10Gi }\n";
    assert_eq!(said("equal", config, nodefs_has(10 * GIB)), Vec::<String>::new());
    assert_eq!(said("less", config, nodefs_has(10 * GIB - 1)), ["disk-pressure /var/lib/kubelet"]);
    assert_eq!(said("memory-equal", "", |p| p["memory"]["known"]["working_set"] = (8 * GIB - (100 << 20)).into()), Vec::<String>::new());
    assert_eq!(said("memory-less", "", |p| p["memory"]["known"]["working_set"] = (8 * GIB - (100 << 20) + 1).into()), ["memory-pressure memory.available"]);
}

/// `pkg/kubelet/eviction/api/types.go` `GetThresholdQuantity` with a float32: 30 % of 3021608Ki was 928238014 in a real kubelet's log.
#[test]
fn a_percentage_is_a_float32() {
    let config = "evictionHard: { memory.available: 30% }\n";
    let left = |available: u64| {
        move |p: &mut Value| p["memory"]["known"] = json!({ "capacity": 3_021_608 * 1024_u64, "working_set": 3_021_608 * 1024 - available, "source": "x" })
    };
    assert_eq!(said("float-equal", config, left(928_238_014)), Vec::<String>::new());
    assert_eq!(said("float-less", config, left(928_238_013)), ["memory-pressure memory.available"]);
    // So 10 % of 100 GiB are 160 bytes more than a tenth.
    assert_eq!(said("tenth", "", nodefs_has(10 * GIB + 159)), ["disk-pressure /var/lib/kubelet"]);
    assert_eq!(said("tenth-and-more", "", nodefs_has(10 * GIB + 160)), Vec::<String>::new());
}

/// `pkg/kubelet/eviction/helpers.go` `parseThresholdStatement`.
#[test]
fn zero_and_a_hundred_percent_switch_a_signal_off() {
    for value in ["0%", "100%"] {
        let config = format!("evictionHard: {{ nodefs.available: \"{value}\", imagefs.available: 15% }}\n");
        assert_eq!(said("off", &config, nodefs_has(5 * GIB)), Vec::<String>::new(), "{value}");
    }
}

/// `cmd/kubelet/app/server.go` `loadConfigFile`.
#[test]
fn eviction_hard_replaces_every_default_unless_they_are_merged() {
    let config = "evictionHard:\n  memory.available: 200Mi\n";
    assert_eq!(said("replaced", config, nodefs_has(5 * GIB)), Vec::<String>::new());
    assert_eq!(said("merged", &format!("mergeDefaultEvictionSettings: true\n{config}"), nodefs_has(5 * GIB)), ["disk-pressure /var/lib/kubelet"]);
    assert_eq!(said("default", "", nodefs_has(5 * GIB)), ["disk-pressure /var/lib/kubelet"]);
}

#[test]
fn a_full_disk_is_told_where_the_kubelet_has_no_threshold() {
    let found = findings("no-threshold", "evictionHard: { memory.available: 100Mi }\n", nodefs_has(4096));
    assert_eq!(found.len(), 1);
    assert!(found[0]["summary"].as_str().unwrap().ends_with("programs fail to write"), "{found:?}");
}

/// `pkg/kubelet/eviction/defaults_linux.go`: imagefs has a threshold of its own, also on the same device.
#[test]
fn one_disk_is_one_finding_that_names_both_signals() {
    let found = findings("one-disk", "", |p| {
        for role in ["nodefs", "imagefs"] {
            p[role]["known"]["available"] = (9 * GIB).into();
            p[role]["known"]["device"] = 7.into();
            p[role]["known"]["mount_point"] = "/".into();
        }
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["subject"], "/");
    let saw = found[0]["evidence"].to_string();
    assert!(saw.contains("nodefs.available<10% = 10.0 GiB") && saw.contains("imagefs.available<15% = 15.0 GiB"), "{saw}");
    assert!(found[0]["summary"].as_str().unwrap().ends_with("until 15.0 GiB are free"), "{found:?}");
    let twice = said("two-disks", "", |p| {
        p["nodefs"]["known"]["available"] = GIB.into();
        p["imagefs"]["known"]["available"] = GIB.into();
    });
    assert_eq!(twice, ["disk-pressure /var/lib/kubelet", "disk-pressure /var/lib/containerd"]);
}

/// `pkg/kubelet/eviction/helpers.go` `UpdateContainerFsThresholds`: copied, whatever is configured for containerfs.
#[test]
fn containerfs_has_the_threshold_of_what_it_shares() {
    let config = "evictionHard: { nodefs.available: 10%, imagefs.available: 1%, containerfs.available: 90% }\n";
    let split = |device: u64, available: u64| move |p: &mut Value| p["containerfs"] = filesystem("/var/lib/containers", device, available, 100 * GIB);
    assert_eq!(said("on-nodefs", config, split(1, 9 * GIB)), ["disk-pressure /var/lib/containers"]);
    assert_eq!(said("on-imagefs", config, split(2, 9 * GIB)), Vec::<String>::new());
}

#[test]
fn what_counts_nothing_raises_nothing() {
    let sized = |capacity: u64, inodes: u64| {
        move |p: &mut Value| {
            p["nodefs"]["known"] = json!({ "path": "/x", "available": 0, "capacity": capacity, "inodes_free": 0, "inodes": inodes, "device": 1 });
        }
    };
    assert_eq!(said("zero-size", "", sized(0, 0)), Vec::<String>::new());
    assert_eq!(
        said("btrfs", "", |p| {
            sized(100 * GIB, 0)(p);
            p["nodefs"]["known"]["available"] = (50 * GIB).into();
        }),
        Vec::<String>::new()
    );
    assert_eq!(said("no-pids", "", |p| p["pids"]["known"] = json!({ "limit": 0, "threads": 10 })), Vec::<String>::new());
    assert_eq!(said("no-memory", "", |p| p["memory"]["known"] = json!({ "capacity": 0, "working_set": 0, "source": "x" })), Vec::<String>::new());
}

/// `pkg/kubelet/eviction/defaults_linux.go` has none for pid.available.
#[test]
fn process_ids_are_judged_by_the_threshold_if_there_is_one() {
    let threads = |threads: u64| move |p: &mut Value| p["pids"]["known"]["threads"] = threads.into();
    assert_eq!(said("pids-none", "", threads(32_000)), Vec::<String>::new());
    assert_eq!(said("pids-gone", "", threads(32_767)), ["pid-pressure pid.available"]);
    assert_eq!(said("pids-set", "evictionHard: { pid.available: \"1000\" }\n", threads(32_000)), ["pid-pressure pid.available"]);
    assert_eq!(said("pids-percent", "evictionHard: { pid.available: 2% }\n", threads(32_768 - 655)), Vec::<String>::new());
    assert_eq!(said("pids-percent-less", "evictionHard: { pid.available: 2% }\n", threads(32_768 - 654)), ["pid-pressure pid.available"]);
}

#[test]
fn a_tree_tells_nothing_of_pressure_and_says_so_once() {
    let root = tree("dead", "");
    let report = nodetriage(&["--output", "json", "--root", root.to_str().unwrap()]);
    let unknown: Vec<_> = report["unknown"].as_array().unwrap().iter().filter(|unknown| unknown["domain"] == "pressure").collect();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert!(unknown[0]["reason"].as_str().unwrap().ends_with("is a disk or a tree, not a running node"), "{unknown:?}");
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root() && Command::new("unshare").args(["-m", "-p", "-f", "true"]).status().is_ok_and(|status| status.success());
    if !root {
        let _ = writeln!(std::io::stderr(), "left out: it needs root and namespaces of its own");
    }
    root
}

/// Runs a script as the first process of a machine whose disk is `root`: own mounts, own /proc, and the agent at /nodetriage.
fn boot(root: &Path, script: &str) {
    let agent = env!("CARGO_BIN_EXE_nodetriage");
    fs::write(root.join("nodetriage"), "").unwrap();
    for dir in ["usr", "bin", "sbin", "lib", "lib64", "dev"] {
        let _ = fs::create_dir(root.join(dir));
    }
    let setup = format!(
        "set -e; cd {root}; mount --make-rprivate /; mount --bind . .; cd {root}\n\
         for dir in usr bin sbin lib lib64 dev; do test ! -d /$dir || mount --rbind /$dir $dir; done\n\
         mount --bind {agent} nodetriage; mount -t proc proc proc\n\
         exec chroot . /bin/sh -ec \"$1\"",
        root = root.display()
    );
    let script = format!("look() {{ /nodetriage --node-name node1 --output json > /out/$1.json || test $? -le 2; }}\n{script}");
    let output = Command::new("unshare").args(["-m", "-p", "-f", "sh", "-c", &setup, "sh", &script]).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

/// `code subject` of the findings about pressure in a report that the script wrote.
fn pressure_in(root: &Path, report: &str) -> Vec<String> {
    let report: Value = serde_json::from_slice(&fs::read(root.join(format!("out/{report}.json"))).unwrap()).unwrap();
    let findings = report["findings"].as_array().unwrap().iter().map(|f| format!("{} {}", f["code"].as_str().unwrap(), f["subject"].as_str().unwrap()));
    findings.filter(|finding| finding.contains("-pressure") || finding.contains("read-only")).collect()
}

#[test]
fn a_real_file_system_that_fills_up_is_told_and_clears() {
    if !is_root() {
        return;
    }
    let root = tree("real", "");
    // The images lie elsewhere, so that the machine's own disk plays no part.
    boot(
        &root,
        "cp /var/lib/kubelet/config.yaml /out/
        mount -t tmpfs -o size=8m,nr_inodes=64 nodefs /var/lib/kubelet; mount -t tmpfs -o size=64m imagefs /var/lib/containerd; mount -t tmpfs logs /var/log
        cp /out/config.yaml /var/lib/kubelet/
        look empty
        head -c 7600000 /dev/zero > /var/lib/kubelet/big; look full
        rm /var/lib/kubelet/big; look freed
        for i in $(seq 60); do : > /var/lib/kubelet/$i; done; look many
        rm /var/lib/kubelet/[0-9]*; look few
        head -c 60000000 /dev/zero > /var/lib/containerd/big; look images; rm /var/lib/containerd/big",
    );
    let nodefs = |code: &str| vec![format!("{code} /var/lib/kubelet")];
    assert_eq!(pressure_in(&root, "empty"), Vec::<String>::new());
    assert_eq!(pressure_in(&root, "full"), nodefs("disk-pressure"));
    assert_eq!(pressure_in(&root, "freed"), Vec::<String>::new());
    assert_eq!(pressure_in(&root, "many"), nodefs("inode-pressure"));
    assert_eq!(pressure_in(&root, "few"), Vec::<String>::new());
    assert_eq!(pressure_in(&root, "images"), ["disk-pressure /var/lib/containerd"]);
}

#[test]
fn read_only_is_the_nodes_mount_and_not_the_agents() {
    if !is_root() {
        return;
    }
    let root = tree("read-only", "");
    boot(
        &root,
        "cp /var/lib/kubelet/config.yaml /out/
        mount -t tmpfs -o size=8m nodefs /var/lib/kubelet; mount -t tmpfs -o size=64m imagefs /var/lib/containerd; mount -t tmpfs logs /var/log
        cp /out/config.yaml /var/lib/kubelet/; head -c 7800000 /dev/zero > /var/lib/kubelet/big
        unshare -m sh -ec 'mount -o remount,bind,ro /var/lib/kubelet; /nodetriage --output json > /out/ours.json || test $? -le 2'
        rm /var/lib/kubelet/big; look writable
        mount -o remount,bind,ro /var/lib/kubelet; look mount
        mount -o remount,bind,rw /var/lib/kubelet; look again
        mount -o remount,ro /var/lib/kubelet; look filesystem",
    );
    assert_eq!(pressure_in(&root, "ours"), ["disk-pressure /var/lib/kubelet"], "the agent's own read-only mount is no fault, and hides no pressure");
    assert_eq!(pressure_in(&root, "writable"), Vec::<String>::new());
    assert_eq!(pressure_in(&root, "mount"), ["filesystem-read-only /var/lib/kubelet"]);
    assert_eq!(pressure_in(&root, "again"), Vec::<String>::new());
    assert_eq!(pressure_in(&root, "filesystem"), ["filesystem-read-only /var/lib/kubelet"]);
}

#[test]
fn memory_is_that_of_the_root_cgroup_or_unknown() {
    if !is_root() {
        return;
    }
    let root = tree("memory", "");
    boot(
        &root,
        "look() { /nodetriage observe > /out/$1.json; }
        echo 'anon 1000\nfile 600\ninactive_file 100' > /sys/fs/cgroup/memory.stat; look v2
        : > /sys/fs/cgroup/cgroup.type; look container
        rm /sys/fs/cgroup/*; mkdir /sys/fs/cgroup/memory; cd /sys/fs/cgroup/memory
        echo 5000 > memory.usage_in_bytes; echo 'inactive_file 7\ntotal_inactive_file 6000' > memory.stat; : > release_agent; look v1
        rm release_agent; look v1-container",
    );
    let memory =
        |name: &str| serde_json::from_slice::<Value>(&fs::read(root.join(format!("out/{name}.json"))).unwrap()).unwrap()["pressure"]["known"]["memory"].take();
    assert_eq!(memory("v2")["known"]["working_set"], 1500);
    assert_eq!(memory("v1")["known"]["working_set"], 0, "never below nothing");
    for container in ["container", "v1-container"] {
        assert!(memory(container)["unknown"]["reason"].as_str().unwrap().contains("that of a container"), "{container}");
    }
}

/// Since Linux 6.14 kernel.pid_max is the reader's own (kernel/pid.c), also through the node's /proc.
#[test]
fn the_node_s_pid_max_is_not_that_of_our_pid_namespace() {
    if !is_root() {
        return;
    }
    let root = tree("pid-namespace", "evictionHard: { pid.available: 10% }\n");
    boot(&root, "/nodetriage observe > /out/own.json; unshare -p -f /nodetriage observe > /out/nested.json");
    let pids =
        |name: &str| serde_json::from_slice::<Value>(&fs::read(root.join(format!("out/{name}.json"))).unwrap()).unwrap()["pressure"]["known"]["pids"].take();
    assert!(pids("own")["known"].is_object(), "{}", pids("own"));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) >= (Some(6), Some(14)) {
        assert_eq!(pids("nested")["unknown"]["grant"], "hostPID: true", "{}", pids("nested"));
    } else {
        assert_eq!(pids("nested"), pids("own"));
    }
}

/// /proc/sys/net is the reader's own, also through the node's /proc.
#[test]
fn the_node_s_network_is_not_that_of_our_network_namespace() {
    if !is_root() {
        return;
    }
    let root = tree("network-namespace", "");
    boot(&root, "/nodetriage observe > /out/own.json; unshare -n /nodetriage observe > /out/nested.json");
    let seen = |name: &str, what: &str| {
        let facts: Value = serde_json::from_slice(&fs::read(root.join(format!("out/{name}.json"))).unwrap()).unwrap();
        facts["pressure"]["known"][what].clone()
    };
    let forwards = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim() == "1";
    assert_eq!(seen("own", "ipv4_forwarding"), json!({ "known": if forwards { "enabled" } else { "disabled" } }));
    for what in ["ipv4_forwarding", "conntrack"] {
        assert_eq!(seen("nested", what)["unknown"]["grant"], "hostNetwork: true", "{}", seen("nested", what));
    }
    assert!(seen("nested", "file_handles")["known"]["most"].as_u64().unwrap() > 0, "what is the whole machine's is known from anywhere");
}

/// For the tests that look from within this process: one of them counts threads.
static OUR_OWN: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// As root on the node all descriptors can be seen, and whose they are.
#[test]
fn inotify_instances_are_counted_by_user_and_program() {
    if !is_root() {
        return;
    }
    let _ours = OUR_OWN.lock().unwrap();
    let facts: Facts = serde_json::from_value(observe(&tree("inotify", ""))).unwrap();
    let kubelet = facts.kubelet.known().unwrap();
    let held: Vec<_> = (0..20).map(|_| nix::sys::inotify::Inotify::init(nix::sys::inotify::InitFlags::IN_CLOEXEC).unwrap()).collect();
    let flags = nix::sys::inotify::AddWatchFlags::IN_CREATE;
    held[0].add_watch("/proc", flags).unwrap();
    let seen = pressure::observe(&Host::open(Path::new("/")).unwrap(), kubelet, &facts.units, None, &Probe::default());
    let Some(inotify) = seen.inotify else {
        let _ = writeln!(std::io::stderr(), "the descriptors of this machine's first process cannot be seen");
        return;
    };
    let program = fs::read_to_string("/proc/self/comm").unwrap();
    let ours = inotify.programs.iter().find(|(name, _)| name == program.trim());
    assert!(ours.is_some_and(|(_, count)| *count >= 20), "{program}: {inotify:?}");
    assert!(inotify.uid == 0 && inotify.instances.used >= 20 && inotify.watches.used >= 1 && inotify.instances.most > 0, "{inotify:?}");
}

/// Who fills the disk, on real file systems: what is mounted in between is not counted, and the names are those of pods.
///
/// Nothing is measured while this machine waits for its disks, so it is told that it doesn't; and a look waits half a second
/// for what it measures, which a busy machine may need more than once.
#[test]
fn the_usual_places_are_measured_and_no_mount_is_crossed() {
    if !is_root() {
        return;
    }
    let root = tree("places", "");
    let uid = "0330b2c1-a15b-4f86-9d0f-6d9a3c1f2b10";
    let volume = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/data");
    boot(
        &root,
        &format!(
            "cp /var/lib/kubelet/config.yaml /out/
            sed -E 's/(avg[0-9]+)=[0-9.]+/\\1=0.00/g' /proc/pressure/io > /out/calm && mount --bind /out/calm /proc/pressure/io
            mount -t tmpfs -o size=35m disk /var; mkdir -p /var/lib/kubelet /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs /var/log/journal
            cp /out/config.yaml /var/lib/kubelet/; mkdir -p /var/log/pods/shop_web-0_{uid}/app {volume}/cache {volume}/mounted /mnt
            head -c 9000000 /dev/zero > /var/log/pods/shop_web-0_{uid}/app/0.log
            head -c 7000000 /dev/zero > {volume}/cache/file; for i in $(seq 100); do : > {volume}/$i; done; ln -s / {volume}/cache/link
            mount -t tmpfs -o size=20m other {volume}/mounted; head -c 19000000 /dev/zero > {volume}/mounted/big
            head -c 5000000 /dev/zero > /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs/written; head -c 3000000 /dev/zero > /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/image
            id=$(printf 8a1f%.0s 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16); mkdir -p /run/containerd/$id/rootfs /work /var/log/containers /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/7/work
            ln -s /nowhere /var/log/containers/web-0_shop_app-$id.log
            o=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/7; mount -t overlay overlay -o lowerdir=/mnt,upperdir=$o/fs,workdir=$o/work /run/containerd/$id/rootfs
            head -c 8000000 /dev/zero > /var/log/journal/system.journal
            until /nodetriage observe --node-name node1 > /out/facts.json; grep -q '\"images\"' /out/facts.json; do tries=x$tries; test ${{#tries}} -lt 30; done
            until look all; grep -q 'emptyDir data of' /out/all.json; do tries=x$tries; test ${{#tries}} -lt 60; done
            NODETRIAGE_PRESSURE_PLACES=none /nodetriage observe --node-name node1 > /out/none.json"
        ),
    );
    let written = |name: &str| serde_json::from_slice::<Value>(&fs::read(root.join(format!("out/{name}.json"))).unwrap()).unwrap();
    let places = |facts: Value| facts["pressure"]["known"]["places"].as_array().cloned().unwrap_or_default();
    assert_eq!(places(written("none")), [Value::Null; 0]);
    let seen: Vec<_> = places(written("facts"))
        .iter()
        .map(|place| (place["kind"].as_str().unwrap().to_owned(), place["pod"].clone(), place["name"].clone(), place["bytes"].as_u64().unwrap() / 1_000_000))
        .collect();
    let expected = [
        ("logs", json!("shop/web-0"), Value::Null, 9),
        ("journal", Value::Null, Value::Null, 8),
        ("empty-dir", json!("shop/web-0"), json!("data"), 7),
        ("writable-layer", json!("shop/web-0"), json!("app"), 5),
        ("images", Value::Null, Value::Null, 3),
    ];
    for (kind, pod, name, megabytes) in expected {
        assert!(seen.contains(&(kind.to_owned(), pod, name, megabytes)), "{kind}: {seen:#?}");
    }
    let report = written("all");
    let finding = report["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "disk-pressure").unwrap_or_else(|| panic!("{report:#}"));
    let evidence = finding["evidence"].as_array().unwrap().iter().map(|e| format!("{} {}", e["source"].as_str().unwrap(), e["saw"].as_str().unwrap()));
    let evidence: Vec<_> = evidence.collect();
    for told in [
        format!("/var/log/pods/shop_web-0_{uid} 8.6 MiB: logs of shop/web-0"),
        "/var/log/journal 7.6 MiB: the journal's files".to_owned(),
        format!("{volume} 6.7 MiB: emptyDir data of shop/web-0"),
    ] {
        assert!(evidence.contains(&told), "{told} is not in {evidence:#?}");
    }
}

/// A FUSE file system whose server never answers. It answers with an error when dropped.
struct Hung {
    at: PathBuf,
    server: Option<fs::File>,
}

impl Hung {
    fn mount(at: PathBuf) -> Option<Self> {
        let server = fs::File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0", "nas:/export"]).arg(&at).stderr(Stdio::null());
        let mounted = mount.stdin(server.try_clone().unwrap()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self { at, server: Some(server) })
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.server = None;
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// The kubelet's cAdvisor labels: "crio-images", "containerd-images" are where `ImageFsInfo` says (`pkg/kubelet/stats/cri_stats_provider.go`).
#[test]
fn imagefs_and_containerfs_are_where_the_runtime_says() {
    let _ours = OUR_OWN.lock().unwrap();
    let facts: Facts = serde_json::from_value(observe(&tree("told", ""))).unwrap();
    let (kubelet, mut runtime) = (facts.kubelet.known().unwrap(), facts.runtime.known().unwrap().clone());
    let host = Host::open(Path::new("/")).unwrap();
    let seen = |runtime: &Runtime| pressure::observe(&host, kubelet, &facts.units, Some(runtime), &Probe::default());
    let path = |filesystem: &Observed<Filesystem>| filesystem.known().unwrap().path.clone();
    let mut says = |images: &str, containers: &str| {
        let (image_filesystems, container_filesystems) = (vec![images.to_owned()], vec![containers.to_owned()]);
        runtime.reply = Reply::Answered(Box::new(Answer { image_filesystems, container_filesystems, ..Answer::default() }));
        seen(&runtime)
    };
    let one = says("/dev/shm", "/dev/shm");
    assert_eq!((path(&one.imagefs).as_str(), one.containerfs.is_none()), ("/dev/shm", true), "{one:?}");
    let split = says("/dev/shm", "/proc");
    assert_eq!((path(&split.imagefs).as_str(), path(split.containerfs.as_ref().unwrap()).as_str()), ("/dev/shm", "/proc"), "{split:?}");
}

/// Those that ask file systems, and those that measure what lies on them.
fn threads() -> (usize, usize) {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    let names: Vec<_> = tasks.collect();
    let count = |name: &str| names.iter().filter(|task| task.trim() == name).count();
    (count("statfs"), count("places"))
}

#[test]
fn a_hung_file_system_is_unknown_and_delays_nothing_else() {
    if !is_root() {
        return;
    }
    let _ours = OUR_OWN.lock().unwrap();
    let at = scratch("hung");
    let Some(mut hung) = Hung::mount(at.clone()) else {
        let _ = writeln!(std::io::stderr(), "left out: no FUSE");
        return;
    };
    let facts: Facts = serde_json::from_value(observe(&tree("hung-node", ""))).unwrap();
    let mut kubelet: Kubelet = facts.kubelet.known().unwrap().clone();
    kubelet.root_dir.value = at.display().to_string();
    let (host, probe) = (Host::open(Path::new("/")).unwrap(), Probe::default());

    let seen = pressure::observe(&host, &kubelet, &facts.units, None, &probe);
    let blind = seen.nodefs.blind().expect("it hangs");
    assert!(blind.reason.contains("no answer in 2 s from nas:/export (fuse)"), "{blind}");
    assert!(seen.imagefs.known().is_some(), "{seen:?}");
    let started = Instant::now();
    for _ in 0..50 {
        let seen = pressure::observe(&host, &kubelet, &facts.units, None, &probe);
        assert!(seen.nodefs.blind().is_some() && seen.imagefs.known().is_some() && seen.mounts.known().is_some());
    }
    assert!(started.elapsed() < Duration::from_secs(20), "what is known to hang is not waited for");
    // Those of another test, and of a first look at what does not hang, may still be ending.
    let deadline = Instant::now() + Duration::from_secs(20);
    while threads() != (2, 0) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(threads(), (2, 0), "one for each file system, however often they are asked; and nobody measures what lies on one that hangs");

    hung.server = None;
    let deadline = Instant::now() + Duration::from_secs(20);
    while pressure::observe(&host, &kubelet, &facts.units, None, &probe).nodefs.blind().is_some_and(|blind| blind.reason.contains("no answer")) {
        assert!(Instant::now() < deadline, "it has let go, and is asked again");
        std::thread::sleep(Duration::from_millis(20));
    }
}
