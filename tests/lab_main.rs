//! The main job on real nodes: systemd 252 and 257, the programs on them, and whoever breaks them.

#[path = "lab/mod.rs"]
mod lab;

use lab::{Lab, roots};
use serde_json::Value;

const SUITES: [&str; 2] = ["bookworm", "trixie"];

#[test]
fn a_worker_node_is_healthy_until_its_kubelet_is_stopped() {
    for suite in SUITES {
        let Some(lab) = Lab::boot(suite, "main-check") else { return };
        let look = || -> Value { serde_json::from_slice(&lab.run(&["check", "--output", "json"]).stdout).expect("a report") };
        assert_eq!(roots(&look()), [""; 0]);
        lab.sh("systemctl stop kubelet");
        assert_eq!(roots(&look()), ["unit-inactive kubelet.service"]);
    }
}
