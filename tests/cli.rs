//! The command line as its user meets it: on trees that kubeadm 1.36.2 made, and on facts of its own printing.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

fn scratch(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cli");
    fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

/// A tree of its own for each test, for some change it.
fn unpack(name: &str, test: &str) -> String {
    let dir = scratch(test);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let tree = format!("{}/tests/data/trees/{name}.tar.gz", env!("CARGO_MANIFEST_DIR"));
    assert!(Command::new("tar").args(["xzf", &tree, "-C"]).arg(&dir).status().unwrap().success());
    dir.to_str().unwrap().to_owned()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nodetriage"));
    command.args(args).env_clear();
    command
}

fn nodetriage(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The answer to a command that could do its job.
fn answer(args: &[&str]) -> String {
    let output = nodetriage(args);
    assert!(matches!(output.status.code(), Some(0..=2)), "{args:?}: {}\n{}", output.status, stderr(&output));
    assert_eq!(stderr(&output), "", "{args:?}");
    stdout(&output)
}

fn report(args: &[&str]) -> (i32, Value) {
    let output = nodetriage(&[args, &["--output", "json"]].concat());
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(&output))))
}

/// What the command is refused with, exit status 3.
fn refusal(args: &[&str]) -> String {
    let output = nodetriage(args);
    assert_eq!(output.status.code(), Some(3), "{args:?}: {}", stdout(&output));
    assert_eq!(stdout(&output), "", "{args:?}");
    stderr(&output)
}

fn codes(report: &Value) -> Vec<String> {
    report["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
}

/// A file with the facts of a healthy worker, changed.
fn facts(name: &str, patch: impl FnOnce(&mut Value)) -> String {
    let mut facts = common::worker();
    patch(&mut facts);
    let file = scratch(&format!("{name}.json"));
    fs::write(&file, facts.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn failed_kubelet(last_words: &str) -> impl FnOnce(&mut Value) {
    move |facts| common::fail_kubelet(facts, last_words)
}

#[test]
fn a_healthy_tree_raises_no_alarm_about_certificates_or_configuration() {
    let tree = unpack("kubeadm-control-plane-healthy", "healthy");
    let (code, report) = report(&["--root", &tree, "--node-name", "node1", "--at", "2026-12-01T00:00:00Z"]);
    let bad: Vec<_> = codes(&report).into_iter().filter(|code| code.starts_with("certificate-") || code.starts_with("kubelet-")).collect();
    assert_eq!(bad, Vec::<String>::new());
    assert!(report["unknown"].as_array().unwrap().iter().any(|unknown| unknown["domain"] == "units"), "a tree has no bus: unknown, never healthy");
    assert_ne!(report["verdict"], "healthy");
    assert_eq!(common::faults(&report), Vec::<String>::new());
    let expected = match report["verdict"].as_str().unwrap() {
        "unknown" => 0,
        "warning" => 1,
        _ => 2,
    };
    assert_eq!(code, expected);
}

#[test]
fn an_expired_tree_names_the_kubelets_certificate() {
    let tree = unpack("kubeadm-control-plane-expired", "expired");
    let (code, report) = report(&["--root", &tree, "--node-name", "node1", "--at", "2026-11-24T00:00:00Z"]);
    assert_eq!(code, 2);
    assert_eq!(report["verdict"], "critical");
    let kubelet = report["findings"].as_array().unwrap().iter().find(|f| f["subject"] == "/etc/kubernetes/kubelet.conf").unwrap();
    assert_eq!(kubelet["code"], "certificate-expired");
    assert!(kubelet["remedy"].to_string().contains("--client-name system:node:node1"));
    assert_eq!(common::faults(&report), Vec::<String>::new());
}

#[test]
fn a_wrong_ca_path_is_named_with_its_line() {
    let tree = unpack("kubeadm-control-plane-healthy", "wrong-ca");
    let config = PathBuf::from(&tree).join("var/lib/kubelet/config.yaml");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("pki/ca.crt", "pki/nosuch.crt")).unwrap();
    let (code, report) = report(&["--root", &tree, "--at", "2026-12-01T00:00:00Z"]);
    assert_eq!(code, 2);
    let first = &report["findings"][0];
    assert_eq!(first["code"], "kubelet-client-ca-missing");
    assert_eq!(first["evidence"][0]["source"], "/var/lib/kubelet/config.yaml:9");
}

#[test]
fn every_golden_report_has_the_form_of_the_schema() {
    let goldens = common::goldens();
    assert!(goldens.len() > 1);
    for (path, report) in goldens {
        assert_eq!(common::faults(&report), Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let (_, report) = common::goldens().into_iter().find(|(_, report)| !report["findings"].as_array().unwrap().is_empty()).unwrap();
    let broken = |patch: fn(&mut Value)| {
        let mut report = report.clone();
        patch(&mut report);
        !common::faults(&report).is_empty()
    };
    assert!(!broken(|_| {}));
    assert!(broken(|report| report["verdict"] = json!("fine")));
    assert!(broken(|report| report["time"] = json!("yesterday")));
    assert!(broken(|report| drop(report.as_object_mut().unwrap().remove("unknown"))));
    assert!(broken(|report| report["findings"][0]["extra"] = json!(1)));
    assert!(broken(|report| report["findings"][0]["since"] = json!(5)));
    assert!(broken(|report| report["findings"][0]["explained_by"] = json!([{ "code": "no-such", "subject": "" }])));
    assert!(broken(|report| report["observed"]["units"] = json!({ "at": report["time"], "took_ms": -1 })));
}

#[test]
fn facts_diagnosed_elsewhere_give_the_same_report() {
    let tree = unpack("kubeadm-control-plane-expired", "elsewhere");
    let facts = answer(&["observe", "--root", &tree, "--at", "+30d"]);
    let file = scratch("elsewhere.json");
    fs::write(&file, &facts).unwrap();
    let there = answer(&["diagnose", "--facts", file.to_str().unwrap()]);
    let mut piped = command(&["diagnose", "--facts", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(facts.as_bytes()).unwrap();
    assert_eq!(stdout(&piped.wait_with_output().unwrap()), there);
    assert!(there.contains("certificate-expired"));
}

#[test]
fn no_key_of_the_node_is_in_the_facts_or_in_any_answer() {
    let tree = unpack("kubeadm-control-plane-healthy", "secrets");
    let mut secrets = Vec::new();
    collect_secrets(std::path::Path::new(&tree), &mut secrets);
    assert!(secrets.len() > 100, "the tree holds keys: {}", secrets.len());
    let mut said = answer(&["observe", "--root", &tree]);
    for output in ["text", "json", "prometheus"] {
        said.push_str(&stdout(&command(&["check", "--root", &tree, "--output", output]).output().unwrap()));
    }
    for secret in secrets {
        assert!(!said.contains(&secret), "{secret}");
    }
}

/// The lines of private keys, and what kubeconfigs hold of them.
fn collect_secrets(path: &std::path::Path, secrets: &mut Vec<String>) {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().for_each(|entry| collect_secrets(&entry.unwrap().path(), secrets));
    }
    let Ok(text) = fs::read_to_string(path) else { return };
    let mut in_key = false;
    for line in text.lines() {
        in_key = (in_key || line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY")) && !line.starts_with("-----END");
        let inline = line.trim().strip_prefix("client-key-data: ").or(line.trim().strip_prefix("token: "));
        if let Some(secret) = inline.or(Some(line).filter(|line| in_key && line.len() > 40 && !line.starts_with("-----"))) {
            secrets.push(secret[..secret.len().min(60)].to_owned());
        }
    }
}

#[test]
fn facts_that_are_none_are_refused_with_the_reason() {
    let file = |name: &str, content: &str| {
        let path = scratch(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let refused = |path: &str| refusal(&["diagnose", "--facts", path]).replace(path, "FILE");
    assert_eq!(refused(&file("garbage", "\0\u{1}garbage")), "nodetriage: FILE: not what nodetriage observe prints: expected value at line 1 column 1\n");
    assert!(refused(&file("empty", "")).starts_with("nodetriage: FILE: not what nodetriage observe prints: "));
    assert!(refused(&file("report", r#"{"schema":1,"verdict":"healthy"}"#)).contains("missing field `now`"));
    assert!(refused(&file("deep", &"[".repeat(1_000_000))).starts_with("nodetriage: FILE: not what nodetriage observe prints: "));
    assert_eq!(
        refused(&file("future", r#"{"schema":99,"now":true}"#)),
        "nodetriage: FILE: facts of schema 99, and this nodetriage reads schema 1: diagnose them with the release that observed them\n"
    );
    assert_eq!(refused("/nosuch/facts.json"), "nodetriage: FILE: No such file or directory (os error 2)\n");
    assert!(refused(scratch("").to_str().unwrap()).contains("Is a directory"));
}

#[test]
fn severity_leaves_out_what_is_below_it_and_keeps_the_verdict() {
    let facts = facts("severity", |facts| {
        common::fail_kubelet(facts, "exit");
        facts["units"]["known"]["units"][0]["need_daemon_reload"] = json!(true);
    });
    let (code, all) = report(&["diagnose", "--facts", &facts]);
    let (same, critical) = report(&["diagnose", "--facts", &facts, "--severity", "critical"]);
    assert!(codes(&all).contains(&"unit-needs-daemon-reload".to_owned()));
    assert!(!codes(&critical).contains(&"unit-needs-daemon-reload".to_owned()));
    assert!(codes(&critical).contains(&"unit-failed".to_owned()));
    assert_eq!((code, same), (2, 2));
    assert_eq!(all["verdict"], critical["verdict"]);
    assert_eq!(common::faults(&critical), Vec::<String>::new(), "what explains a shown finding is shown");
    let text = answer(&["diagnose", "--facts", &facts, "--severity", "critical"]);
    assert!(!text.contains("unit-needs-daemon-reload"));
    assert!(text.contains("below critical left out"), "{text}");
}

#[test]
fn another_time_for_certificates_is_said_in_the_head() {
    let tree = unpack("kubeadm-control-plane-healthy", "at");
    let text = answer(&["--root", &tree, "--at", "2028-01-01T00:00:00+01:00"]);
    let head: String = text.lines().take(5).collect();
    assert!(head.contains("certificates as of 2027-12-31 23:00:00 UTC"), "{text}");
    assert!(text.contains("certificate-expired"));
    let (_, report) = report(&["--root", &tree, "--at", "+400d"]);
    assert_ne!(report["certificates_at"], report["time"]);
    assert!(codes(&report).contains(&"certificate-expired".to_owned()));
    let replayed = answer(&["diagnose", "--facts", &facts("replayed", |_| ()), "--at", "+400d"]);
    assert!(replayed.contains("certificates as of 2028-01-05 03:12:44 UTC") && replayed.contains("certificate-expired"), "{replayed}");
    let now = answer(&["--root", &tree]);
    assert!(!now.contains("certificates as of"));
    for wrong in ["tomorrow", "30d", "+", "+30", "+30x", "+99999999999999999999d", "2026-13-01T00:00:00Z"] {
        assert_eq!(nodetriage(&["--root", &tree, "--at", wrong]).status.code(), Some(2), "--at {wrong}");
    }
}

#[test]
fn what_it_cannot_do_ends_with_3_and_a_wrong_usage_with_2() {
    assert_eq!(refusal(&["--root", "/nosuch"]), "nodetriage: cannot open the root /nosuch: No such file or directory (os error 2)\n");
    assert!(refusal(&["--root", "/etc/hostname"]).contains("ot a directory"));
    assert!(refusal(&["check", "--config", "/nosuch.yaml"]).starts_with("nodetriage: /nosuch.yaml: No such file"));
    for wrong in [&["--nosuch"][..], &["--severity", "high"], &["--output", "xml"], &["diagnose"], &["explain"], &["nosuch"], &["--node-name", "A_B"]] {
        let output = nodetriage(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(stderr(&output).starts_with("error: "), "{wrong:?}");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error_and_a_full_disk_is() {
    let facts = facts("pipe", failed_kubelet("exit"));
    for args in [&["diagnose", "--facts", &facts, "--output", "json"][..], &["list"], &["explain", "unit-failed"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(stderr(&output), "", "{args:?}");
        assert!(matches!(output.status.code(), Some(0..=2)), "{args:?}: {}", output.status);
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&["list"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).starts_with("nodetriage: cannot write to stdout: No space left"), "{}", stderr(&output));
}

#[test]
fn colour_is_for_terminals_or_on_demand() {
    let facts = facts("colour", failed_kubelet("exit"));
    let painted = |args: &[&str]| answer(&[&["diagnose", "--facts", &facts], args].concat()).contains('\x1b');
    assert!(!painted(&[]), "a pipe is no terminal");
    assert!(painted(&["--color", "always"]));
    assert!(!painted(&["--color", "never"]));
    assert!(!painted(&["--color", "always", "--output", "json"]));
}

#[test]
fn prose_fits_the_width_and_what_is_copied_stays_whole() {
    let long = "failed to run Kubelet: ".repeat(12) + "/a/very/long/path/that/nobody/may/break/because/it/is/copied/by/hand/from/the/terminal.yaml";
    let facts = facts("width", failed_kubelet(&long));
    for (columns, width) in [("80", 80), ("20", 60), ("120", 120), ("9999", 160), ("nonsense", 100)] {
        let output = command(&["diagnose", "--facts", &facts]).env("COLUMNS", columns).output().unwrap();
        let text = stdout(&output);
        assert!(text.contains("/a/very/long/path/that/nobody/may/break/because/it/is/copied/by/hand/from/the/terminal.yaml"), "{text}");
        let commands = |line: &&str| line.starts_with("  do  ") || line.starts_with("      ") || line.contains("/a/very/long") || line.contains("  since ");
        for line in text.lines().filter(|line| !commands(line)) {
            assert!(line.chars().count() <= width, "COLUMNS={columns}: {} columns: {line}", line.chars().count());
        }
        assert!(text.lines().any(|line| line.chars().count() > width * 2 / 3), "the width is used");
    }
}

#[test]
fn a_log_line_cannot_take_over_the_terminal() {
    let facts = facts("escapes", failed_kubelet("\x1b]0;owned\x07 \x1b[2J \u{9b}31m \u{202e}live\nnode1  HEALTHY"));
    let text = answer(&["diagnose", "--facts", &facts]);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(!text.contains('\u{202e}'));
    assert!(!text.lines().any(|line| line.starts_with("node1  HEALTHY")), "a line of a log is no line of the report");
}

#[test]
fn nothing_is_said_twice() {
    let facts = facts("twice", failed_kubelet("the very last words"));
    let text = answer(&["diagnose", "--facts", &facts]);
    let summary = "kubelet.service has failed: exit code 1";
    assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" ").matches(summary).count(), 1, "{text}");
    assert_eq!(text.matches("the very last words").count(), 1, "{text}");
    assert!(text.contains("since 03:10:00 (2 min)") || text.contains("since 03:10:00 (164 s)"), "{text}");
}

#[test]
fn every_article_can_be_read_and_a_near_miss_is_pointed_at() {
    for check in nodetriage::checks::ALL {
        assert_eq!(answer(&["explain", check.code]), check.article);
    }
    assert_eq!(refusal(&["explain", "unit-faild"]), "nodetriage: no finding has the code \"unit-faild\"; did you mean unit-failed?\n");
    assert_eq!(refusal(&["explain", "nonsense"]), "nodetriage: no finding has the code \"nonsense\"; nodetriage list prints them all\n");
}

#[test]
fn the_catalogue_is_listed_for_people_and_for_programs() {
    let text = answer(&["list"]);
    let list: Value = serde_json::from_str(&answer(&["list", "--output", "json"])).unwrap();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), nodetriage::checks::ALL.len());
    assert_eq!(text.lines().count(), list.len());
    for (line, row) in text.lines().zip(list) {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!((words[0], words[1]), (row["code"].as_str().unwrap(), row["severity"].as_str().unwrap()));
        assert!(line.ends_with(row["title"].as_str().unwrap()));
    }
}

#[test]
fn this_very_machine_can_be_looked_at() {
    let (_, report) = report(&["check"]);
    assert_eq!(common::faults(&report), Vec::<String>::new());
    assert_eq!(report["node"]["live"], true);
}

/// The daemon in the background, ended with the test.
struct Serving {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    fn start(args: &[&str]) -> Self {
        let mut child = command(&[&["serve", "--listen", "127.0.0.1:0", "--state-dir", "none"], args].concat()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// The next line of the log that contains `words`. The log ends with the process, so this does, too.
    fn line(&mut self, words: &str) -> String {
        let found = self.log.by_ref().map(Result::unwrap).find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("the log ended without {words:?}"))
    }

    fn terminate(mut self) -> ExitStatus {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end on SIGTERM");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The body of an answer, asked for until it is there.
fn ask(address: &str, path: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node1\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        if head.starts_with("HTTP/1.1 200") {
            return body.to_owned();
        }
        assert!(Instant::now() < deadline, "{path}: {head}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_daemon_answers_what_check_prints_and_ends_when_asked() {
    let tree = unpack("kubeadm-control-plane-expired", "serve");
    let mut serving = Serving::start(&["--root", &tree, "--node-name", "node1"]);
    let line = serving.line("listening on http://");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    assert_eq!(ask(&address, "/readyz"), "ok\n");
    let served: Value = serde_json::from_str(&ask(&address, "/api/v1/report")).unwrap();
    assert_eq!(common::faults(&served), Vec::<String>::new());
    let (_, printed) = report(&["--root", &tree, "--node-name", "node1"]);
    assert_eq!(codes(&served), codes(&printed));
    assert!(serving.line("certificate-expired /etc/kubernetes/kubelet.conf").contains("WARN"));
    assert!(serving.terminate().success());
}

#[test]
fn the_log_is_json_for_machines_and_has_priorities_for_journald() {
    let tree = unpack("kubeadm-control-plane-healthy", "log");
    let mut serving = Serving::start(&["--root", &tree, "--log-format", "json"]);
    let line: Value = serde_json::from_str(&serving.line("listening")).unwrap();
    assert_eq!(line["level"], "INFO");
    assert!(line["message"].as_str().unwrap().starts_with("listening on http://127.0.0.1:"));
    drop(serving);
    let mut child = command(&["serve", "--listen", "127.0.0.1:0", "--root", &tree]).env("JOURNAL_STREAM", "8:1").stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut serving = Serving { child, log };
    assert!(serving.line("listening").starts_with("<6>listening on http://"));
    drop(serving);
    let mut serving = Serving::start(&["--root", &unpack("kubeadm-control-plane-expired", "quiet"), "--log-level", "warn"]);
    let first = serving.line("");
    assert!(first.contains(" WARN ") && !first.contains("listening"), "nothing below a warning is written: {first}");
    serving.line("certificate-expired");
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refusal(&["serve", "--listen", &address]);
    assert!(said.ends_with(&format!("nodetriage: cannot listen on {address}: Address already in use (os error 98)\n")), "{said}");
    assert_eq!(refusal(&["serve", "--root", "/nosuch"]), "nodetriage: cannot open the root /nosuch: No such file or directory (os error 2)\n");
    let file = scratch("wrong.yaml");
    fs::write(&file, "listen: here\n").unwrap();
    assert!(refusal(&["serve", "--config", file.to_str().unwrap()]).contains("wrong.yaml:1:9: listen: here is not an address and a port"));
}

#[test]
fn metrics_are_printed_for_the_textfile_collector() {
    let facts = facts("metrics", failed_kubelet("exit \"1\" \\ end"));
    let text = answer(&["diagnose", "--facts", &facts, "--output", "prometheus"]);
    assert!(text.contains("nodetriage_finding{code=\"unit-failed\",severity=\"critical\",subject=\"kubelet.service\"} 1\n"), "{text}");
    assert!(text.ends_with('\n'));
}
