//! Log files and the kernel's own log, where there is no journal or none of their lines in it.

#[path = "lab/mod.rs"]
mod lab;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::{Lab, roots};
use nodetriage::config::Config;
use nodetriage::facts::record::{Record, klog_level};
use nodetriage::facts::{Facts, Journal, Node, Timestamp};
use nodetriage::finding::{LogSource, Signal};
use nodetriage::observe::board::Board;
use nodetriage::observe::host::Host;
use nodetriage::observe::journal::{self, Earlier};

static KUBELET: Signal = Signal { from: LogSource::Unit("kubelet.service"), pattern: "trouble n=[0-9]+" };
static KERNEL: Signal = Signal { from: LogSource::Kernel, pattern: "nodetriage-test n=[0-9]+" };
static ETCD: Signal = Signal { from: LogSource::Container("etcd"), pattern: "slow fdatasync" };
static SIGNALS: [(&str, &Signal); 3] = [("kubelet", &KUBELET), ("kernel", &KERNEL), ("etcd", &ETCD)];
const DEADLINE: Duration = Duration::from_secs(30);

struct Watched {
    board: Arc<Board>,
    root: PathBuf,
}

fn watch(root: &Path) -> Watched {
    let board = Arc::new(Board::new(Facts::unobserved(Timestamp::from_unix_seconds(0).unwrap(), Node::default())));
    let (host, watched) = (Arc::new(Host::open(root).unwrap()), Arc::clone(&board));
    std::thread::spawn(move || journal::watch(&host, &Arc::new(Config::default()), &SIGNALS, &watched, Earlier::default(), &|_| {}));
    Watched { board, root: root.to_owned() }
}

impl Watched {
    fn count(&self, code: &str) -> u64 {
        self.board.read(|facts| facts.journal.known().and_then(|journal| Some(journal.signals.get(code)?.count)).unwrap_or(0))
    }

    fn counted(&self, code: &str, expected: u64, after: &str) -> Duration {
        let start = Instant::now();
        loop {
            let count = self.count(code);
            if count == expected {
                return start.elapsed();
            }
            assert!(count <= expected || expected < 2, "{after}: {count} of {code} counted, expected {expected}: some twice");
            assert!(start.elapsed() < DEADLINE, "{after}: {count} of {code} counted, expected {expected}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn append(&self, path: &str, lines: impl IntoIterator<Item = String>) {
        let path = self.root.join(path);
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

fn kubelet(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| format!("{} node1 kubelet[612]: E1201 03:12:44.000000     612 x.go:1] trouble n={n}", now().syslog()))
}

fn empty_root(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("nodetriage-logs-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("var/log")).unwrap();
    root
}

#[test]
fn syslog_tells_where_there_is_no_journal() {
    let root = empty_root("syslog");
    let host = Host::open(&root).unwrap();
    assert!(journal::observe(&host, &Config::default(), &SIGNALS).unwrap_err().reason.contains("no journal"));
    let node = watch(&root);
    node.append("var/log/syslog", kubelet(0..5));
    node.append("var/log/syslog", ["Dec  1 03:12:44 node1 kernel: [   12.345678] nodetriage-test n=1".to_owned(), "garbage \u{7f} without a form".to_owned()]);
    node.counted("kubelet", 5, "syslog appears");
    node.counted("kernel", 1, "the kernel's line in it");
    let once: Journal = journal::observe(&host, &Config::default(), &SIGNALS).unwrap();
    assert_eq!((once.signals["kubelet"].count, once.instead.as_slice()), (5, &["/var/log/syslog".to_owned()][..]));
    assert!(once.last_words["kubelet.service"].last().unwrap().message.contains("trouble n=4"));

    node.append("var/log/syslog", kubelet(5..1000));
    fs::rename(root.join("var/log/syslog"), root.join("var/log/syslog.1")).unwrap();
    node.append("var/log/syslog.1", kubelet(1000..1010));
    node.append("var/log/syslog", kubelet(1010..1020));
    node.counted("kubelet", 1020, "renamed away while it was written to");
    fs::copy(root.join("var/log/syslog"), root.join("var/log/syslog.1")).unwrap();
    File::options().write(true).open(root.join("var/log/syslog")).unwrap().set_len(0).unwrap();
    node.append("var/log/syslog", kubelet(1020..1023));
    node.counted("kubelet", 1023, "copied and truncated");
    // A line without end costs no memory and hides only itself.
    let mut file = File::options().append(true).open(root.join("var/log/syslog")).unwrap();
    for _ in 0..64 {
        file.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    file.write_all(b"\n").unwrap();
    node.append("var/log/syslog", kubelet(1023..1024));
    node.counted("kubelet", 1024, "a line of 64 MiB");
    // Another boot begins anew.
    node.append("var/log/syslog", [format!("{} node1 kernel: [    0.000000] Linux version 6.12.0", now().syslog())]);
    node.append("var/log/syslog", kubelet(1..2));
    node.counted("kubelet", 1, "another boot");
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_containers_log_is_followed_through_rotation_and_restart() {
    let root = empty_root("pods");
    let etcd = "var/log/pods/kube-system_etcd-node1_0123456789abcdef/etcd";
    fs::create_dir_all(root.join(etcd)).unwrap();
    fs::create_dir_all(root.join("var/log/pods/shop_etcd-7_1/etcd")).unwrap();
    let slow =
        |count: u32| (0..count).map(|_| "2026-12-01T03:12:44.123456789Z stderr F {\"level\":\"warn\",\"msg\":\"slow fdatasync\",\"took\":\"1.9s\"}".to_owned());
    fs::write(root.join("var/log/syslog"), "").unwrap();
    let node = watch(&root);
    node.append(&format!("{etcd}/0.log"), slow(3));
    node.append("var/log/pods/shop_etcd-7_1/etcd/0.log", slow(50));
    node.counted("etcd", 3, "etcd's container, and not somebody else's of that name");
    let mut late = Vec::new();
    for count in 4..24 {
        node.append(&format!("{etcd}/0.log"), slow(1));
        late.push(node.counted("etcd", count, "one more line"));
    }
    late.sort();
    println!("a line of a log file: noticed after {:?} (median), {:?} at most", late[late.len() / 2], late[late.len() - 1]);
    // The kubelet renames a log that has become too long.
    fs::rename(root.join(etcd).join("0.log"), root.join(etcd).join("0.log.20261201-031244")).unwrap();
    node.append(&format!("{etcd}/0.log"), slow(4));
    node.counted("etcd", 27, "rotated");
    node.append(&format!("{etcd}/1.log"), slow(1));
    node.counted("etcd", 1, "started again: what the start before said does not count");
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn the_kernels_own_log_is_read_where_the_journal_has_none_of_it() {
    let Some(lab) = Lab::boot("trixie", "kmsg") else { return };
    let device = lab.host_root().join("dev/kmsg");
    fs::create_dir_all(device.parent().unwrap()).unwrap();
    assert!(std::process::Command::new("mknod").arg(&device).args(["c", "1", "11"]).status().unwrap().success());
    let node = watch(&lab.host_root());
    let run = std::process::id();
    let mut late = Vec::new();
    let before = || node.count("kernel");
    let start = Instant::now();
    while node.board.read(|facts| facts.journal.known().is_none()) {
        assert!(start.elapsed() < DEADLINE);
        std::thread::sleep(Duration::from_millis(5));
    }
    let first = before();
    for count in first + 1..first + 21 {
        // The kernel's real log, of this machine.
        fs::write("/dev/kmsg", format!("nodetriage-test n={run}\n")).unwrap();
        late.push(node.counted("kernel", count, "one more record"));
    }
    late.sort();
    println!("a kernel record: noticed after {:?} (median), {:?} at most", late[late.len() / 2], late[late.len() - 1]);
}

#[test]
fn a_real_kill_of_the_kernel_is_told_from_a_real_journal() {
    let Some(lab) = Lab::boot_with("trixie", "oom", &[("KMSG", "1")]) else { return };
    let daemon = lab.daemon_outside(&[]);
    let event = lab.event("systemd-run -q --unit=hog -p MemoryMax=24M tail /dev/zero");
    daemon.wait_for(event, "the kernel killed a unit's process", |report| roots(report).iter().any(|root| root == "oom-kill hog.service"));
    // The other lines of the catalogue that only the kernel can write, through the same way.
    fs::write("/dev/kmsg", "<4>unregister_netdevice: waiting for lo to become free. Usage count = 2\n").unwrap();
    assert!(lab.sh("journalctl -q -k -o cat -n 200").contains("Killed process"));
}

#[test]
fn what_the_kernel_left_of_a_crash_is_told_until_it_is_put_away() {
    let root = empty_root("crash");
    fs::write(root.join("var/log/syslog"), "").unwrap();
    for directory in ["sys/fs/pstore", "var/crash/202612010312", "var/crash/empty"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    // Of no crash: what kdump-tools keeps there.
    fs::write(root.join("var/crash/kdump_lock"), "").unwrap();
    fs::write(root.join("var/crash/kexec_cmd"), "/sbin/kexec -p").unwrap();
    let node = watch(&root);
    let told = |expected: &[(&str, Option<&str>)]| {
        let start = Instant::now();
        let crashes = || node.board.read(|facts| facts.journal.known().map(|journal| journal.past.crashes.clone()).unwrap_or_default());
        loop {
            let now = crashes();
            if node.board.read(|facts| facts.journal.known().is_some())
                && now.iter().map(|crash| (crash.path.as_str(), crash.line.as_deref())).collect::<Vec<_>>() == expected
            {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{now:?}, not {expected:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    told(&[]);
    let record = root.join("sys/fs/pstore/dmesg-efi-176456400001001");
    fs::write(&record, "Panic#1 Part1\n<4>[  121.5] Call Trace:\n<0>[  121.6] Kernel panic - not syncing: Fatal exception\n<4>[  121.7] ---[ end ]---\n")
        .unwrap();
    told(&[("/sys/fs/pstore/dmesg-efi-176456400001001", Some("Kernel panic - not syncing: Fatal exception"))]);
    fs::remove_file(record).unwrap();
    fs::write(root.join("var/crash/202612010312/dump.202612010312"), [0, 159, 146, 150]).unwrap();
    told(&[("/var/crash/202612010312/dump.202612010312", None)]);
    fs::rename(root.join("var/crash/202612010312"), root.join("put-away")).unwrap();
    told(&[]);
    fs::remove_dir_all(&root).unwrap();
}

fn cri(tag: &str, message: &str) -> String {
    format!("2026-12-01T03:12:44.123456789Z stderr {tag} {message}")
}

fn docker(log: &str) -> String {
    serde_json::json!({"log": log, "stream": "stderr", "time": "2026-12-01T03:12:44.123456789Z"}).to_string()
}

#[test]
fn a_line_that_the_runtime_has_cut_is_one_line_and_packed_logs_are_left() {
    let root = empty_root("cut");
    let etcd = "var/log/pods/kube-system_etcd-node1_0123456789abcdef/etcd";
    fs::create_dir_all(root.join(etcd)).unwrap();
    fs::write(root.join("var/log/syslog"), "").unwrap();
    let node = watch(&root);
    let log = format!("{etcd}/0.log");
    node.append(&log, [cri("P", "slow fdata"), "2026-12-01T03:12:44.2Z stdout F in between".to_owned(), cri("F", "sync of one line")]);
    node.counted("etcd", 1, "a line in two parts, with one of the other stream between them");
    // The words that are looked for begin after 16 KiB; and a line whose parts never end takes no memory.
    node.append(&log, [cri("P", &"x".repeat(16 << 10)), cri("F", "slow fdatasync")]);
    node.counted("etcd", 2, "a line of more than 16 KiB");
    node.append(&log, std::iter::repeat_n(cri("P", &"y".repeat(8 << 10)), 1000).chain([cri("F", "end"), cri("F", "slow fdatasync")]));
    node.counted("etcd", 3, "after a line of 8 MiB");
    for packed in ["0.log.20261201-031244.gz", "0.log.20261201-031244", "1.log.gz", "x.log"] {
        fs::write(root.join(etcd).join(packed), format!("{}\n", cri("F", "slow fdatasync"))).unwrap();
    }
    node.append(&log, [cri("F", "slow fdatasync")]);
    node.counted("etcd", 4, "only the log in use is read");
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn dockers_log_files_are_followed_through_the_kubelets_links() {
    let root = empty_root("docker");
    let (pod, container) = ("var/log/pods/kube-system_etcd-node1_0123456789abcdef/etcd", "var/lib/docker/containers/4711");
    fs::create_dir_all(root.join(pod)).unwrap();
    fs::create_dir_all(root.join(container)).unwrap();
    fs::write(root.join("var/log/syslog"), "").unwrap();
    let log = format!("{container}/4711-json.log");
    fs::write(root.join(&log), "").unwrap();
    // As the kubelet makes it: absolute, on the node.
    std::os::unix::fs::symlink(format!("/{log}"), root.join(pod).join("0.log")).unwrap();
    let node = watch(&root);
    node.append(
        &log,
        [docker("{\"msg\":\"slow fdatasync\",\"took\":\"1.9s\"}\n"), docker("calm\n"), docker("slow fdata"), docker("sync\n"), "{\"log\":".to_owned()],
    );
    node.counted("etcd", 2, "two lines, one of them cut by Docker");
    let seen = node.board.read(|facts| facts.journal.known().unwrap().signals["etcd"].clone());
    assert_eq!((seen.samples[0].said().as_str(), seen.samples[1].message.as_str()), ("slow fdatasync (took=1.9s)", "slow fdatasync"));
    for rotation in 0..3 {
        // `max-file`: renamed, and begun anew in a directory that nobody lists.
        fs::rename(root.join(&log), root.join(format!("{log}.1"))).unwrap();
        node.append(&format!("{log}.1"), [docker("slow fdatasync\n")]);
        if rotation == 1 {
            std::thread::sleep(Duration::from_millis(400));
        }
        node.append(&log, [docker("slow fdatasync\n")]);
        node.counted("etcd", 4 + 2 * rotation, "rotated by Docker");
    }
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn logs_that_the_kubelet_keeps_elsewhere_are_found_by_its_links() {
    let root = empty_root("links");
    fs::write(root.join("var/log/syslog"), "").unwrap();
    fs::create_dir_all(root.join("var/log/containers")).unwrap();
    let of = |run: u32| (format!("data/pods/kube-system_etcd-node1_01/etcd/{run}.log"), format!("var/log/containers/etcd-node1_kube-system_etcd-{run}f00.log"));
    let other = root.join("var/log/containers/etcd-7_shop_etcd-9f00.log");
    fs::create_dir_all(root.join("data/pods/kube-system_etcd-node1_01/etcd")).unwrap();
    fs::write(root.join("data/other.log"), format!("{}\n", cri("F", "slow fdatasync")).repeat(20)).unwrap();
    std::os::unix::fs::symlink("/data/other.log", other).unwrap();
    std::os::unix::fs::symlink("/data/other.log", root.join("var/log/containers/etcd-node1_kube-system_etcd-backup-9f00.log")).unwrap();
    let node = watch(&root);
    for run in 0..2 {
        let (log, link) = of(run);
        node.append(&log, [cri("F", "slow fdatasync")]);
        std::os::unix::fs::symlink(format!("/{log}"), root.join(link)).unwrap();
        node.counted("etcd", 1, "a new run, and nobody else's lines");
        node.append(&log, [cri("F", "slow fdatasync")]);
        node.counted("etcd", 2, "its next line");
    }
    fs::remove_dir_all(&root).unwrap();
}

/// Real lines of real kubelets and kube-proxies, 1.20 to 1.36: each is taken apart whole, and what is shown has nothing of its form left.
#[test]
fn every_recorded_line_of_klog_is_taken_apart() {
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/logs");
    let files = fs::read_dir(logs).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let text: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut structured = 0;
    for line in text.lines().filter(|line| line.get(29..).is_some_and(|line| line.contains(".go:"))) {
        let Some((_, said)) = line.split_once("] \"").filter(|_| klog_level(line).is_some()) else { continue };
        let record = Record::parse(line);
        structured += 1;
        assert!(said.starts_with(record.message.get(..record.message.len().min(10)).unwrap()), "{line}");
        for (key, value) in &record.values {
            let is_name = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./ ".contains(&byte));
            assert!(is_name && !key.is_empty() && key.len() < 40, "{key}={value} of {line}");
            assert!(line.contains(&format!("{key}=")), "{line}");
        }
        // Whatever looks like a key outside of quotes is one.
        let keys = said.split("\" ").filter_map(|part| part.split_once("=\"")).filter(|(key, _)| key.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        keys.for_each(|(key, _)| assert!(record.value(key).is_some(), "{key} of {line}"));
        assert!(!record.to_string().contains("\\\""), "{record} of {line}");
    }
    assert!(structured > 500, "{structured} lines");
}
