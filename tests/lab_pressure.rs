//! Pressure on real nodes: a real ext4 that is filled, by bytes and by inodes, and remounted read-only; a real PID namespace with
//! few process ids; a real memory cap; real OOM kills. What is short is told within two observations, and clears.

#[path = "lab/mod.rs"]
mod lab;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use lab::{DEADLINE, Daemon, Lab};
use serde_json::Value;

/// A look every second, so that the tests are short; what is promised is counted in looks.
const CONFIG: &str = "intervals: { pressure: 1s }\n";
const KUBELET: &str = "/var/lib/kubelet/config.yaml";

/// A node with this in the kubelet's configuration.
fn boot(name: &str, kubelet: &str) -> Option<Lab> {
    boot_with_period(name, kubelet, "6s")
}

fn boot_with_period(name: &str, kubelet: &str, period: &str) -> Option<Lab> {
    let lab = Lab::boot("trixie", name)?;
    lab.sh(&format!("printf 'evictionPressureTransitionPeriod: {period}\n{kubelet}' > /tmp/more && sed -i '/^evictionPressureTransitionPeriod/d' {KUBELET} && cat /tmp/more >> {KUBELET}"));
    Some(lab)
}

fn daemon(lab: &Lab) -> Daemon {
    let config = lab.root().join("tmp/nodetriage.yaml");
    std::fs::write(&config, CONFIG).unwrap();
    // Read by nobody, as whom the pod runs.
    lab.daemon_outside(&["--config", config.to_str().unwrap()])
}

fn looks(report: &Value) -> String {
    report["observed"]["pressure"]["at"].as_str().expect("pressure is observed").to_owned()
}

fn has(report: &Value, finding: &str) -> bool {
    let findings = report["findings"].as_array().expect("a report has findings");
    findings.iter().any(|other| format!("{} {}", other["code"].as_str().unwrap(), other["subject"].as_str().unwrap()) == finding)
}

/// Waits for a finding to come or to go, and counts the looks from what was done until then.
fn within_two_looks(daemon: &Daemon, event: Instant, what: &str, finding: &str, there: bool) -> Value {
    let mut seen = vec![looks(&daemon.report())];
    loop {
        let report = daemon.report();
        let look = looks(&report);
        if seen.last() != Some(&look) {
            seen.push(look);
        }
        if has(&report, finding) == there {
            let count = seen.len() - 1;
            eprintln!("{what}: {finding} {} after {count} looks, {} ms", if there { "is told" } else { "is gone" }, event.elapsed().as_millis());
            assert!(count <= 2, "{what}: {finding}: {seen:?}");
            return report;
        }
        assert!(event.elapsed() < 3 * DEADLINE, "{what}: {finding} (there: {there}) never came true:\n{report:#}\n{}", daemon.log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn run(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(output.status.success(), "{command} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// An ext4 of 64 MB with few inodes, mounted in the node at `at`, and there for who looks at it from outside.
struct Disk {
    device: String,
    outside: PathBuf,
}

impl Disk {
    fn mount(lab: &Lab, at: &str) -> Self {
        let image = lab.root().parent().unwrap().join("disk.img");
        run("truncate", &["--size", "64M", image.to_str().unwrap()]);
        run("mke2fs", &["-q", "-F", "-t", "ext4", "-m", "0", "-N", "128", image.to_str().unwrap()]);
        let device = run("losetup", &["--find", "--show", image.to_str().unwrap()]);
        let number = device.trim_start_matches("/dev/loop");
        lab.sh(&format!("mknod /dev/disk b 7 {number}; mkdir -p {at}; mount /dev/disk {at}"));
        let outside = lab.host_root().join(at.trim_start_matches('/'));
        run("mount", &[&device, outside.to_str().unwrap()]);
        Self { device, outside }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.outside).status();
        // Detached when the node's own mount is gone, too.
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

#[test]
fn a_real_disk_fills_up_and_is_told_with_who_fills_it() {
    let Some(lab) = boot("pressure-disk", "") else { return };
    let at = "/var/lib/containerd";
    let _disk = Disk::mount(&lab, at);
    let daemon = daemon(&lab);
    let pressure = |code: &str| format!("{code} {at}");
    assert!(!has(&daemon.report(), &pressure("disk-pressure")), "an empty disk");

    let event = lab.event(&format!(
        "mkdir -p {at}/io.containerd.snapshotter.v1.overlayfs; head -c 52M /dev/zero > {at}/io.containerd.snapshotter.v1.overlayfs/layer; sync -f {at}"
    ));
    let report = within_two_looks(&daemon, event, "52 of 64 MB are written", &pressure("disk-pressure"), true);
    let told = |report: &Value| report["findings"].to_string().contains("MiB: images");
    if !told(&report) {
        daemon.wait_for(event, "who fills it", told);
    }
    let event = lab.event(&format!("rm {at}/io.containerd.snapshotter.v1.overlayfs/layer; sync -f {at}"));
    let report = within_two_looks(&daemon, event, "they are removed", &pressure("disk-pressure"), false);
    assert!(has(&report, "pressure-lifting DiskPressure"), "the kubelet holds its condition: {report:#}");
    daemon.wait_for(Instant::now() + DEADLINE, "the transition period is over", |report| !has(report, "pressure-lifting DiskPressure"));

    let event = lab.event(&format!("for i in $(seq 115); do : > {at}/$i; done; sync -f {at}"));
    within_two_looks(&daemon, event, "inodes are used up", &pressure("inode-pressure"), true);
    let event = lab.event(&format!("rm {at}/[0-9]*; sync -f {at}"));
    within_two_looks(&daemon, event, "they are free again", &pressure("inode-pressure"), false);

    // By the kernel's event, not by the next look.
    let event = lab.event(&format!("mount -o remount,ro {at}"));
    daemon.wait_for(event, "remounted read-only", |report| has(report, &pressure("filesystem-read-only")));
    let event = lab.event(&format!("mount -o remount,rw {at}"));
    daemon.wait_for(event, "remounted writable", |report| !has(report, &pressure("filesystem-read-only")));
    lab.sh(&format!("umount {at}"));
}

fn summary(report: &Value, code: &str) -> Option<String> {
    let finding = report["findings"].as_array()?.iter().find(|finding| finding["code"] == code)?;
    finding["summary"].as_str().map(str::to_owned)
}

/// Until when the condition stays is known to the process that comes after one that was killed, and so is what the disk has lost
/// for two hours: both are in its first report.
#[test]
fn what_was_measured_outlives_an_update_of_ours() {
    let Some(lab) = boot_with_period("pressure-past", "", "5m") else { return };
    let at = "/var/lib/containerd";
    let _disk = Disk::mount(&lab, at);
    let first = daemon(&lab);
    let event = lab.event(&format!("head -c 52M /dev/zero > {at}/layer; sync -f {at}"));
    within_two_looks(&first, event, "52 of 64 MB are written", &format!("disk-pressure {at}"), true);
    let event = lab.event(&format!("rm {at}/layer; sync -f {at}"));
    let report = within_two_looks(&first, event, "they are removed", &format!("disk-pressure {at}"), false);
    let stays = summary(&report, "pressure-lifting").expect("the kubelet holds its condition");
    let pressure = || serde_json::from_str::<Value>(&first.get("/api/v1/facts").unwrap().1).unwrap()["pressure"]["known"].clone();
    let last = pressure()["crossed"][0]["last"].clone();
    let file = lab.root().parent().unwrap().join("state/state.json");
    let state = || serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap_or_default()).unwrap_or_default();
    let kept = || state()["pressure"]["crossed"].as_object().is_some_and(|crossed| crossed.values().any(|met| met["last"] == last));
    lab.until(kept, "it is kept");
    let (available, now) = (pressure()["imagefs"]["known"]["available"].as_u64().unwrap(), std::time::SystemTime::now());
    drop(first);

    // As if it had lost 2 MB every five minutes.
    let mut edited = state();
    let point = |ago: u32| {
        let time = nodetriage::facts::Timestamp::from(now - ago * std::time::Duration::from_mins(5));
        serde_json::json!({ "at": time, "available": { "imagefs.available": available + u64::from(ago) * (2 << 20) } })
    };
    edited["pressure"]["points"] = (0..24).rev().map(point).collect();
    std::fs::write(&file, edited.to_string()).unwrap();
    let second = daemon(&lab);
    let report = second.report();
    assert_eq!(summary(&report, "pressure-lifting"), Some(stays), "{report:#}\n{}", second.log());
    let filling = summary(&report, "disk-filling").unwrap_or_else(|| panic!("{report:#}\n{}", second.log()));
    assert!(filling.starts_with(&format!("{at} loses 24.0 MiB an hour")), "{filling}");

    // Another kubelet has no condition to hold.
    let event = lab.event("systemctl restart kubelet");
    second.wait_for(event, "the kubelet was restarted", |report| !has(report, "pressure-lifting DiskPressure"));
    drop(second);

    // What was measured in another boot is of no use.
    let mut edited = state();
    assert!(edited["pressure"]["points"].as_array().is_some_and(|points| points.len() >= 23), "{edited:#}");
    edited["boot_id"] = "0330b2c1-a15b-4f86-9d0f-6d9a3c1f2b10".into();
    std::fs::write(&file, edited.to_string()).unwrap();
    let third = daemon(&lab);
    assert_eq!(summary(&third.report(), "disk-filling"), None, "{}", third.log());
    drop(third);
    lab.sh(&format!("umount {at}"));
}

/// Since Linux 6.14 each PID namespace has a pid_max of its own; before, the machine's would be changed.
fn has_pid_max_of_its_own() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(14))
}

#[test]
fn process_ids_run_out_and_zombies_are_counted() {
    if !has_pid_max_of_its_own() {
        eprintln!("this kernel has one pid_max for the whole machine");
        return;
    }
    let Some(lab) = boot("pressure-pids", "evictionHard: { pid.available: \"300\" }\n") else { return };
    lab.sh("mkdir -p /etc/nodetriage && printf 'intervals: { pressure: 1s }\n' > /etc/nodetriage/config.yaml");
    let daemon = lab.daemon_inside();
    let set = |number: &str| {
        lab.event(&format!("mount -o remount,bind,rw /proc/sys && echo {number} > /proc/sys/kernel/pid_max && mount -o remount,bind,ro /proc/sys"))
    };
    let before = lab.sh("cat /proc/sys/kernel/pid_max").trim().to_owned();
    assert!(!has(&daemon.report(), "pid-pressure pid.available"));
    // What the kernel counts are the whole machine's threads, and no Linux has less than a hundred.
    let event = set("400");
    within_two_looks(&daemon, event, "pid_max is 400", "pid-pressure pid.available", true);
    let event = set(&before);
    within_two_looks(&daemon, event, "pid_max is what it was", "pid-pressure pid.available", false);

    // A parent that never waits.
    let event = lab.event("systemd-run --quiet --unit=careless perl -e 'for (1..150) { fork or exit } sleep 300'");
    // Whoever has many processes is asked less often for them: by a share of what it costs.
    daemon.wait_for(event + DEADLINE, "150 zombies", |report| has(report, "zombies-piling-up processes"));
    let event = lab.event("systemctl stop careless");
    daemon.wait_for(event + DEADLINE, "their parent is gone", |report| !has(report, "zombies-piling-up processes"));
}

#[test]
fn memory_runs_out_under_a_real_cap() {
    let Some(lab) = boot("pressure-memory", "") else { return };
    let Some(_cap) = Cap::on(&lab, 400 << 20) else { return };
    let daemon = daemon(&lab);
    let pressure = "memory-pressure memory.available";
    assert!(!has(&daemon.report(), pressure), "{:#}", daemon.report());

    let event = lab.event("mount -t tmpfs big /mnt && systemd-run --quiet --wait sh -c 'head -c 280M /dev/zero > /mnt/big'");
    within_two_looks(&daemon, event, "280 of 400 MiB are taken", pressure, true);
    let event = lab.event("umount /mnt");
    let report = within_two_looks(&daemon, event, "and given back", pressure, false);
    assert!(has(&report, "pressure-lifting MemoryPressure"), "{report:#}");

    // No line of the kernel's log can be read here: its counts tell of it, and whose it was.
    let event = lab.event(
        "systemd-run --quiet --unit=eater -p MemoryMax=20M -p OOMPolicy=continue sh -c 'tail /dev/zero; : > /run/eaten; exec sleep 300'
        for try in $(seq 600); do [ ! -e /run/eaten ] || exit 0; sleep 0.05; done; exit 1",
    );
    within_two_looks(&daemon, event, "a service eats more than it may", "oom-kill eater.service", true);
}

/// The node's cgroup has a limit of memory, and is what who looks at the node finds as its root cgroup, with the limit as the
/// machine's memory: a stand-in for a machine with as little. What is used is really used.
struct Cap {
    mounts: Vec<PathBuf>,
}

impl Cap {
    fn on(lab: &Lab, bytes: u64) -> Option<Self> {
        let group = Path::new("/sys/fs/cgroup/memory").join(format!("nodelab-{}", lab.name()));
        if !group.join("memory.limit_in_bytes").exists() {
            eprintln!("no memory controller of cgroup v1 on this machine");
            return None;
        }
        std::fs::write(group.join("memory.limit_in_bytes"), bytes.to_string()).unwrap();
        let host = lab.host_root();
        let (memory, meminfo) = (host.join("sys/fs/cgroup/memory"), host.join("proc/meminfo"));
        let edited = lab.root().parent().unwrap().join("meminfo");
        std::fs::write(&edited, format!("MemTotal: {} kB\n", bytes / 1024)).unwrap();
        run("mount", &["-t", "tmpfs", "root-cgroup", memory.to_str().unwrap()]);
        std::fs::write(memory.join("release_agent"), "").unwrap();
        let mut mounts = vec![memory.clone()];
        for entry in ["memory.usage_in_bytes", "memory.stat", "system.slice"] {
            let (real, at) = (group.join(entry), memory.join(entry));
            if real.is_dir() {
                std::fs::create_dir(&at).unwrap();
            } else {
                std::fs::write(&at, "").unwrap();
            }
            run("mount", &["--bind", real.to_str().unwrap(), at.to_str().unwrap()]);
            mounts.push(at);
        }
        run("mount", &["--bind", edited.to_str().unwrap(), meminfo.to_str().unwrap()]);
        mounts.push(meminfo);
        Some(Self { mounts })
    }
}

impl Drop for Cap {
    fn drop(&mut self) {
        for at in self.mounts.iter().rev() {
            let _ = Command::new("umount").arg(at).status();
        }
    }
}
