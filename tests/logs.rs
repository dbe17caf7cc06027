//! `nodetriage logs` beside the real journalctl, on the same journal.

#[path = "lab/mod.rs"]
mod lab;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::Lab;
use serde_json::Value;

const UNIT: &str = "talker.service";
/// What is asked of both.
const ASKED: [&[&str]; 16] = [
    &[],
    &["-n", "7"],
    &["-u", "talker"],
    &["-u", UNIT, "-n", "3"],
    &["-u", UNIT, "-u", "kubelet", "-n", "40"],
    &["-u", "system.slice"],
    &["--boot"],
    &["--boot", "-n", "5"],
    &["-u", UNIT, "--boot=0", "--priority", "err"],
    &["-p", "warning", "-n", "20"],
    &["-p", "notice..err"],
    &["-u", UNIT, "--grep", "line 1[0-9]"],
    &["-u", UNIT, "--grep", "line", "-n", "4"],
    &["-u", UNIT, "--grep", "LINE"],
    &["-u", UNIT, "--reverse", "-n", "9"],
    &["--reverse"],
];

/// A unit that says all there is to say: levels, several lines, repeated and binary fields, control characters, long fields.
const TALKER: &str = r#"
for n in $(seq 1 30); do echo "<$((n % 8))>line $n"; done
printf 'MESSAGE=several\nlines\n' > /dev/null
logger --journald <<'X'
MESSAGE=repeated fields
TAG=one
TAG=two
TAG=three
PRIORITY=4
SYSLOG_IDENTIFIER=talker
X
printf 'MESSAGE\n\013\000\000\000\000\000\000\000first\nother\nPRIORITY=6\nTAB=a\tb\n' | logger --journald
printf 'MESSAGE\n\006\000\000\000\000\000\000\000a\001b\002c\003\nPRIORITY=3\nBYTES\n\003\000\000\000\000\000\000\000\377\376\000\nBYTES=text\n' | logger --journald
head -c 6000 /dev/zero | tr '\0' x | sed 's/^/MESSAGE=/' | logger --journald
printf '\033[31mcolour\033[0m  \n\n   indented   \n'
printf 'no newline at the end'
"#;

struct Node {
    lab: Lab,
    /// Nothing after it is asked for: the node goes on logging.
    until: String,
}

fn node(suite: &str) -> Option<Node> {
    let lab = Lab::boot(suite, "logs")?;
    std::fs::write(lab.root().join("root/talker"), TALKER).unwrap();
    lab.sh("logger 'before the rotation'; journalctl -q --sync; journalctl -q --rotate");
    lab.sh("systemd-run -q --wait --unit=talker sh /root/talker; journalctl -q --sync; journalctl -q --rotate");
    // Once more, so that there are two runs, in two files.
    lab.sh("systemd-run -q --wait --unit=talker sh /root/talker; logger last; journalctl -q --sync");
    let until = lab.sh("sleep 0.01; date -u '+%Y-%m-%d %H:%M:%S.%6N'").trim().to_owned();
    Some(Node { lab, until })
}

impl Node {
    fn journalctl(&self, args: &[&str], format: &str) -> Vec<u8> {
        let quoted: Vec<_> = args.iter().map(|arg| format!("'{arg}'")).collect();
        self.lab.sh_bytes(&format!("TZ=UTC journalctl -q --no-pager --until '{}' {} -o {format} || [ $? = 1 ]", self.until, quoted.join(" ")))
    }

    fn nodetriage(&self, args: &[&str], format: &str) -> Vec<u8> {
        let output = self.lab.run(&[&["logs", "--until", &self.until, "-o", format], args].concat());
        let found = i32::from(args.contains(&"LINE"));
        assert_eq!(output.status.code(), Some(found), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn same(&self) {
        for args in ASKED {
            let export = self.nodetriage(args, "export");
            let theirs = self.journalctl(args, "export");
            // systemd before 254 keeps the sequence number to itself.
            let ours = if theirs.windows(10).any(|at| at == b"__SEQNUM=") || contains(&theirs, b"\n__SEQNUM=") { export } else { without_seqnum(&export) };
            assert_same(&ours, &theirs, &format!("{args:?} export"));
            assert!(!theirs.is_empty() || args.contains(&"LINE"), "{args:?} selects nothing");
            assert_same(&self.nodetriage(args, "cat"), &self.journalctl(args, "cat"), &format!("{args:?} cat"));
            assert_same(&self.nodetriage(args, "short"), &self.journalctl(args, "short"), &format!("{args:?} short"));
            let (ours, theirs) = (objects(&self.nodetriage(args, "json")), objects(&self.journalctl(args, "json")));
            assert_eq!(ours.len(), theirs.len(), "{args:?} json");
            for (mut ours, theirs) in ours.into_iter().zip(theirs) {
                ours.retain(|name, _| theirs.contains_key(name) || !name.starts_with("__SEQNUM"));
                assert_eq!(ours, theirs, "{args:?} json");
            }
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|at| at == wanted)
}

fn objects(lines: &[u8]) -> Vec<BTreeMap<String, Value>> {
    String::from_utf8_lossy(lines).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn without_seqnum(export: &[u8]) -> Vec<u8> {
    let lines = export.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"__SEQNUM"));
    lines.collect::<Vec<_>>().concat()
}

fn assert_same(ours: &[u8], theirs: &[u8], what: &str) {
    if ours != theirs {
        let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
        let near = |bytes: &[u8]| String::from_utf8_lossy(&bytes[at.saturating_sub(200).min(bytes.len())..(at + 200).min(bytes.len())]).into_owned();
        panic!("{what}: differs at byte {at} ({} and {} bytes)\n--- ours\n{}\n--- journalctl's\n{}", ours.len(), theirs.len(), near(ours), near(theirs));
    }
}

#[test]
fn it_shows_what_journalctl_of_systemd_252_shows() {
    if let Some(node) = node("bookworm") {
        node.same();
    }
}

#[test]
fn it_shows_what_journalctl_of_systemd_257_shows_and_follows() {
    if let Some(node) = node("trixie") {
        node.same();
        node.follow();
        node.dead_disk();
    }
}

#[test]
fn it_shows_what_journalctl_of_systemd_262_shows() {
    if let Some(node) = node("forky") {
        node.same();
    }
}

impl Node {
    /// `-f`: the last lines, then what is written, through rotations and a vacuum; each line once, in order.
    fn follow(&self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nodetriage"))
            .args(["logs", "-f", "-u", "steady", "-o", "cat", "--root"])
            .arg(self.lab.host_root())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        self.lab.sh("systemd-run -q --unit=steady sh -c 'for n in $(seq 1 600); do echo $n; sleep 0.005; done'");
        for _ in 0..4 {
            self.lab.sh("sleep 0.4; journalctl -q --rotate");
        }
        self.lab.sh("journalctl -q --vacuum-files=2");
        let start = Instant::now();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut next = 1;
        for line in lines.filter(|line| line.parse::<u32>().is_ok()) {
            assert_eq!(line, next.to_string(), "a line is missing or came twice");
            next += 1;
            if next > 600 {
                break;
            }
            assert!(start.elapsed() < Duration::from_mins(1));
        }
        assert_eq!(next, 601);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Nothing of the node runs any more; its disk is mounted somewhere.
    fn dead_disk(self) {
        self.lab.sh("journalctl -q --sync");
        let live = self.nodetriage(&[], "export");
        let disk = std::env::temp_dir().join(format!("nodetriage-logs-{}", std::process::id()));
        std::fs::create_dir_all(disk.join("etc")).unwrap();
        std::fs::create_dir_all(disk.join("var/log")).unwrap();
        let copy = Command::new("cp").arg("-a").arg(self.lab.root().join("var/log/journal")).arg(disk.join("var/log")).status().unwrap();
        assert!(copy.success());
        std::fs::copy(self.lab.root().join("etc/machine-id"), disk.join("etc/machine-id")).unwrap();
        let until = self.until.clone();
        drop(self);
        let output = logs(&disk, &["--until", &until, "-o", "export"]);
        assert_same(&output.stdout, &live, "the disk");
        assert!(!logs(&disk, &["--boot", "-n", "1"]).stdout.is_empty(), "its last boot");
        std::fs::remove_dir_all(&disk).unwrap();
    }
}

fn logs(root: &std::path::Path, args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_nodetriage")).arg("logs").args(args).arg("--root").arg(root).output().unwrap()
}

#[test]
fn without_a_journal_it_says_so_and_where_it_looked() {
    let empty = std::env::temp_dir().join(format!("nodetriage-no-journal-{}", std::process::id()));
    std::fs::create_dir_all(&empty).unwrap();
    let output = logs(&empty, &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no journal in /var/log/journal or /run/log/journal") && said.contains("start systemd-journald"), "{said}");
    std::fs::remove_dir_all(&empty).unwrap();
}

#[test]
fn a_wrong_question_is_answered_by_what_was_expected() {
    for (args, expected) in [
        (&["--since", "soon"][..], "expected 2026-12-01 03:12:44"),
        (&["--priority", "loud"], "emerg, alert, crit"),
        (&["--boot", "last"], "a boot's id"),
        (&["--grep", "("], "--grep"),
    ] {
        let output = logs(std::path::Path::new("/"), args);
        assert!(!output.status.success(), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
