//! A worker node with a real systemd, for integration tests: see README.md beside this file.
//!
//! ```ignore
//! let Some(lab) = Lab::boot("trixie", "cni") else { return };
//! let daemon = lab.daemon_outside(&[]);
//! let event = lab.event("systemctl stop kubelet");
//! daemon.wait_for(event, "the kubelet was stopped", |report| roots(report) == ["unit-inactive kubelet.service"]);
//! ```
#![allow(dead_code)] // each test takes what it needs

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a loaded machine is given for what should take milliseconds. The measured time is printed.
pub const DEADLINE: Duration = Duration::from_secs(10);
const BINARY: &str = env!("CARGO_BIN_EXE_nodetriage");

/// A lab node; it is gone when this is dropped.
#[derive(Debug)]
pub struct Lab {
    name: String,
    directory: PathBuf,
}

impl Lab {
    /// Boots a node of a Debian suite: `bookworm` has systemd 252, `trixie` 257, `forky` 262. `None`, with a word about it, where
    /// `NODETRIAGE_LAB` does not name what `tests/lab/prepare` made.
    pub fn boot(suite: &str, name: &str) -> Option<Self> {
        Self::boot_with(suite, name, &[])
    }

    /// As [`Self::boot`], with variables for `tests/lab/boot`.
    pub fn boot_with(suite: &str, name: &str, variables: &[(&str, &str)]) -> Option<Self> {
        static BOOTED: AtomicU32 = AtomicU32::new(0);
        let Some(lab) = std::env::var_os("NODETRIAGE_LAB") else {
            // Past the test harness, which shows what a passed test prints to nobody.
            let _ = writeln!(
                std::io::stderr(),
                "left out: {name} on {suite}, which needs NODETRIAGE_LAB (tests/run, or as root: NODETRIAGE_LAB=$(tests/lab/prepare))"
            );
            return None;
        };
        let name = format!("{name}-{suite}-{}-{}", std::process::id(), BOOTED.fetch_add(1, Ordering::Relaxed));
        let node = Self { directory: Path::new(&lab).join("nodes").join(&name), name };
        let output = script("boot").args([suite, &node.name]).envs(variables.iter().copied()).output().expect("tests/lab/boot starts");
        assert!(output.status.success(), "tests/lab/boot {suite}: {}", text(&output.stderr));
        Some(node)
    }

    /// Runs shell commands in the node, which must succeed; what they print.
    pub fn sh(&self, commands: &str) -> String {
        text(&self.sh_bytes(commands))
    }

    /// As [`Self::sh`], byte for byte.
    pub fn sh_bytes(&self, commands: &str) -> Vec<u8> {
        let output = self.command(commands).output().expect("tests/lab/in starts");
        assert!(output.status.success(), "in the node, {commands}: {}{}{}", output.status, text(&output.stdout), text(&output.stderr));
        output.stdout
    }

    /// As [`Self::sh`]; the moment before, from which [`Daemon::wait_for`] measures.
    pub fn event(&self, commands: &str) -> Instant {
        let before = Instant::now();
        self.sh(commands);
        before
    }

    /// Asks until it is so.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub fn until(&self, so: impl Fn() -> bool, what: &str) {
        let start = Instant::now();
        while !so() {
            assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}\n{}", self.sh("journalctl -n 30 --no-pager"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self, commands: &str) -> Command {
        let mut command = script("in");
        command.args([self.name.as_str(), "sh", "-euc", commands]);
        command
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's disk, from outside.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The node as a DaemonSet pod has it below `/host`: its /etc, /usr, /opt, /var, /run, /proc and cgroups.
    pub fn host_root(&self) -> PathBuf {
        self.directory.join("host")
    }

    /// Puts another client certificate in place, as the kubelet does when it renews; `days` may be negative.
    pub fn renew_client_certificate(&self, days: i32) -> Instant {
        let before = Instant::now();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubeadm-tree.sh");
        let output = Command::new(script).arg("renew").arg(self.root()).arg(days.to_string()).output().expect("kubeadm-tree.sh starts");
        assert!(output.status.success(), "kubeadm-tree.sh renew: {}", text(&output.stderr));
        before
    }

    /// Shuts the node down in order and boots it again from its disk; with `plug`, it is not asked.
    pub fn reboot(&self, plug: bool) {
        let output = script("reboot").arg(&self.name).args(plug.then_some("plug")).output().expect("tests/lab/reboot starts");
        assert!(output.status.success(), "tests/lab/reboot: {}", text(&output.stderr));
    }

    /// `nodetriage ARGS --root HOST_ROOT`, once, from outside.
    pub fn run(&self, args: &[&str]) -> Output {
        script("pod").args([&self.name, BINARY]).args(args).arg("--root").arg(self.host_root()).output().expect("nodetriage starts")
    }

    /// As [`Self::run`], by root, who may look into every process.
    pub fn run_as_root(&self, args: &[&str]) -> Output {
        let pid = std::fs::read_to_string(self.directory.join("pid")).expect("tests/lab/boot writes it");
        let mut command = Command::new("nsenter");
        command.args(["--target", pid.trim(), "--uts", "--net", "--", BINARY]).args(args).arg("--root").arg(self.host_root());
        command.output().expect("nodetriage starts")
    }

    /// The stand-in for the cluster's API server goes away.
    pub fn stop_api_server(&self) {
        self.api_server("stop");
    }

    /// And comes back.
    pub fn start_api_server(&self) {
        self.api_server("start");
    }

    fn api_server(&self, what: &str) {
        let status = script("api-server").args([what, &self.name]).status().expect("tests/lab/api-server starts");
        assert!(status.success(), "tests/lab/api-server {what} {}", self.name);
    }

    /// As [`Self::run`], by somebody without any capability.
    pub fn run_as_nobody(&self, args: &[&str]) -> Output {
        // A mount namespace with the node at /mnt, because nobody may pass through root's home.
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-euc",
            "mount --rbind \"$0\" /mnt; exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all \"$@\"",
        ]);
        command.arg(self.host_root()).arg(BINARY).args(args).args(["--root", "/mnt"]).output().expect("unshare starts")
    }

    /// The daemon as a DaemonSet pod runs it: outside the node, over its mounts, as nobody with CAP_DAC_READ_SEARCH.
    pub fn daemon_outside(&self, args: &[&str]) -> Daemon {
        self.daemon_in(script("pod"), args)
    }

    /// And in the group of the runtime's socket, to ask it, as the manifest says how to.
    pub fn daemon_that_asks_the_runtime(&self) -> Daemon {
        let mut pod = script("pod");
        pod.env("RUNTIME_ASK", "true");
        self.daemon_in(pod, &[])
    }

    fn daemon_in(&self, mut command: Command, args: &[&str]) -> Daemon {
        let node = std::fs::read_to_string(self.directory.join("address")).expect("tests/lab/boot writes it");
        let address = SocketAddr::new(node.trim().parse().expect("an address"), 20258);
        command.args([&self.name, BINARY, "serve"]).arg("--root").arg(self.host_root()).args(["--node-name", "node1", "--listen"]).arg(address.to_string());
        command.arg("--state-dir").arg(self.directory.join("state")).args(args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("nodetriage starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (child.stderr.take().expect("piped"), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().expect("nobody panics holding it").push_str(&format!("{line}\n"));
            }
        });
        let daemon = Daemon { runs: Runs::Outside { child, log }, address };
        daemon.wait_until_ready();
        daemon
    }

    /// The daemon as root, inside the node.
    pub fn daemon_as_root(&self) -> Daemon {
        std::fs::copy(BINARY, self.root().join("usr/bin/nodetriage")).unwrap_or_else(|error| panic!("{BINARY}: {error}"));
        let daemon = Daemon { runs: Runs::Inside { node: self.directory.clone() }, address: ([127, 0, 0, 1], 20258).into() };
        self.sh("systemd-run --quiet --unit=nodetriage nodetriage serve --node-name node1 --state-dir none");
        daemon.wait_until_ready();
        daemon
    }

    /// The daemon inside the node, which has started it by itself.
    pub fn daemon_started_at_boot(&self) -> Daemon {
        let daemon = Daemon { runs: Runs::Inside { node: self.directory.clone() }, address: ([127, 0, 0, 1], 20258).into() };
        daemon.wait_until_ready();
        daemon
    }

    /// The daemon as the shipped unit, inside the node, started by its systemd.
    pub fn daemon_inside(&self) -> Daemon {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (from, to) in [
            (Path::new(BINARY), "usr/bin/nodetriage"),
            (&repository.join("systemd/nodetriage.service"), "usr/lib/systemd/system/nodetriage.service"),
            (&repository.join("systemd/nodetriage.sysusers"), "usr/lib/sysusers.d/nodetriage.conf"),
        ] {
            std::fs::copy(from, self.root().join(to)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
        self.sh(
            "systemd-sysusers nodetriage.conf; systemctl daemon-reload; systemctl enable -q --now nodetriage || { journalctl -u nodetriage -n 30 --no-pager; exit 1; }",
        );
        self.daemon_started_at_boot()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let status = script("down").arg(&self.name).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("tests/lab/down {} failed", self.name);
        }
    }
}

/// A daemon that looks at a lab node; stopped when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    runs: Runs,
    address: SocketAddr,
}

#[derive(Debug)]
enum Runs {
    Outside {
        child: Child,
        log: Arc<Mutex<String>>,
    },
    /// In the node of this directory, with its network.
    Inside {
        node: PathBuf,
    },
}

impl Daemon {
    /// The status and the body of a GET.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let response = match &self.runs {
            Runs::Outside { .. } => self.get_here(path).ok()?,
            // Only a process in the node's network namespace reaches its loopback.
            Runs::Inside { node } => {
                let pid = std::fs::read_to_string(node.join("pid")).ok()?;
                let url = format!("http://{}{path}", self.address);
                let output = Command::new("nsenter").args(["--target", pid.trim(), "--net", "curl", "-si", &url]).output().ok()?;
                text(&output.stdout)
            }
        };
        let (head, body) = response.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn get_here(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    }

    /// Base of its URLs, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn pid(&self) -> Option<u32> {
        match &self.runs {
            Runs::Outside { child, .. } => Some(child.id()),
            Runs::Inside { .. } => None,
        }
    }

    /// The present report.
    pub fn report(&self) -> Value {
        let (status, body) = self.get("/api/v1/report").unwrap_or_else(|| panic!("no answer; {}", self.log()));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("the report is no JSON: {error}: {body}"))
    }

    /// Asks until the report is as expected, and prints how long after the event that was.
    ///
    /// # Panics
    /// After [`DEADLINE`], with the last report: counted from this call, for what made the event may have waited for a disk; from the
    /// event, if that is yet to come.
    pub fn wait_for(&self, event: Instant, what: &str, expected: impl Fn(&Value) -> bool) -> (Value, Duration) {
        let deadline = event.max(Instant::now()) + DEADLINE;
        loop {
            let report = self.report();
            let after = event.elapsed();
            if expected(&report) {
                let late = if after > Duration::from_secs(1) { " (PROMISED: within 1 s)" } else { "" };
                eprintln!("{what}: in the report after {} ms{late}", after.as_millis());
                return (report, after);
            }
            assert!(Instant::now() < deadline, "{what}: not in the report after {DEADLINE:?}:\n{report:#}\nroots: {:?}\n{}", roots(&report), self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn wait_until_ready(&self) {
        let start = Instant::now();
        while self.get("/readyz").is_none_or(|(status, _)| status != 200) {
            assert!(start.elapsed() < DEADLINE, "not ready after {DEADLINE:?}; {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        match &self.runs {
            Runs::Outside { log, .. } => format!("its stderr:\n{}", log.lock().expect("nobody panics holding it")),
            Runs::Inside { node } => {
                let name = node.file_name().expect("has a name");
                let output = script("in").arg(name).args(["journalctl", "-u", "nodetriage", "-n", "50", "--no-pager"]).output();
                format!("its journal:\n{}", output.map_or_else(|error| error.to_string(), |output| text(&output.stdout)))
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Runs::Outside { child, .. } = &mut self.runs {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The root causes of a report, in their order: `code subject`.
pub fn roots(report: &Value) -> Vec<String> {
    findings(report, true)
}

/// The findings that others explain: `code subject`.
pub fn folded(report: &Value) -> Vec<String> {
    findings(report, false)
}

fn findings(report: &Value, root: bool) -> Vec<String> {
    let findings = report["findings"].as_array().expect("a report has findings").iter();
    let of_kind = findings.filter(|finding| finding["explained_by"].as_array().is_none_or(Vec::is_empty) == root);
    of_kind.map(|finding| format!("{} {}", finding["code"].as_str().unwrap_or("?"), finding["subject"].as_str().unwrap_or("?"))).collect()
}

fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
