//! What tests share: the report's form, and nodes to report on.
#![allow(dead_code)] // each test uses its own part

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// The schema of the report, as it lies in the repository.
pub fn schema() -> Value {
    serde_json::from_str(include_str!("../../agent/publish/report.schema.json")).unwrap()
}

/// What is wrong with `report`: its form by the schema, and references that lead nowhere.
pub fn faults(report: &Value) -> Vec<String> {
    let schema = schema();
    let mut faults = Vec::new();
    validate(&schema, &schema, report, "report", &mut faults);
    let identity = |value: &Value| (value["code"].as_str().map(str::to_owned), value["subject"].as_str().map(str::to_owned));
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let known: Vec<_> = findings.iter().map(identity).collect();
    for finding in &findings {
        for cause in finding["explained_by"].as_array().into_iter().flatten() {
            if !known.contains(&identity(cause)) {
                faults.push(format!("{} is explained by {cause}, which is not in the report", finding["code"]));
            }
        }
    }
    faults
}

/// The part of JSON Schema 2020-12 that the report's schema uses; a keyword not known here is a failure, never passed over.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().unwrap_or_else(|| panic!("{schema} is no schema")) {
        let mut must = |holds: bool| {
            if !holds {
                faults.push(format!("{at}: {value} is not {keyword} {rule}"));
            }
        };
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => {}
            "$ref" => validate(root, root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap(), value, at, faults),
            "const" => must(value == rule),
            "enum" => must(rule.as_array().unwrap().contains(value)),
            "type" => must(match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                other => panic!("type {other}"),
            }),
            "minimum" => must(value.as_f64().is_some_and(|number| number >= rule.as_f64().unwrap())),
            "pattern" => must(regex::Regex::new(rule.as_str().unwrap()).unwrap().is_match(value.as_str().unwrap_or_default())),
            "required" => must(rule.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some())),
            "anyOf" => must(rule.as_array().unwrap().iter().any(|option| {
                let mut inner = Vec::new();
                validate(root, option, value, at, &mut inner);
                inner.is_empty()
            })),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, rule, item, &format!("{at}[{index}]"), faults);
                }
            }
            "properties" => {
                for (key, rule) in rule.as_object().unwrap() {
                    value.get(key).into_iter().for_each(|value| validate(root, rule, value, &format!("{at}.{key}"), faults));
                }
            }
            "propertyNames" => {
                for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                    validate(root, rule, &Value::String(key.clone()), at, faults);
                }
            }
            "additionalProperties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    let named = schema["properties"].get(key).is_some();
                    match rule {
                        Value::Bool(allowed) if !named && !allowed => faults.push(format!("{at}: no key {key:?} is known")),
                        Value::Object(_) if !named => validate(root, rule, value, &format!("{at}.{key}"), faults),
                        _ => {}
                    }
                }
            }
            other => panic!("the schema uses {other}, which this test does not judge"),
        }
    }
}

/// The golden reports of the fixture nodes.
pub fn goldens() -> Vec<(PathBuf, Value)> {
    let nodes = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/nodes");
    let cases = std::fs::read_dir(nodes).unwrap().map(|entry| entry.unwrap().path().join("report.json"));
    cases.filter(|path| path.is_file()).map(|path| (path.clone(), serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())).collect()
}

/// Facts of the healthy worker of tests/nodes: its disk, and what only a running node tells.
pub fn worker() -> Value {
    static DISK: OnceLock<PathBuf> = OnceLock::new();
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/nodes/_worker");
    let disk = DISK.get_or_init(|| {
        let disk = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(concat!("worker-", env!("CARGO_CRATE_NAME")));
        let _ = fs::remove_dir_all(&disk);
        assert!(Command::new("cp").arg("-a").arg(base.join("root")).arg(&disk).status().unwrap().success());
        private(&disk);
        disk
    });
    let output = Command::new(env!("CARGO_BIN_EXE_nodetriage")).args(["observe", "--node-name", "node1", "--root"]).arg(disk).env_clear().output().unwrap();
    let mut facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    let live: Value = serde_saphyr::from_str(&std::fs::read_to_string(base.join("live.yaml")).unwrap()).unwrap();
    let installed = facts["units"]["known"]["units"].clone();
    merge(&mut facts, &live);
    facts["units"]["known"]["units"] = installed;
    for time in ["now", "certificates_at"] {
        facts[time] = "2026-12-01T03:12:44Z".into();
    }
    for unit in facts["units"]["known"]["units"].as_array_mut().unwrap() {
        let state = if unit["load_state"] == "loaded" { "active" } else { "inactive" };
        unit["active"] = serde_json::json!({ "state": state, "sub_state": "", "result": "success" });
    }
    facts
}

const INVOCATION: &str = "11111111111111111111111111111111";

/// The kubelet's unit has failed with these last words.
pub fn fail_kubelet(facts: &mut Value, last_words: &str) {
    let units = facts["units"]["known"]["units"].as_array_mut().unwrap();
    let kubelet = units.iter_mut().find(|unit| unit["name"] == "kubelet.service").unwrap();
    kubelet["active"] = serde_json::json!({
        "state": "failed", "sub_state": "failed", "result": "exit-code", "exec_main_code": 1, "exec_main_status": 1, "since": "2026-12-01T03:10:00Z",
        "invocation_id": INVOCATION,
    });
    facts["journal"] = serde_json::json!({ "known": { "directories": [], "files": 1, "last_words": { "kubelet.service": {
        "invocation_id": INVOCATION, "lines": [{ "time": "2026-12-01T03:09:59Z", "source": "kubelet.service", "message": last_words }],
    } } } });
}

/// Lays a patch over facts, as RFC 7396 has it.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        if !patch.is_null() {
            *target = patch.clone();
        }
        return;
    };
    if !target.is_object() {
        *target = serde_json::json!({});
    }
    let object = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Keys are root's alone, which git does not keep.
pub fn private(dir: &Path) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            private(&path);
        } else if fs::read(&path).unwrap().windows(15).any(|bytes| bytes == b"PRIVATE KEY----" || bytes == b"client-key-data") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}
