//! Every form of journal file that real journald writes, read beside that systemd's own `journalctl -o export`, byte for byte.

#[path = "lab/mod.rs"]
mod lab;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lab::Lab;
use nodetriage::observe::journal::export;
use nodetriage::observe::journal::file::Direction;
use nodetriage::observe::journal::format::Header;
use nodetriage::observe::journal::reader::{Filter, Reader};

const ENTRIES: u64 = 20_000;
/// A loaded machine is given long.
const DEADLINE: Duration = Duration::from_mins(1);

/// A node whose journald is told how to write.
struct Written {
    lab: Lab,
    machine: String,
    socket: UnixDatagram,
    entries: u64,
}

impl Written {
    fn boot(suite: &str) -> Option<Self> {
        let lab = Lab::boot(suite, "variants")?;
        let machine = lab.sh("cat /etc/machine-id").trim().to_owned();
        lab.sh("mkdir -p /run/systemd/journald.conf.d; printf '[Journal]\\nRateLimitIntervalSec=0\\nCompress=64\\n' > /run/systemd/journald.conf.d/lab.conf");
        Some(Self { lab, machine, socket: UnixDatagram::unbound().unwrap(), entries: 0 })
    }

    fn directory(&self, root: &str) -> PathBuf {
        self.lab.host_root().join(root).join("log/journal").join(&self.machine)
    }

    /// Starts journald anew with these settings; its next file is written so.
    fn journald(&self, compact: u8, keyed: u8, compress: &str, storage: &str) {
        self.lab.sh(&format!(
            "mkdir -p /run/systemd/system/systemd-journald.service.d
             printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\nEnvironment=SYSTEMD_JOURNAL_COMPACT={compact} SYSTEMD_JOURNAL_KEYED_HASH={keyed} SYSTEMD_JOURNAL_COMPRESS={compress}\\n' \
                > /run/systemd/system/systemd-journald.service.d/variant.conf
             printf '[Journal]\\nStorage={storage}\\n' > /run/systemd/journald.conf.d/storage.conf
             systemctl daemon-reload; systemctl restart systemd-journald; journalctl -q --rotate"
        ));
    }

    /// Logs entries over the native protocol: short and long, with repeated, binary and empty fields.
    fn log(&mut self, count: u64) {
        let path = self.lab.host_root().join("run/systemd/journal/socket");
        let start = Instant::now();
        for _ in 0..count {
            self.entries += 1;
            let n = self.entries;
            let mut entry = format!("SYSLOG_IDENTIFIER=writer-{}\nPRIORITY={}\nN={n}\n", n % 30, n % 8).into_bytes();
            match n % 20 {
                0 => entry.extend(format!("MESSAGE=long {n} {}\n", "pod/default err=timeout ".repeat(20 + usize::try_from(n % 60).unwrap())).bytes()),
                1 => {
                    let value = [format!("two lines\n{n}").as_bytes(), &[0, 1, 0xff, 0x7f]].concat();
                    entry.extend(b"MESSAGE\n");
                    entry.extend((value.len() as u64).to_le_bytes());
                    entry.extend(value);
                    entry.push(b'\n');
                }
                2 => entry.extend(format!("TAG=a\nTAG=b\nTAG={n}\nEMPTY=\nMESSAGE=tägs\n").bytes()),
                3 => entry.extend(b"NO_MESSAGE=\ttab\n"),
                _ => entry.extend(format!("MESSAGE=I1124 03:12:44.{n:06} 1000 kubelet.go:{}] \"Syncing\" pod=\"p{n}\"\n", n % 900).bytes()),
            }
            // journald takes them as fast as it can; the socket's queue is what we wait for.
            while let Err(error) = self.socket.send_to(&entry, &path) {
                assert!(start.elapsed() < DEADLINE, "{}: {error}", path.display());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.lab.sh("journalctl --sync");
    }

    /// What journalctl of the node prints of a file, by its path on the node.
    fn journalctl(&self, file: &str, more: &str) -> Vec<u8> {
        let out = self.lab.root().join("root/export");
        self.lab.sh(&format!("journalctl -q --no-pager -o export --file '{file}' {more} > /root/export"));
        fs::read(out).unwrap()
    }

    /// Compares every journal file of the node whose name begins so; gives each file's name, form and number of entries.
    fn compare(&self, own: bool, names: &str) -> Vec<(String, String, u64)> {
        let mut compared = Vec::new();
        for root in ["run", "var"] {
            for (directory, on_node) in directories(&self.directory(root), &format!("/{root}/log/journal")) {
                let all = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
                // The key of sealed files lies beside them.
                for name in all.filter(|name| name.starts_with(names) && name != "fss") {
                    let path = directory.join(&name);
                    let Some((form, entries)) = same(&path, |more| self.journalctl(&format!("{on_node}/{name}"), more), own) else { continue };
                    compared.push((name, form, entries));
                }
            }
        }
        compared
    }
}

/// The machine's directory and those of its namespaces, each with its path on the node.
fn directories(machine: &Path, on_node: &str) -> Vec<(PathBuf, String)> {
    let id = machine.file_name().unwrap().to_str().unwrap();
    let all = fs::read_dir(machine.parent().unwrap()).into_iter().flatten().map(|entry| entry.unwrap().path());
    let named = all.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path));
    named.filter(|(name, path)| name.starts_with(id) && path.is_dir()).map(|(name, path)| (path, format!("{on_node}/{name}"))).collect()
}

/// The file's form, and how many entries it has, once they were found to be what `journalctl` prints. `own` says whether it prints
/// sequence numbers (systemd 254 and later do).
fn same(path: &Path, journalctl: impl Fn(&str) -> Vec<u8>, own: bool) -> Option<(String, u64)> {
    let (mut form, mut entries) = (String::new(), 0);
    for (filter, arguments) in [(Filter::All, ""), (Filter::field("SYSLOG_IDENTIFIER", "writer-7"), "SYSLOG_IDENTIFIER=writer-7")] {
        // journald may write while we read: what journalctl saw before, we see, too.
        let golden = journalctl(arguments);
        let mut reader = Reader::default();
        reader.add(File::open(path).ok()?, path.display().to_string()).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        form = form_of(&reader.files()[0].header);
        let (mut at, mut out) = (0, Vec::new());
        let mut walk = reader.walk(&filter, Direction::Forward);
        while let Some(file) = walk.next(&mut reader) {
            if at == golden.len() {
                break;
            }
            out.clear();
            export::entry(&mut reader, file, &walk.entry, &mut out).unwrap();
            if !own {
                let find = |what: &[u8]| out.windows(what.len()).position(|window| window == what).unwrap() + 1;
                let (from, to) = (find(b"\n__SEQNUM="), find(b"\n_BOOT_ID="));
                out.drain(from..to);
            }
            let theirs = &golden[at..golden.len().min(at + out.len())];
            assert!(out == theirs, "{} ({form}), entry {entries}:\nours       {}\njournalctl {}", path.display(), text(&out), text(theirs));
            at += out.len();
            entries += u64::from(filter == Filter::All);
        }
        assert_eq!(at, golden.len(), "{} ({form}): journalctl shows more: {}", path.display(), text(&golden[at..golden.len().min(at + 200)]));
        assert_eq!(reader.damaged, 0, "{}", path.display());
    }
    Some((form, entries))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What sets a file apart.
fn form_of(header: &Header) -> String {
    let packed = match header.incompatible & 0b1011 {
        0 => "no compression",
        1 => "xz",
        2 => "lz4",
        8 => "zstd",
        _ => "several",
    };
    let words = [
        (if header.is_compact() { "compact" } else { "regular" }),
        (if header.is_keyed() { "keyed" } else { "unkeyed" }),
        packed,
        (if header.is_sealed() { "sealed" } else { "" }),
    ];
    words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

/// Writes each variant, then compares all files.
fn variants(suite: &str, own: bool, all: &[(u8, u8, &str, &str)]) {
    let Some(mut node) = Written::boot(suite) else { return };
    // 257 of Debian wants libgcrypt for it, which the lab has not.
    let seals = suite != "trixie";
    for (at, (compact, keyed, compress, storage)) in all.iter().enumerate() {
        if at == 1 && seals {
            node.lab.sh("journalctl -q --setup-keys --force --interval=1s");
        }
        node.journald(*compact, *keyed, compress, storage);
        node.log(ENTRIES);
    }
    // What a power cut leaves: journald gives the file another name and begins a new one.
    node.lab.sh(
        "systemctl kill --signal=KILL systemd-journald; until systemctl -q is-active systemd-journald; do sleep 0.1; done; systemctl restart systemd-journald",
    );
    node.log(500);
    node.lab.sh("systemd-run -q --wait -p LogNamespace=other echo in a namespace");
    let mut compared = node.compare(own, "");
    node.journald(1, 1, "zstd", "persistent");
    node.lab.sh("journalctl --flush; setpriv --reuid=1000 --clear-groups logger -p user.info of user 1000; journalctl --sync");
    compared.extend(node.compare(own, "user-"));
    for (name, form, entries) in &compared {
        println!("{suite}: {entries:6} entries, {form:30} {name}");
    }
    let mut forms = BTreeMap::new();
    for (_, form, entries) in &compared {
        *forms.entry(form).or_insert(0) += entries;
    }
    assert!(forms.values().filter(|entries| **entries >= ENTRIES).count() >= all.len(), "{forms:?}");
    let sealed = forms.iter().filter(|(form, entries)| form.ends_with("sealed") && **entries >= ENTRIES).count();
    assert_eq!(sealed > 0, seals, "{forms:?}");
    for (what, is) in [("user-1000", "user-1000.journal"), ("an unclean end", ".journal~")] {
        assert!(compared.iter().any(|(name, ..)| name.ends_with(is)), "no file of {what}: {compared:?}");
    }
    assert!(compared.iter().map(|(.., entries)| entries).sum::<u64>() > node.entries);
}

#[test]
fn systemd_252() {
    variants("bookworm", false, &[(0, 1, "zstd", "persistent"), (0, 0, "lz4", "persistent"), (1, 0, "xz", "volatile")]);
}

#[test]
fn systemd_257() {
    variants("trixie", true, &[(1, 1, "zstd", "persistent"), (0, 1, "lz4", "persistent"), (1, 0, "xz", "volatile")]);
}

#[test]
fn systemd_262() {
    variants("forky", true, &[(1, 1, "lz4", "persistent"), (0, 0, "zstd", "persistent"), (0, 1, "xz", "volatile")]);
}

/// systemd-journal-remote of this machine, fed with what a node exports.
#[test]
fn journal_remote() {
    let remote = Path::new("/lib/systemd/systemd-journal-remote");
    if !remote.exists() || Command::new("journalctl").arg("--version").output().is_err() {
        eprintln!("left out: systemd-journal-remote, which is not installed");
        return;
    }
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("remote-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/journal.py");
    for (compact, keyed, compress) in [(0, 0, "xz"), (1, 1, "zstd"), (0, 1, "lz4")] {
        let path = directory.join(format!("{compact}{keyed}{compress}.journal"));
        let status = Command::new("sh")
            .args(["-euc", "python3 \"$1\" 20000 | \"$2\" -o \"$3\" - 2>&1 | tail -n 1", "sh"])
            .args([script.as_os_str(), remote.as_os_str(), path.as_os_str()])
            .env("SYSTEMD_JOURNAL_COMPACT", compact.to_string())
            .env("SYSTEMD_JOURNAL_KEYED_HASH", keyed.to_string())
            .env("SYSTEMD_JOURNAL_COMPRESS", compress)
            .status()
            .unwrap();
        assert!(status.success());
        let version = Command::new("journalctl").arg("--version").output().unwrap().stdout;
        let own = text(&version).split_whitespace().nth(1).and_then(|version| version.parse::<u32>().ok()).is_some_and(|version| version >= 254);
        let journalctl = |more: &str| {
            let more: Vec<_> = more.split_whitespace().collect();
            Command::new("journalctl").args(["-q", "--no-pager", "-o", "export", "--file"]).arg(&path).args(more).output().unwrap().stdout
        };
        let (form, entries) = same(&path, journalctl, own).unwrap();
        println!("{entries} entries, {form}");
        assert_eq!(entries, ENTRIES, "{form}");
    }
    fs::remove_dir_all(directory).unwrap();
}
