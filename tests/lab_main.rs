//! The main job on real nodes: systemd 252 and 257, and somebody who breaks them. Whatever is done to the node is in the
//! report at once, with its root cause first, and gone from it at once when it is mended.

#[path = "lab/mod.rs"]
mod lab;

use std::time::Instant;

use lab::{DEADLINE, Daemon, Lab, folded, roots};
use serde_json::Value;

const KUBELET: &str = "kubelet.service";
const CONFIG: &str = "/var/lib/kubelet/config.yaml";
const CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

#[test]
fn outside_as_a_pod_on_systemd_252() {
    outside("bookworm");
}

#[test]
fn outside_as_a_pod_on_systemd_257() {
    outside("trixie");
}

#[test]
fn inside_as_the_shipped_unit_on_systemd_252() {
    inside("bookworm");
}

#[test]
fn inside_as_the_shipped_unit_on_systemd_257() {
    inside("trixie");
}

fn outside(suite: &str) {
    let Some(lab) = Lab::boot(suite, "outside") else { return };
    everything(&lab, &lab.daemon_outside(&[]));
}

fn inside(suite: &str) {
    let Some(lab) = Lab::boot(suite, "inside") else { return };
    everything(&lab, &lab.daemon_inside());
    // Nor was it killed at its memory limit on the way.
    assert_eq!(lab.sh("systemctl show -P NRestarts nodetriage"), "0\n");
}

fn everything(lab: &Lab, daemon: &Daemon) {
    let node = Node { lab, daemon };
    node.healthy(Instant::now(), "a node just booted");
    let report = daemon.report();
    assert_eq!(report["unknown"], serde_json::json!([]), "the node can be seen as a whole");
    assert_eq!(report["verdict"], "healthy");
    unit_states(&node);
    unit_files(&node);
    crash_loop(&node);
    journal(&node);
    certificates(&node);
    cni(&node);
}

/// A node and whoever looks at it.
struct Node<'a> {
    lab: &'a Lab,
    daemon: &'a Daemon,
}

impl Node<'_> {
    /// Does something to the node, after which the report must name this root cause, and fold this under it.
    fn shows(&self, commands: &str, root: &str, consequences: &[&str]) -> Value {
        self.shows_after(self.lab.event(commands), commands, root, consequences)
    }

    fn shows_after(&self, event: Instant, what: &str, root: &str, consequences: &[&str]) -> Value {
        self.daemon.wait_for(event, what, |report| roots(report) == [root] && folded(report) == consequences).0
    }

    fn mended(&self, commands: &str) {
        self.healthy(self.lab.event(commands), commands);
    }

    fn healthy(&self, event: Instant, what: &str) {
        self.daemon.wait_for(event, what, |report| report["findings"] == serde_json::json!([]));
    }
}

fn unit_states(node: &Node) {
    node.shows("systemctl stop kubelet", "unit-inactive kubelet.service", &[]);
    node.mended("systemctl start kubelet");
    node.shows("systemctl stop containerd", "unit-inactive containerd.service", &[]);
    node.mended("systemctl start containerd");
    node.shows("systemctl stop kube-proxy", "unit-inactive kube-proxy.service", &[]);
    node.mended("systemctl start kube-proxy");
    // Restart=always: killed once, it was restarted once.
    node.shows("systemctl kill --signal=KILL kubelet", "unit-crash-looping kubelet.service", &[]);
    node.mended("systemctl restart kubelet");
}

fn unit_files(node: &Node) {
    node.shows("systemctl mask kubelet", "unit-masked kubelet.service", &[]);
    node.shows("systemctl stop kubelet", "unit-masked kubelet.service", &["unit-inactive kubelet.service"]);
    node.mended("systemctl unmask kubelet && systemctl start kubelet");

    node.shows("systemctl disable kubelet", "unit-disabled kubelet.service", &[]);
    node.mended("systemctl enable kubelet");

    node.shows("echo '# edited' >> /usr/lib/systemd/system/kubelet.service", "unit-needs-daemon-reload kubelet.service", &[]);
    node.mended("systemctl daemon-reload");
}

/// The path of the client CA is wrong, and the kubelet exits again and again.
fn crash_loop(node: &Node) {
    let wrong = format!("sed -i s,pki/ca.crt,pki/nosuch.crt, {CONFIG} && systemctl restart kubelet");
    let report = node.shows(&wrong, "kubelet-client-ca-missing /etc/kubernetes/pki/nosuch.crt", &["unit-crash-looping kubelet.service"]);
    // The kubelet's own last words are there, too, from its journal.
    let words = "failed to run Kubelet: open /etc/kubernetes/pki/nosuch.crt: no such file or directory";
    let quoted = |report: &Value| {
        let findings = report["findings"].as_array().expect("findings").iter();
        let looping = findings.filter(|finding| finding["code"] == "unit-crash-looping" && finding["subject"] == KUBELET);
        looping
            .flat_map(|finding| finding["evidence"].as_array().expect("evidence"))
            .any(|evidence| evidence["saw"].as_str().is_some_and(|saw| saw.contains(words)))
    };
    if !quoted(&report) {
        node.daemon.wait_for(Instant::now(), "the kubelet's last words", quoted);
    }
    node.mended(&format!("sed -i s,pki/nosuch.crt,pki/ca.crt, {CONFIG} && systemctl restart kubelet"));
}

/// What only the kubelet knows, it says; and not the one that was restarted since.
fn journal(node: &Node) {
    node.lab.sh("until grep -qs ^/usr/bin/kubelet /proc/$(systemctl show -P MainPID kubelet)/cmdline; do :; done");
    node.shows("systemctl kill --signal=USR1 kubelet", "kubelet-pleg-unhealthy kubelet.service", &[]);
    node.mended("systemctl restart kubelet");
}

/// The client certificate has expired; mended as the kubelet does it: another file, and the symlink renamed into place.
fn certificates(node: &Node) {
    let root = format!("certificate-expired {CERTIFICATE}");
    // The kubelet that was just restarted has read the certificate that is still good.
    node.lab.sh("until journalctl -q --no-pager _PID=$(systemctl show -P MainPID kubelet) | grep -q 'Finished populating'; do :; done");
    node.shows_after(node.lab.renew_client_certificate(-1), "the client certificate has expired", &root, &[]);
    node.shows("systemctl restart kubelet", &root, &["unit-crash-looping kubelet.service"]);
    let event = node.lab.renew_client_certificate(300);
    node.shows_after(event, "the client certificate was renewed", "unit-crash-looping kubelet.service", &[]);
    node.mended("systemctl restart kubelet");
}

fn cni(node: &Node) {
    node.shows("mv /etc/cni/net.d/10-lab.conflist /root", "cni-config-missing /etc/cni/net.d", &[]);
    node.mended("mv /root/10-lab.conflist /etc/cni/net.d");
}

/// Who may not look is told what to grant, and neither that all is well nor that something is missing.
#[test]
fn without_the_capability_it_is_blind_and_says_so() {
    let Some(lab) = Lab::boot("trixie", "nobody") else { return };
    let output = lab.run_as_nobody(&["check", "--node-name", "node1", "--output", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(report["verdict"], "unknown", "{report:#}");
    assert_eq!(report["findings"], serde_json::json!([]));
    let unknown = report["unknown"].as_array().expect("a list");
    for domain in ["journal", "kubelet", "certificates"] {
        let blind = unknown.iter().find(|blind| blind["domain"] == domain).unwrap_or_else(|| panic!("{domain} is not unknown: {report:#}"));
        assert!(blind["grant"].as_str().is_some_and(|grant| grant.contains("CAP_DAC_READ_SEARCH")), "{blind}");
    }
}

/// The unit's promises: its limits hold, SIGTERM ends it at once, a hang does too, and what it knew of the past it still knows.
#[test]
fn the_shipped_unit_is_kept_alive_and_small() {
    let Some(lab) = Lab::boot("trixie", "unit") else { return };
    let daemon = lab.daemon_inside();
    let show = |property: &str| lab.sh(&format!("systemctl show -P {property} nodetriage")).trim().to_owned();
    assert_eq!(show("MemoryMax"), (32 << 20).to_string());

    let event = lab.event("systemctl disable kubelet");
    let since = |report: &Value| report["findings"][0]["since"].clone();
    let disabled = |report: &Value| roots(report) == ["unit-disabled kubelet.service"];
    let before = since(&daemon.wait_for(event, "the kubelet was disabled", disabled).0);
    assert!(before.is_string());

    // A shorter patience, and it outlives that several times over.
    let shorter = "mkdir -p /etc/systemd/system/nodetriage.service.d
        printf '[Service]\nWatchdogSec=1s\nTimeoutAbortSec=1s\nRestartSec=100ms\n' > /etc/systemd/system/nodetriage.service.d/test.conf
        systemctl daemon-reload && systemctl restart nodetriage";
    lab.sh(shorter);
    let pid = show("MainPID");
    let pings = |seen: &str| lab.until(|| show("WatchdogTimestampMonotonic") != seen, "a ping for the watchdog");
    for _ in 0..4 {
        pings(&show("WatchdogTimestampMonotonic"));
    }
    assert_eq!((show("MainPID"), show("NRestarts")), (pid.clone(), "0".to_owned()));

    lab.sh(&format!("kill -STOP {pid}"));
    lab.until(|| show("NRestarts") == "1" && show("ActiveState") == "active", "systemd restarts what hangs");
    assert_eq!(since(&daemon.wait_for(Instant::now(), "after the restart", disabled).0), before, "since when is kept");

    let start = Instant::now();
    lab.sh("systemctl stop nodetriage");
    assert!(start.elapsed() < DEADLINE / 4, "SIGTERM took {:?}", start.elapsed());
    assert_eq!((show("Result"), show("ExecMainStatus")), ("success".to_owned(), "0".to_owned()));
}

/// A kubelet that was killed once and runs again is no crash loop for ever, without anybody's doing.
#[test]
fn what_runs_again_is_forgotten_by_itself() {
    let Some(lab) = Lab::boot("trixie", "killed") else { return };
    let daemon = lab.daemon_outside(&[]);
    let event = lab.event("systemctl kill --signal=KILL kubelet");
    daemon.wait_for(event, "the kubelet was killed", |report| roots(report) == ["unit-crash-looping kubelet.service"]);
    let hold = std::time::Duration::from_mins(1);
    while event.elapsed() < hold + 4 * DEADLINE && !roots(&daemon.report()).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(roots(&daemon.report()), [""; 0], "it has run for {:?}", event.elapsed());
}
