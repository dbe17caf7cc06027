//! What is said of a kubelet in each state that systemd 239 to 262 has words for, and in one that no systemd has yet.
//! `UPDATE=1 cargo test --test unit_states` writes `tests/data/unit-states.txt`; read the difference before you commit it.

use std::fmt::Write as _;
use std::path::Path;

use nodetriage::config::Config;
use nodetriage::diagnose::diagnose;
use nodetriage::facts::units::{Active, Unit, UnitSource};
use nodetriage::facts::{Facts, Node, Observed, Timestamp, Units};

/// `unit_load_state_table` of src/basic/unit-def.c.
const LOAD: [&str; 8] = ["stub", "loaded", "not-found", "bad-setting", "error", "merged", "masked", "of-systemd-300"];
/// `unit_active_state_table`, each with a word of services for it.
const ACTIVE: [(&str, &str); 9] = [
    ("active", "running"),
    ("reloading", "reload"),
    ("inactive", "dead"),
    ("failed", "failed"),
    ("activating", "start"),
    ("deactivating", "stop-sigterm"),
    ("maintenance", "cleaning"),
    ("refreshing", "refresh-extensions"),
    ("of-systemd-300", "of-systemd-300"),
];
/// `service_state_table` of src/basic/unit-def.c, with `state_translation_table` of src/core/service.c; then
/// words of 239 and of other types of units.
const SUB: [(&str, &str); 37] = [
    ("dead", "inactive"),
    ("condition", "activating"),
    ("start-pre", "activating"),
    ("start", "activating"),
    ("start-post", "activating"),
    ("running", "active"),
    ("running-revalidating", "active"),
    ("exited", "active"),
    ("refresh-extensions", "refreshing"),
    ("refresh-credentials", "refreshing"),
    ("reload", "reloading"),
    ("reload-signal", "reloading"),
    ("reload-notify", "reloading"),
    ("reload-post", "reloading"),
    ("mounting", "refreshing"),
    ("stop", "deactivating"),
    ("stop-watchdog", "deactivating"),
    ("stop-sigterm", "deactivating"),
    ("stop-sigkill", "deactivating"),
    ("stop-post", "deactivating"),
    ("final-watchdog", "deactivating"),
    ("final-sigterm", "deactivating"),
    ("final-sigkill", "deactivating"),
    ("failed", "failed"),
    ("dead-before-auto-restart", "inactive"),
    ("failed-before-auto-restart", "failed"),
    ("dead-resources-pinned", "inactive"),
    ("auto-restart", "activating"),
    ("auto-restart-queued", "activating"),
    ("cleaning", "maintenance"),
    ("stop-sigabrt", "deactivating"),
    ("start-chown", "activating"),
    ("elapsed", "active"),
    ("mounted", "active"),
    ("listening", "active"),
    ("waiting", "active"),
    ("of-systemd-300", "activating"),
];
/// `unit_file_state_table` of src/basic/unit-file.c.
const FILE: [&str; 14] = [
    "enabled",
    "enabled-runtime",
    "linked",
    "linked-runtime",
    "alias",
    "masked",
    "masked-runtime",
    "static",
    "disabled",
    "indirect",
    "generated",
    "transient",
    "bad",
    "of-systemd-300",
];
/// `service_result_table` of src/core/service.c, with how the main process ended.
const RESULT: [(&str, i32, i32); 15] = [
    ("success", 0, 0),
    ("resources", 0, 0),
    ("protocol", 0, 0),
    ("timeout", 2, 15),
    ("exit-code", 1, 1),
    ("exit-code", 1, 203),
    ("exit-code", 1, 255),
    ("signal", 2, 9),
    ("signal", 2, 34),
    ("core-dump", 3, 6),
    ("watchdog", 2, 6),
    ("exec-condition", 1, 255),
    ("oom-kill", 2, 9),
    ("start-limit-hit", 1, 1),
    ("of-systemd-300", 0, 0),
];

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_764_000_000 + second).unwrap()
}

/// A kubelet that has been so for a while.
fn kubelet(active: &str, sub: &str) -> Unit {
    let active = Active {
        state: active.to_owned(),
        sub_state: sub.to_owned(),
        since: Some(at(0)),
        active_enter: Some(at(0)),
        inactive_exit: Some(at(0)),
        start_timeout: Some(90),
        stop_timeout: Some(90),
        ..Active::default()
    };
    Unit {
        name: "kubelet.service".to_owned(),
        load_state: "loaded".to_owned(),
        unit_file_state: "enabled".to_owned(),
        wanted_by: vec!["multi-user.target".to_owned()],
        exec_start: vec!["/usr/bin/kubelet".to_owned()],
        active: Some(active),
        ..Unit::default()
    }
}

/// What is found `seconds` later, as facts that have been written and read again.
fn said(unit: Unit, seconds: i64) -> String {
    let node = Node { signs: vec!["/etc/kubernetes/kubelet.conf".to_owned()], ..Node::default() };
    let mut facts = Facts::unobserved(at(seconds), node);
    facts.units = Observed::Known(Units { source: UnitSource::Systemd, units: vec![unit] });
    let facts: Facts = serde_json::from_str(&serde_json::to_string(&facts).unwrap()).unwrap();
    // No runtime is installed in this picture.
    let findings = diagnose(&facts, &Config::default()).findings.into_iter().filter(|finding| finding.subject == "kubelet.service");
    let said: Vec<String> = findings.map(|finding| format!("{}: {}", finding.code, finding.summary)).collect();
    if said.is_empty() { "-".to_owned() } else { said.join(" · ") }
}

fn golden() -> String {
    let mut text = String::new();
    let mut line = |state: &str, said: String| writeln!(text, "{state:<45} {said}").unwrap();
    for load in LOAD {
        for (active, sub) in [("active", "running"), ("inactive", "dead")] {
            let load_error = (load == "error").then(|| "Invalid argument".to_owned());
            let unit = Unit { load_state: load.to_owned(), load_error, ..kubelet(active, sub) };
            line(&format!("LoadState={load} {active}"), said(unit, 5));
        }
    }
    for (active, sub) in ACTIVE {
        for (seconds, when) in [(5, "for 5 s"), (3600, "for 1 h")] {
            line(&format!("ActiveState={active} {when}"), said(kubelet(active, sub), seconds));
        }
    }
    for (sub, active) in SUB {
        line(&format!("SubState={sub} {active}"), said(kubelet(active, sub), 5));
    }
    for (restarts, when) in [(Some(3), "NRestarts=3"), (None, "no NRestarts, one seen")] {
        for (active, sub) in [("active", "running"), ("activating", "start"), ("activating", "auto-restart"), ("failed", "failed")] {
            let mut unit = kubelet(active, sub);
            if let Some(active) = &mut unit.active {
                active.restarts = restarts;
                active.restarts_seen = if restarts.is_none() { vec![at(-1)] } else { Vec::new() };
                active.result = if active.state == "failed" { "exit-code".to_owned() } else { "success".to_owned() };
            }
            line(&format!("SubState={sub} {active}, {when}"), said(unit, 5));
        }
    }
    for file in FILE {
        for (active, sub) in [("active", "running"), ("inactive", "dead")] {
            let wanted_by = if matches!(file, "enabled" | "static") { vec!["multi-user.target".to_owned()] } else { Vec::new() };
            line(&format!("UnitFileState={file} {active}"), said(Unit { unit_file_state: file.to_owned(), wanted_by, ..kubelet(active, sub) }, 5));
        }
    }
    for (result, code, status) in RESULT {
        let mut unit = kubelet("failed", "failed");
        if let Some(active) = &mut unit.active {
            (active.result, active.exec_main_code, active.exec_main_status) = (result.to_owned(), code, status);
        }
        line(&format!("Result={result} {code}/{status}"), said(unit, 5));
    }
    text
}

#[test]
fn each_state_is_judged() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/unit-states.txt");
    let now = golden();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    for (now, kept) in now.lines().zip(kept.lines()) {
        assert_eq!(now, kept, "UPDATE=1 cargo test --test unit_states, and read the difference");
    }
    assert_eq!(now.lines().count(), kept.lines().count(), "UPDATE=1 cargo test --test unit_states, and read the difference");
}
