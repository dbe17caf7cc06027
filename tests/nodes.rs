//! The fixture nodes of tests/nodes: a healthy node with one thing broken must be told by its root cause.
//! `UPDATE=1` rewrites the goldens.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{num::NonZero, thread};

use serde::Deserialize;
use serde_json::{Value, json};

use common::{merge, private};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// For the reader.
    #[allow(dead_code)]
    why: String,
    #[serde(default = "worker")]
    base: String,
    #[serde(default = "yes")]
    live: bool,
    #[serde(default = "now")]
    now: String,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    link: BTreeMap<String, String>,
    #[serde(default)]
    write: BTreeMap<String, String>,
    #[serde(default)]
    mode: BTreeMap<String, String>,
    #[serde(default)]
    replace: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    units: BTreeMap<String, Value>,
    #[serde(default)]
    facts: Value,
    /// Root causes, in order.
    root: Vec<String>,
    #[serde(default)]
    folded: Vec<String>,
}

fn worker() -> String {
    "worker".to_owned()
}

fn yes() -> bool {
    true
}

fn now() -> String {
    "2026-12-01T03:12:44Z".to_owned()
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

#[test]
fn every_fixture_node_is_told_by_its_root_cause() {
    let mut cases: Vec<_> =
        fs::read_dir(here().join("nodes")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.join("case.yaml").is_file()).collect();
    cases.sort();
    assert!(cases.len() > 1, "no fixture nodes");
    let (queue, failures) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    let next = || queue.lock().unwrap().next();
    let worker = || {
        while let Some(case) = next() {
            if let Err(failure) = check(case) {
                failures.lock().unwrap().push(format!("--- {}\n{failure}", case.file_name().unwrap().display()));
            }
        }
    };
    // Each case starts the program a few times and waits for it.
    thread::scope(|scope| (0..thread::available_parallelism().map_or(2, NonZero::get)).for_each(|_| drop(scope.spawn(worker))));
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(failures.is_empty(), "{} of {} fixture nodes:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check(dir: &Path) -> Result<(), String> {
    let text = fs::read_to_string(dir.join("case.yaml")).unwrap();
    let case: Case = serde_saphyr::from_str(&text).map_err(|error| format!("case.yaml: {error}"))?;
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nodes").join(dir.file_name().unwrap());
    let _ = fs::remove_dir_all(&scratch);
    let root = scratch.join("root");
    disk(dir, &case, &root);
    let facts = facts(dir, &case, &root);
    let file = scratch.join("facts.json");
    fs::write(&file, serde_json::to_string_pretty(&facts).unwrap()).unwrap();

    let json = nodetriage(&["diagnose", "--output", "json", "--facts", file.to_str().unwrap()]);
    let text = nodetriage(&["diagnose", "--output", "text", "--facts", file.to_str().unwrap()]);
    expect(&case, &serde_json::from_str(&json).unwrap()).map_err(|failure| format!("{failure}\n{text}"))?;
    golden(&dir.join("report.json"), &json)?;
    golden(&dir.join("report.txt"), &text)
}

/// The base's disk, then the case's files over it.
fn disk(dir: &Path, case: &Case, root: &Path) {
    fs::create_dir_all(root).unwrap();
    if case.base == "control-plane" {
        run(Command::new("tar").arg("xzf").arg(here().join("data/trees/kubeadm-control-plane-healthy.tar.gz")).arg("-C").arg(root));
    }
    for layer in [here().join(format!("nodes/_{}/root", case.base)), dir.join("root")] {
        if layer.is_dir() {
            run(Command::new("cp").arg("-a").arg(layer.join(".")).arg(root));
        }
    }
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    private(root);
    for path in &case.remove {
        let path = below(path);
        assert!(path.symlink_metadata().is_ok(), "{} is not there to be removed", path.display());
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    for (path, content) in &case.write {
        fs::create_dir_all(below(path).parent().unwrap()).unwrap();
        fs::write(below(path), content).unwrap();
    }
    for (path, changes) in &case.replace {
        let mut text = fs::read_to_string(below(path)).unwrap();
        for (old, new) in changes {
            assert_eq!(text.matches(old.as_str()).count(), 1, "{path}: {old:?} is not there once");
            text = text.replace(old.as_str(), new);
        }
        fs::write(below(path), text).unwrap();
    }
    for (path, target) in &case.link {
        let _ = fs::remove_file(below(path));
        fs::create_dir_all(below(path).parent().unwrap()).unwrap();
        symlink(target, below(path)).unwrap();
    }
    for (path, mode) in &case.mode {
        fs::set_permissions(below(path), fs::Permissions::from_mode(u32::from_str_radix(mode, 8).unwrap())).unwrap();
    }
}

/// What `observe` sees of the disk, and what a running node would tell besides.
fn facts(dir: &Path, case: &Case, root: &Path) -> Value {
    // Where the scratch directory lies is no fact of the node.
    let observed = nodetriage(&["observe", "--node-name", "node1", "--root", root.to_str().unwrap()]).replace(root.to_str().unwrap(), "/node");
    let mut facts: Value = serde_json::from_str(&observed).unwrap();
    let yaml = |path: PathBuf| -> Value { serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display())) };
    // The unit files of the disk say what is installed; the base says that it runs.
    let installed = facts["units"]["known"]["units"].clone();
    merge(&mut facts, &json!({ "now": case.now, "certificates_at": case.now, "node": { "root": "/" } }));
    if case.live && case.base != "empty" {
        merge(&mut facts, &yaml(here().join(format!("nodes/_{}/live.yaml", case.base))));
        let units = installed.as_array().unwrap_or_else(|| panic!("{}: no unit files on the disk", dir.display()));
        facts["units"]["known"]["units"] = units.iter().map(|unit| running(unit, &case.now)).collect();
    }
    for (name, properties) in &case.units {
        let units = facts["units"]["known"]["units"].as_array_mut().unwrap();
        match units.iter().position(|unit| unit["name"] == name.as_str()) {
            Some(at) if properties.is_null() => drop(units.remove(at)),
            Some(at) => merge(&mut units[at], properties),
            None => {
                let mut unit = json!({ "name": name });
                merge(&mut unit, properties);
                units.push(unit);
            }
        }
    }
    merge(&mut facts, &case.facts);
    // How long an observation took is no fact of the node.
    for observation in facts["observed"].as_object_mut().unwrap().values_mut() {
        *observation = json!({ "at": case.now, "took_ms": 0.0 });
    }
    facts
}

/// An installed unit as it is on a healthy node.
fn running(unit: &Value, _now: &str) -> Value {
    let mut unit = unit.clone();
    let active = if unit["load_state"] == "loaded" {
        json!({
            "state": "active", "sub_state": "running", "result": "success", "main_pid": 612, "restarts": 0,
            "since": "2026-11-30T08:00:00Z", "active_enter": "2026-11-30T08:00:00Z", "invocation_id": "11111111111111111111111111111111",
        })
    } else {
        json!({ "state": "inactive", "sub_state": "dead", "result": "success" })
    };
    merge(&mut unit, &json!({ "active": active }));
    unit
}

fn expect(case: &Case, report: &Value) -> Result<(), String> {
    let all = report["findings"].as_array().unwrap();
    let name = |finding: &Value| format!("{} {}", finding["code"].as_str().unwrap(), finding["subject"].as_str().unwrap());
    let is_root = |finding: &&Value| finding["explained_by"].as_array().unwrap().is_empty();
    let roots: Vec<_> = all.iter().filter(is_root).map(name).collect();
    let mut folded: Vec<_> = all.iter().filter(|finding| !is_root(finding)).map(name).collect();
    let mut expected = case.folded.clone();
    folded.sort();
    expected.sort();
    if roots != case.root {
        return Err(format!("root causes {roots:#?}, expected {:#?}", case.root));
    }
    if folded != expected {
        return Err(format!("folded symptoms {folded:#?}, expected {expected:#?}"));
    }
    Ok(())
}

fn golden(path: &Path, saw: &str) -> Result<(), String> {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, saw).unwrap();
        return Ok(());
    }
    let expected = fs::read_to_string(path).map_err(|error| format!("{}: {error}; UPDATE=1 writes it", path.display()))?;
    if expected == saw {
        return Ok(());
    }
    let difference = expected.lines().zip(saw.lines()).enumerate().find(|(_, (a, b))| a != b);
    let (line, (a, b)) = difference.unwrap_or((expected.lines().count().min(saw.lines().count()), ("(end)", "(end)")));
    Err(format!("{} differs at line {}:\n  golden {a}\n  now    {b}", path.display(), line + 1))
}

fn nodetriage(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(args).env("NO_COLOR", "1").env_remove("COLUMNS").output().unwrap();
    assert!(matches!(output.status.code(), Some(0..=2)), "{args:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
