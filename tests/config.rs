//! The configuration as a user meets it: one file, the environment, flags, and messages that name the place.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn scratch(name: &str, content: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("config");
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Runs `nodetriage` with nothing of the tester's own configuration in its environment.
fn nodetriage(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodetriage"));
    command.args(args).env_clear().envs(environment.iter().copied());
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a file with this content is refused with; the file's own name taken away.
fn refused(name: &str, content: &str) -> String {
    let file = scratch(name, content);
    let output = nodetriage(&["config", "--config", file.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(3), "{content}\n{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
    stderr(&output).replace(file.to_str().unwrap(), "FILE")
}

/// The line of `config` for a key, columns squeezed.
fn line(printed: &str, key: &str) -> String {
    let line = printed.lines().find(|line| line.trim_start().starts_with(&format!("{key}:"))).unwrap_or_else(|| panic!("no {key} in\n{printed}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn without_any_configuration_everything_is_the_default() {
    let printed = stdout(&nodetriage(&["config"], &[]));
    assert_eq!(line(&printed, "listen"), "listen: 127.0.0.1:20258 # default");
    assert_eq!(line(&printed, "root"), "root: / # default");
    assert_eq!(line(&printed, "node_name"), "node_name: null # default");
    assert_eq!(line(&printed, "state_dir"), "state_dir: /var/lib/nodetriage # default");
    assert_eq!(line(&printed, "expiring_soon_days"), "expiring_soon_days: 7 # default");
    assert_eq!(line(&printed, "resync"), "resync: 5m # default");
}

#[test]
fn a_flag_wins_over_the_environment_the_environment_over_the_file() {
    let file = scratch(
        "all.yaml",
        "# ours\nlisten: 0.0.0.0:1\nnode_name: from-file\nlog:\n  level: debug\ncertificates: {expiring_days: 60, paths: [/etc/my.crt, '/etc/a b.crt']}\nunits:\n  watch:\n    - my-runtime.service\nintervals: {resync: 1h30m}\n",
    );
    let path = file.to_str().unwrap();
    let environment =
        [("NODETRIAGE_CONFIG", path), ("NODETRIAGE_NODE_NAME", "from-environment"), ("NODETRIAGE_LISTEN", "0.0.0.0:2"), ("NODETRIAGE_LOG_FORMAT", "")];
    let printed = stdout(&nodetriage(&["config", "--listen", "[::1]:3"], &environment));
    assert_eq!(line(&printed, "listen"), "listen: \"[::1]:3\" # --listen");
    assert_eq!(line(&printed, "node_name"), "node_name: from-environment # NODETRIAGE_NODE_NAME");
    assert_eq!(line(&printed, "level"), format!("level: debug # {path}:5"));
    assert_eq!(line(&printed, "format"), "format: text # default", "an empty variable is not set");
    assert_eq!(line(&printed, "expiring_days"), format!("expiring_days: 60 # {path}:6"));
    assert_eq!(line(&printed, "paths"), format!("paths: [/etc/my.crt, \"/etc/a b.crt\"] # {path}:6"));
    assert_eq!(line(&printed, "watch"), format!("watch: [my-runtime.service] # {path}:9"));
    assert_eq!(line(&printed, "resync"), format!("resync: 1h30m # {path}:10"));
}

#[test]
fn what_is_printed_can_be_read_again() {
    let all = ["--listen", "[::]:0", "--node-name", "null", "--state-dir", "/s \"x", "--log-level", "trace", "--log-format", "json"];
    let lists = [("NODETRIAGE_CERTIFICATES_PATHS", "/a.crt, /b: c.crt"), ("NODETRIAGE_UNITS_WATCH", "a@1.service,b.socket")];
    let printed = stdout(&nodetriage(&[&["config"], &all[..]].concat(), &lists));
    let again = stdout(&nodetriage(&["config", "--config", scratch("printed.yaml", &printed).to_str().unwrap()], &[]));
    let values = |text: &str| text.lines().map(|line| line.rsplit_once("  #").map_or(line, |(value, _)| value).trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&printed), values(&again));
    assert_eq!(line(&again, "paths").split(" #").next().unwrap(), "paths: [/a.crt, \"/b: c.crt\"]");
    assert_eq!(line(&again, "node_name").split(" #").next().unwrap(), "node_name: \"null\"");
}

#[test]
fn systemds_state_directory_is_a_better_default() {
    let environment = [("STATE_DIRECTORY", "/var/lib/private/nodetriage:/var/lib/other")];
    let printed = stdout(&nodetriage(&["config"], &environment));
    assert_eq!(line(&printed, "state_dir"), "state_dir: /var/lib/private/nodetriage # STATE_DIRECTORY");
    assert_eq!(line(&stdout(&nodetriage(&["config", "--state-dir", "none"], &environment)), "state_dir"), "state_dir: none # --state-dir");
    let printed = stdout(&nodetriage(&["config", "--state-dir", "/x"], &environment));
    assert_eq!(line(&printed, "state_dir"), "state_dir: /x # --state-dir");
}

#[test]
fn an_unknown_key_is_refused_at_its_place_with_what_was_meant() {
    assert_eq!(refused("k1.yaml", "lisen: 127.0.0.1:1\n"), "nodetriage: FILE:1:1: unknown key lisen; did you mean listen?\n");
    assert_eq!(
        refused("k2.yaml", "certificates:\n  expiring_day: 3\n"),
        "nodetriage: FILE:2:3: unknown key certificates.expiring_day; did you mean certificates.expiring_days?\n"
    );
    assert_eq!(refused("k3.yaml", "level: info\n"), "nodetriage: FILE:1:1: unknown key level; did you mean log.level?\n");
    assert_eq!(refused("k4.yaml", "log: {colour: [a, {b: c}]}\n"), "nodetriage: FILE:1:7: unknown key log.colour; known here: level, format\n");
    assert!(refused("k6.yaml", "\"\\e[31mred\": 1\n").starts_with("nodetriage: FILE:1:1: unknown key \"\\u{1b}[31mred\"; known here: "));
    assert_eq!(refused("k5.yaml", "root: /a\nroot: /b\n"), "nodetriage: FILE:2:1: root is set twice\n");
}

#[test]
fn a_bad_value_is_refused_at_its_place_with_what_was_expected() {
    let cases = [
        ("listen: 20258", "FILE:1:9: listen: 20258 is not an address and a port, as 127.0.0.1:20258 or [::]:20258"),
        ("listen: 127.0.0.1:70000", "FILE:1:9: listen: 127.0.0.1:70000 is not an address and a port, as 127.0.0.1:20258 or [::]:20258"),
        ("root: node", "FILE:1:7: root: node is not the absolute path of a directory"),
        ("node_name: Node_1", "FILE:1:12: node_name: Node_1 is not the node's name as kubectl get nodes prints it: lower-case letters, digits, - and ."),
        ("log:\n  level: loud", "FILE:2:10: log.level: loud is not error, warn, info, debug or trace"),
        ("log: loud", "FILE:1:6: log: loud is not a mapping of level, format"),
        ("listen: {a: b}", "FILE:1:9: listen: a mapping is not an address and a port, as 127.0.0.1:20258 or [::]:20258"),
        ("certificates: {expiring_days: 0}", "FILE:1:31: certificates.expiring_days: 0 is not a whole number of days, 1 to 3650"),
        ("certificates: {paths: [a.crt]}", "FILE:1:23: certificates.paths: [a.crt] is not a list of absolute paths"),
        (
            "units: {watch: [kubelet]}",
            "FILE:1:16: units.watch: [kubelet] is not a list of systemd units' names or patterns, as [my-runtime.service, 'backup-*.service']",
        ),
        ("intervals: {resync: 1s}", "FILE:1:21: intervals.resync: 1s is not a duration of 10s to 24h, as 5m"),
        ("intervals: {pressure: 10}", "FILE:1:23: intervals.pressure: 10 is not a duration of 1s to 10m, as 10s"),
        ("intervals: {pressure: 99999999999999999999d}", "FILE:1:23: intervals.pressure: 99999999999999999999d is not a duration of 1s to 10m, as 10s"),
        ("- listen", "FILE:1:1: a configuration is a mapping of keys, as listen: 127.0.0.1:20258"),
    ];
    for (content, expected) in cases {
        assert_eq!(refused("v.yaml", content), format!("nodetriage: {expected}\n"), "{content}");
    }
}

#[test]
fn thresholds_out_of_order_are_refused_where_they_were_set() {
    let said = refused("order.yaml", "certificates:\n  expiring_soon_days: 40\n");
    assert_eq!(said, "nodetriage: FILE:2: certificates.expiring_soon_days: 40 is not less than certificates.expiring_days, 30\n");
}

#[test]
fn every_mistake_is_told_at_once() {
    let said = refused("many.yaml", "lisen: x\nlog:\n  level: loud\nroot: here\n");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn what_is_no_configuration_at_all_is_refused() {
    assert!(refused("y1.yaml", "listen: [\n").starts_with("nodetriage: FILE:"), "not YAML, with its place");
    assert!(refused("y2.yaml", "a: &x [1]\nb: *x\n").contains("FILE:2:4: aliases are not used"));
    assert!(refused("y3.yaml", "listen: '[::]:1'\n---\nlisten: '[::]:2'\n").contains("a configuration is one document"));
    let bomb = format!("units: {{watch: {}{}}}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused("y4.yaml", &bomb).contains("FILE:1:"), "nesting without end");
    assert!(refused("y5.yaml", &"#".repeat((1 << 20) + 1)).contains("longer than 1 MiB"));
    assert!(refused("y6.yaml", "listen: \0\u{1b}[31m\n").starts_with("nodetriage: FILE:1:"));

    let missing = nodetriage(&["config", "--config", "/nosuch/nodetriage.yaml"], &[]);
    assert_eq!((missing.status.code(), stderr(&missing).as_str()), (Some(3), "nodetriage: /nosuch/nodetriage.yaml: No such file or directory (os error 2)\n"));

    let fifo = scratch("fifo", "").with_file_name("a-fifo");
    let _ = fs::remove_file(&fifo);
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let output = nodetriage(&["config"], &[("NODETRIAGE_CONFIG", fifo.to_str().unwrap())]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("is not a regular file"), "{}", stderr(&output));
}

#[test]
fn an_empty_file_and_empty_values_set_nothing() {
    for content in ["", "# nothing\n", "---\n", "listen:\nlog:\n  level: ~\ncertificates:\n"] {
        let printed = stdout(&nodetriage(&["config", "--config", scratch("empty.yaml", content).to_str().unwrap()], &[]));
        assert!(printed.lines().all(|line| line.ends_with("# default") || line.ends_with(':')), "{content:?}:\n{printed}");
    }
}

#[test]
fn a_variable_is_judged_like_the_file_and_a_misspelt_one_is_pointed_at() {
    let output = nodetriage(&["config"], &[("NODETRIAGE_LOG_LEVEL", "loud")]);
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(3), "nodetriage: NODETRIAGE_LOG_LEVEL: loud is not error, warn, info, debug or trace\n")
    );
    // The second is what Kubernetes sets for a Service called nodetriage.
    let output = nodetriage(&["config"], &[("NODETRIAGE_LISTN", "x"), ("NODETRIAGE_SERVICE_HOST", "10.0.0.1")]);
    assert!(output.status.success());
    assert_eq!(stderr(&output), "nodetriage: NODETRIAGE_LISTN is not a setting; did you mean NODETRIAGE_LISTEN?\n");
}

#[test]
fn a_bad_flag_is_a_usage_error() {
    let output = nodetriage(&["config", "--listen", "20258"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("expected an address and a port"), "{}", stderr(&output));
}

#[test]
fn thresholds_of_the_file_are_the_ones_that_judge() {
    let tree = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("config/tree");
    fs::create_dir_all(&tree).unwrap();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trees/kubeadm-control-plane-healthy.tar.gz");
    assert!(Command::new("tar").args(["xzf", archive, "-C"]).arg(&tree).status().unwrap().success());
    let file = scratch("long.yaml", "certificates: {expiring_days: 3000}\n");
    let at = ["--root", tree.to_str().unwrap(), "--at", "2026-12-01T00:00:00Z", "--output", "json"];
    let codes = |args: &[&str]| String::from_utf8(nodetriage(&[args, &at[..]].concat(), &[]).stdout).unwrap();
    assert!(!codes(&["check"]).contains("certificate-expiring"));
    assert!(codes(&["check", "--config", file.to_str().unwrap()]).contains("certificate-expiring"));
}

#[test]
fn a_pattern_finds_what_glob_says() {
    use nodetriage::config::matches_pattern;
    for (pattern, found, not_found) in [
        (
            "backup-*.service",
            &["backup-a.service", "backup-.service", "backup-a-b.service.service"][..],
            &["backup.service", "backup-a.timer", "my-backup-a.service"][..],
        ),
        ("*", &["", "a", "a.b"], &[]),
        ("*-*-*.service", &["a-b-c.service", "a-b-c-d.service"], &["a-b.service"]),
        ("db?.service", &["db1.service"], &["db.service", "db12.service"]),
        ("db[0-3a].service", &["db0.service", "db3.service", "dba.service"], &["db4.service", "db-.service", "db].service"]),
        ("db[!0-3].service", &["db4.service"], &["db0.service", "db.service"]),
        ("db[].-]", &["db]", "db.", "db-"], &["dba"]),
        ("db[1", &["db[1"], &["db1"]),
        ("a*a*a*a*a*a*a*a*a*b", &["aaaaaaaaaab"], &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]),
    ] {
        let of = |names: &[&str], expected: bool| names.iter().find(|name| matches_pattern(pattern, name) != expected).map(|name| (*name).to_owned());
        assert_eq!((of(found, true), of(not_found, false)), (None, None), "{pattern}");
    }
}
