//! The API server, the kubelet's health and ports, and kube-proxy on a real node with a real systemd, and somebody who breaks them.

#[path = "lab/mod.rs"]
mod lab;

use std::time::{Duration, Instant};

use lab::{Daemon, Lab, folded, roots};
use serde_json::Value;

/// What is asked every half minute, and must be so for a while, is given this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// As [`Daemon::wait_for`], with more patience.
fn wait(daemon: &Daemon, what: &str, expected: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let report = daemon.report();
        if expected(&report) {
            eprintln!("{what}: in the report after {} ms", start.elapsed().as_millis());
            return report;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}: {:?}, folded {:?}\n{report:#}\n{}", roots(&report), folded(&report), daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn healthy(daemon: &Daemon, what: &str) {
    wait(daemon, what, |report| report["findings"] == serde_json::json!([]) && report["unknown"] == serde_json::json!([]));
}

#[test]
fn the_api_server_goes_away_and_comes_back() {
    let Some(lab) = Lab::boot("trixie", "health-api") else { return };
    let daemon = lab.daemon_outside(&[]);
    healthy(&daemon, "a node just booted");
    let refused = "api-server-refused https://192.0.2.1:6443";
    lab.stop_api_server();
    // The kubelet goes on running: that it is refused explains its stale lease, and nothing else is wrong.
    wait(&daemon, "the API server is gone", |report| roots(report) == [refused] && folded(report).iter().all(|effect| effect == "node-lease-stale node1"));
    lab.start_api_server();
    // Its lease counts as stale for a while after the last complaint.
    wait(&daemon, "the API server is back", |report| !roots(report).iter().any(|root| root == refused));

    // Scenario: the wrong port in kubelet.conf.
    lab.sh("sed -i s,192.0.2.1:6443,192.0.2.1:6553, /etc/kubernetes/kubelet.conf && systemctl restart kubelet");
    wait(&daemon, "port 6553", |report| roots(report) == ["api-server-refused https://192.0.2.1:6553"]);
    lab.sh("sed -i s,192.0.2.1:6553,192.0.2.1:6443, /etc/kubernetes/kubelet.conf && systemctl restart kubelet");
    healthy(&daemon, "port 6443");

    // Scenario: the CA of another cluster in kubelet.conf.
    let other =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -days 9 -keyout /dev/null -out /root/other.crt 2>/dev/null
        cp -p /etc/kubernetes/kubelet.conf /root/kubelet.conf
        sed -i \"s,certificate-authority-data: .*,certificate-authority-data: $(base64 -w0 /root/other.crt),\" /etc/kubernetes/kubelet.conf";
    lab.sh(other);
    let untrusted = |report: &Value| roots(report).iter().chain(&folded(report)).any(|found| found == "api-server-untrusted https://192.0.2.1:6443");
    wait(&daemon, "another CA", untrusted);
    lab.sh("mv /root/kubelet.conf /etc/kubernetes/kubelet.conf");
    healthy(&daemon, "the right CA");
}

#[test]
fn the_kubelet_is_ill_or_its_port_is_taken() {
    let Some(lab) = Lab::boot("bookworm", "health-kubelet") else { return };
    let daemon = lab.daemon_outside(&[]);
    healthy(&daemon, "a node just booted");
    lab.sh("echo 500 Internal Server Error > /run/lab-kubelet.status; systemctl restart kubelet");
    let report = wait(&daemon, "HTTP 500", |report| roots(report) == ["kubelet-unhealthy 127.0.0.1:10248"]);
    assert!(report["findings"][0]["evidence"][0]["saw"].as_str().unwrap().starts_with("HTTP 500"), "{report:#}");
    lab.sh("echo hang > /run/lab-kubelet.status");
    wait(&daemon, "the kubelet hangs", |report| {
        roots(report) == ["kubelet-unhealthy 127.0.0.1:10248"] && report["findings"][0]["summary"].as_str().unwrap().contains("hangs")
    });
    lab.sh("rm /run/lab-kubelet.status");
    healthy(&daemon, "HTTP 200");

    // Scenario: another process holds 10250.
    let squatter = r"use Socket; socket(my $s, AF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1); bind($s, pack_sockaddr_in(10250, INADDR_ANY)) or die; listen $s, 5; sleep 1000";
    lab.sh(&format!("systemd-run --quiet --unit=squatter perl -e '{squatter}'; until ss -ltn 2>/dev/null | grep -q :10250 || grep -q ':280A .* 0A ' /proc/net/tcp; do :; done"));
    lab.sh("systemctl restart kubelet");
    let report = wait(&daemon, "10250 is taken", |report| {
        roots(report) == ["kubelet-port-in-use port 10250"] && folded(report).iter().any(|effect| effect == "unit-crash-looping kubelet.service")
    });
    // The pod's agent may not look into other users' processes; root may, and names who it is.
    assert!(report["findings"][0]["summary"].as_str().unwrap().starts_with("another process holds"), "{report:#}");
    let output = lab.run_as_root(&["check", "--node-name", "node1", "--output", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let pid = lab.sh("systemctl show -P MainPID squatter");
    let named = format!("perl (pid {}) holds the kubelet's port 10250, so the kubelet exits at start", pid.trim());
    assert_eq!(report["findings"][0]["summary"], named.as_str(), "{report:#}");
    let remedy = "systemctl status squatter.service --no-pager  # stop it or give it another port, then: systemctl restart kubelet";
    assert_eq!(report["findings"][0]["remedy"][0], remedy);
    lab.sh("systemctl stop squatter; systemctl restart kubelet");
    healthy(&daemon, "10250 is free again");
}

#[test]
fn kube_proxy_loses_its_configuration() {
    let Some(lab) = Lab::boot("trixie", "health-proxy") else { return };
    let daemon = lab.daemon_outside(&[]);
    healthy(&daemon, "a node just booted");
    let config = "/var/lib/kube-proxy/config.conf";
    lab.sh(&format!("mv {config} /root"));
    let missing = format!("kube-proxy-config-missing {config}");
    let report = wait(&daemon, "its file is gone, it still runs", |report| roots(report) == [missing.as_str()]);
    assert!(report["findings"][0]["summary"].as_str().unwrap().contains("will not start again"), "{report:#}");
    lab.sh("systemctl restart kube-proxy");
    wait(&daemon, "it exits", |report| roots(report) == [missing.as_str()] && folded(report) == ["unit-crash-looping kube-proxy.service"]);
    lab.sh(&format!("mv /root/config.conf {config}; systemctl restart kube-proxy"));
    healthy(&daemon, "its file is back");
    lab.sh(&format!("sed -i 's/^mode: .*/mode: iptable/' {config}"));
    wait(&daemon, "a mode that does not exist", |report| roots(report) == [format!("kube-proxy-config-invalid {config}")]);
    lab.sh(&format!("sed -i 's/^mode: .*/mode: iptables/' {config}"));
    healthy(&daemon, "a mode that exists");
}
