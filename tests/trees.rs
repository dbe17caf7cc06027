//! Trees that kubeadm 1.36.2 made, looked at by the real binary.
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn unpack(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(&dir).unwrap();
    let tree = format!("{}/tests/data/trees/{name}.tar.gz", env!("CARGO_MANIFEST_DIR"));
    assert!(Command::new("tar").args(["xzf", &tree, "-C"]).arg(&dir).status().unwrap().success());
    dir
}

fn report(root: &PathBuf, at: &str) -> (i32, Value) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(["--node-name", "node1", "--output", "json", "--at", at, "--root"]).arg(root).output().unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

fn codes(report: &Value) -> Vec<String> {
    report["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_healthy_tree_raises_no_alarm_about_certificates_or_configuration() {
    let (_, report) = report(&unpack("kubeadm-control-plane-healthy"), "2026-12-01T00:00:00Z");
    let bad: Vec<_> = codes(&report).into_iter().filter(|code| code.starts_with("certificate-") || code.starts_with("kubelet-")).collect();
    assert_eq!(bad, Vec::<String>::new());
    assert!(report["unknown"].as_array().unwrap().iter().any(|unknown| unknown["domain"] == "units"), "a tree has no bus: unknown, never healthy");
}

#[test]
fn an_expired_tree_names_the_kubelets_certificate() {
    let (code, report) = report(&unpack("kubeadm-control-plane-expired"), "2026-11-24T00:00:00Z");
    assert_eq!(code, 2);
    assert_eq!(report["verdict"], "critical");
    let kubelet = report["findings"].as_array().unwrap().iter().find(|f| f["subject"] == "/etc/kubernetes/kubelet.conf").unwrap();
    assert_eq!(kubelet["code"], "certificate-expired");
    assert!(kubelet["remedy"][0].as_str().unwrap().contains("--client-name system:node:node1"));
}

#[test]
fn a_wrong_ca_path_is_named_with_its_line() {
    let root = unpack("kubeadm-control-plane-healthy");
    let config = root.join("var/lib/kubelet/config.yaml");
    let text = std::fs::read_to_string(&config).unwrap().replace("pki/ca.crt", "pki/nosuch.crt");
    let moved = root.join("var/lib/kubelet");
    std::fs::write(moved.join("config.yaml"), text).unwrap();
    let (code, report) = report(&root, "2026-12-01T00:00:00Z");
    assert_eq!(code, 2);
    let first = &report["findings"][0];
    assert_eq!(first["code"], "kubelet-client-ca-missing");
    assert_eq!(first["evidence"][0]["source"], "/var/lib/kubelet/config.yaml:9");
}

#[test]
fn every_code_has_an_article_that_begins_with_it() {
    for check in nodetriage::checks::ALL {
        assert!(check.article.starts_with(&format!("# {}\n", check.code)), "{}", check.code);
        for part in ["## Meaning", "## Impact", "## Verify", "## Remedy", "## False alarms"] {
            assert!(check.article.contains(part), "{} lacks {part}", check.code);
        }
    }
}
