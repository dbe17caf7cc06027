//! Swap is the machine's, and no file or unit changes with it: that it was switched on is in the report at once all the same.

#[path = "lab/mod.rs"]
mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use lab::{Lab, roots};

/// A swap file of one MiB, off at the end whatever happens.
struct SwapFile(PathBuf);

impl SwapFile {
    fn new() -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("swap-{}", std::process::id()));
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = Self(path);
        file.run("mkswap");
        file
    }

    fn run(&self, program: &str) -> Instant {
        let output = Command::new(program).arg(&self.0).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Instant::now()
    }
}

impl Drop for SwapFile {
    fn drop(&mut self) {
        let _ = Command::new("swapoff").arg(&self.0).output();
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn swap_is_seen_when_it_is_switched_on_and_off() {
    let Some(lab) = Lab::boot("trixie", "swap") else { return };
    let daemon = lab.daemon_outside(&[]);
    let swap = SwapFile::new();
    let blocks = |report: &serde_json::Value| roots(report).iter().any(|root| root == "kubelet-swap-blocks /proc/swaps");
    assert!(!blocks(&daemon.report()), "swap is on before the test: {}", fs::read_to_string("/proc/swaps").unwrap());
    for round in ["once", "and again"] {
        let on = swap.run("swapon");
        daemon.wait_for(on, &format!("swap was switched on, {round}"), blocks);
        let off = swap.run("swapoff");
        daemon.wait_for(off, &format!("swap was switched off, {round}"), |report| !blocks(report));
    }
}
