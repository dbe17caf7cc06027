//! The journal reader against what journalctl read from the same files.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nodetriage::checks;
use nodetriage::config::Config;
use nodetriage::diagnose::diagnose;
use nodetriage::facts::{Facts, Journal, Node, Observed, Timestamp};
use nodetriage::observe::board::Board;
use nodetriage::observe::host::Host;
use nodetriage::observe::journal::file::Direction;
use nodetriage::observe::journal::format::Id;
use nodetriage::observe::journal::reader::{Cursor, Filter, Place, Reader, Walk};
use nodetriage::observe::journal::{self, Earlier, export};

/// Unpacks tests/data/journal/NAME.tar.xz, with the crate that the reader itself uses.
fn sample(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("journal-{name}-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::create_dir_all(&dir).unwrap();
    let packed = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/journal/{name}.tar.xz"))).unwrap();
    let mut tar = Command::new("tar").args(["xSf", "-", "-C"]).arg(&dir).stdin(Stdio::piped()).spawn().unwrap();
    let mut unpacked = Vec::new();
    lzma_rs::xz_decompress(&mut packed.as_slice(), &mut unpacked).unwrap();
    tar.stdin.take().unwrap().write_all(&unpacked).unwrap();
    assert!(tar.wait().unwrap().success());
    dir
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

fn reader(paths: &[PathBuf]) -> Reader {
    let mut reader = Reader::default();
    for path in paths {
        reader.add(File::open(path).unwrap(), path.display().to_string()).unwrap();
    }
    reader
}

fn export(reader: &mut Reader, filter: &Filter, direction: Direction) -> Vec<Vec<u8>> {
    let mut walk = reader.walk(filter, direction);
    let mut entries = Vec::new();
    while let Some(file) = walk.next(reader) {
        let mut out = Vec::new();
        export::entry(reader, file, &walk.entry, &mut out).unwrap();
        entries.push(out);
    }
    entries
}

#[test]
fn every_variant_reads_exactly_as_journalctl_reads_it() {
    let samples = [files(&sample("variants"), "journal"), files(&sample("journald"), "journal")].concat();
    assert!(samples.len() >= 20, "{samples:?}");
    for path in samples {
        let golden = fs::read(path.with_extension("export")).unwrap();
        let mut reader = reader(std::slice::from_ref(&path));
        let forward = export(&mut reader, &Filter::All, Direction::Forward);
        assert_same(&forward.concat(), &golden, &path);
        let mut backward = export(&mut reader, &Filter::All, Direction::Backward);
        backward.reverse();
        assert!(backward == forward, "{}: backward differs", path.display());
        assert_eq!(reader.damaged, 0, "{}", path.display());
    }
}

/// The entries of an export, each with its lines.
fn golden_entries(path: &Path) -> Vec<Vec<u8>> {
    let golden = fs::read(path.with_extension("export")).unwrap();
    let starts: Vec<usize> = (0..golden.len()).filter(|at| golden[*at..].starts_with(b"__CURSOR=")).chain([golden.len()]).collect();
    starts.windows(2).map(|pair| golden[pair[0]..pair[1]].to_vec()).collect()
}

fn first_line(entry: &[u8], field: &str) -> String {
    let text = String::from_utf8_lossy(entry).into_owned();
    text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("no {field}")).to_owned()
}

fn next(walk: &mut Walk, reader: &mut Reader) -> Option<Vec<u8>> {
    let file = walk.next(reader)?;
    let mut out = Vec::new();
    export::entry(reader, file, &walk.entry, &mut out).unwrap();
    Some(out)
}

#[test]
fn every_entry_is_found_by_its_cursor_and_its_times() {
    let dir = sample("variants");
    for path in files(&dir, "journal") {
        let entries = golden_entries(&path);
        let mut reader = reader(std::slice::from_ref(&path));
        for entry in entries.iter().step_by(7) {
            let text = first_line(entry, "__CURSOR=");
            let cursor = Cursor::parse(&text).unwrap();
            assert_eq!(cursor.to_string(), text);
            let elsewhere = Cursor { seqnum_id: Id::default(), ..cursor };
            let unknown_boot = Cursor { boot_id: Id::default(), ..elsewhere };
            for place in [
                Place::Cursor(cursor),
                Place::Cursor(elsewhere),
                Place::Cursor(unknown_boot),
                Place::Realtime(cursor.realtime),
                Place::Monotonic(cursor.boot_id, cursor.monotonic),
            ] {
                for direction in [Direction::Forward, Direction::Backward] {
                    let mut walk = reader.walk(&Filter::All, direction);
                    walk.seek(&mut reader, &place);
                    assert_eq!(next(&mut walk, &mut reader).as_ref(), Some(entry), "{}: {place:?} {direction:?}", path.display());
                }
            }
        }
        let mut walk = reader.walk(&Filter::All, Direction::Forward);
        walk.seek(&mut reader, &Place::Realtime(u64::MAX));
        assert_eq!(next(&mut walk, &mut reader), None);
        walk.seek(&mut reader, &Place::Realtime(0));
        assert_eq!(next(&mut walk, &mut reader).as_ref(), entries.first());
    }
}

#[test]
fn a_filter_finds_what_reading_everything_finds() {
    let dir = sample("variants");
    let has =
        |entry: &[u8], line: &str| entry.windows(line.len() + 2).any(|w| w[0] == b'\n' && &w[1..=line.len()] == line.as_bytes() && w[line.len() + 1] == b'\n');
    let (unit, kernel, boot) = ("_SYSTEMD_UNIT=kubelet.service", "_TRANSPORT=kernel", "_BOOT_ID=1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b");
    let field = |line: &str| Filter::Field(line.as_bytes().to_vec());
    for path in files(&dir, "journal") {
        let entries = golden_entries(&path);
        let mut reader = reader(std::slice::from_ref(&path));
        let filter = Filter::And(vec![field(boot), Filter::Or(vec![field(unit), field(kernel), field("TAGS=first and last")])]);
        let expected: Vec<_> = entries.iter().filter(|e| has(e, boot) && (has(e, unit) || has(e, kernel) || has(e, "TAGS=first and last"))).cloned().collect();
        assert!(expected.len() > 10);
        assert_eq!(export(&mut reader, &filter, Direction::Forward), expected, "{}", path.display());
        let mut backward = export(&mut reader, &filter, Direction::Backward);
        backward.reverse();
        assert_eq!(backward, expected, "{} backward", path.display());
        assert!(export(&mut reader, &field("_SYSTEMD_UNIT=nosuch.service"), Direction::Forward).is_empty());
    }
}

#[test]
fn many_files_are_one_journal() {
    let dir = sample("variants");
    let paths = files(&dir, "journal");
    // All of them hold the same entries: each is shown once, in the order of time.
    let mut together = reader(&paths);
    let all = export(&mut together, &Filter::All, Direction::Forward);
    let times: Vec<u64> = all.iter().map(|entry| first_line(entry, "__REALTIME_TIMESTAMP=").parse().unwrap()).collect();
    assert_eq!(times.len(), golden_entries(&paths[0]).len());
    assert!(times.is_sorted());
    let boots = together.boots();
    assert_eq!(boots.iter().map(|boot| boot.id.to_string()).collect::<Vec<_>>(), ["0a", "1b", "2c"].map(|byte| byte.repeat(16)));
    assert_eq!((boots[0].first, boots[2].last), (times[0], *times.last().unwrap()));
    assert_eq!(together.newest_boot(), Some(boots[2].id));
}

fn assert_same(ours: &[u8], golden: &[u8], path: &Path) {
    if ours != golden {
        let at = ours.iter().zip(golden).position(|(a, b)| a != b).unwrap_or(ours.len().min(golden.len()));
        let around = |bytes: &[u8]| String::from_utf8_lossy(&bytes[at.saturating_sub(80).min(bytes.len())..(at + 80).min(bytes.len())]).into_owned();
        panic!("{} differs at byte {at}:\n  ours       {}\n  journalctl {}", path.display(), around(ours), around(golden));
    }
}

/// What journalctl prints of a file; `None`, with a word about it, where there is no journalctl.
fn journalctl(path: &Path, args: &[&str]) -> Option<Vec<u8>> {
    let Ok(output) = Command::new("journalctl").args(["--no-pager", "--quiet", "--file"]).arg(path).args(args).output() else {
        let _ = writeln!(std::io::stderr(), "left out: what journalctl prints, which is not installed");
        return None;
    };
    Some(output.stdout)
}

#[test]
fn json_and_messages_are_those_of_journalctl() {
    let objects = |lines: &[u8]| -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_slice::<serde_json::Map<_, _>>(line).unwrap();
        lines
            .split_inclusive(|byte| *byte == b'\n')
            .map(parse)
            .map(|mut object| {
                // New with systemd 254.
                object.retain(|name, _| !name.starts_with("__SEQNUM"));
                object.into()
            })
            .collect()
    };
    let mut compared = 0;
    for path in [files(&sample("variants"), "journal"), files(&sample("journald"), "journal")].concat() {
        let (Some(golden), Some(messages)) = (journalctl(&path, &["-o", "json"]), journalctl(&path, &["-o", "cat"])) else { return };
        let mut reader = reader(std::slice::from_ref(&path));
        let mut walk = reader.walk(&Filter::All, Direction::Forward);
        let (mut json, mut cat) = (Vec::new(), Vec::new());
        while let Some(file) = walk.next(&mut reader) {
            export::json(&mut reader, file, &walk.entry, &mut json).unwrap();
            export::cat(&mut reader, file, &walk.entry, &mut cat);
        }
        let (ours, golden) = (objects(&json), objects(&golden));
        for (ours, golden) in ours.iter().zip(&golden) {
            assert_eq!(ours, golden, "{}", path.display());
        }
        assert_eq!(ours.len(), golden.len(), "{}", path.display());
        assert_same(&cat, &messages, &path);
        compared += ours.len();
    }
    assert!(compared > 1500, "{compared}");
}

/// A node whose disk holds that journal and nothing else.
fn node(journal: &Path) -> Host {
    let root = journal.with_extension("root");
    let directory = root.join("var/log/journal/7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f");
    fs::create_dir_all(&directory).unwrap();
    fs::copy(journal, directory.join("system.journal")).unwrap();
    Host::open(&root).unwrap()
}

fn look(host: &Host) -> Journal {
    journal::observe(host, &Config::default(), &checks::signals()).unwrap()
}

/// What the checks of log lines say of a node that has this journal.
fn codes(journal: Journal) -> Vec<String> {
    let now = journal.until.unwrap();
    let mut facts = Facts::unobserved(now, Node { signs: vec!["/etc/kubernetes/kubelet.conf".to_owned()], ..Node::default() });
    facts.journal = Observed::Known(journal);
    diagnose(&facts, &Config::default()).findings.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn recorded_logs_are_judged() {
    // Name, codes, and what the last words must hold; nothing may be said of the healthy ones.
    let cases: [(&str, &[&str], &str); 22] = [
        ("kubelet-1.36.2-healthy-v0", &[], ""),
        ("kubelet-1.36.2-standalone-healthy", &[], ""),
        ("kube-proxy-1.36.2-healthy", &[], ""),
        ("kubelet-1.36.2-flag-unknown", &["kubelet-flag-unknown"], "unknown flag: --network-plugin"),
        ("kubelet-1.20.2-flag-unknown", &["kubelet-flag-unknown"], "server.go:156] unknown flag: --network-plugin-mtu-x"),
        ("kubelet-1.36.2-pleg-runtime-hangs", &["kubelet-pleg-unhealthy"], "Container garbage collection failed"),
        // The runtime came back, but the last line says that it is down again.
        ("kubelet-1.36.2-timeline", &[], "container runtime is down"),
        ("kubelet-1.20.2-ca-missing", &[], "unable to load client CA file /etc/kubernetes/pki/nosuch.crt"),
        ("kubelet-1.20.2-config-missing", &[], "failed to load Kubelet config file /var/lib/kubelet/nosuch-config.yaml"),
        ("kubelet-1.20.2-swap-on", &[], "running with swap on is not supported"),
        ("kubelet-1.36.2-ca-missing", &[], "failed to run Kubelet: open /etc/kubernetes/pki/nosuch.crt"),
        ("kubelet-1.36.2-cert-expired-kubeadm", &[], "unable to load bootstrap kubeconfig"),
        ("kubelet-1.36.2-config-missing", &[], "failed to load kubelet config file, path: /var/lib/kubelet/nosuch-config.yaml"),
        ("kubelet-1.36.2-feature-gate-unknown", &[], ""),
        ("kubelet-1.36.2-inotify-instances", &[], "inotify_init: too many open files"),
        ("kubelet-1.36.2-kubelet-cri-socket-missing", &[], "validate CRI v1 runtime API for endpoint"),
        ("kubelet-1.36.2-port-10250-in-use", &[], "listen tcp 0.0.0.0:10250: bind: address already in use"),
        ("kubelet-1.36.2-protect-kernel-defaults", &[], "invalid kernel flag: kernel/panic, expected value: 10"),
        ("kubelet-1.36.2-swap-on", &[], "failed to run Kubelet: running with swap on is not supported"),
        ("kube-proxy-1.36.2-config-missing", &[], "open /var/lib/kube-proxy/config.conf: no such file or directory"),
        ("kube-proxy-1.36.2-iptables-missing", &[], "iptables is not available on this host"),
        ("kube-proxy-1.20.2-config-bad-yaml", &[], "yaml: line 3: did not find expected ',' or ']'"),
    ];
    let dir = sample("corpus");
    assert_eq!(files(&dir, "journal").len(), cases.len(), "a recorded log without an expectation");
    for (name, expected, words) in cases {
        let journal = look(&node(&dir.join(format!("{name}.journal"))));
        let unit = if name.starts_with("kubelet") { "kubelet.service" } else { "kube-proxy.service" };
        let last = journal.last_words.get(unit).and_then(|words| words.last()).map_or("", |line| line.message.as_str()).to_owned();
        let artefact = ["rlimit", "oom score", "oom_score_adj"].iter().any(|artefact| last.contains(artefact));
        assert!(if words.is_empty() { last.is_empty() || artefact } else { last.contains(words) }, "{name}: last words {last:?}");
        assert_eq!(codes(journal), expected, "{name}");
    }
}

/// The same numbers on every machine (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end.max(1)
    }
}

/// Damages a file where it is used; gives back what stood there.
fn damage(file: &File, used: u64, size: u64, dice: &mut Dice) -> (u64, Vec<u8>) {
    let tables = 3_800_000.min(used / 2);
    let at = match dice.below(10) {
        0..=1 => dice.below(272),
        2..=3 => 272 + dice.below(tables),
        _ => used - dice.below(used - tables),
    };
    let length = [1, 1, 4, 8, 8, 8, 64, 4096][usize::try_from(dice.below(8)).unwrap()].min(size - at);
    let mut before = vec![0; usize::try_from(length).unwrap()];
    file.read_exact_at(&mut before, at).unwrap();
    let mut after = before.clone();
    match dice.below(6) {
        0 => after.fill(0),
        1 => after.fill(0xff),
        2 => after.iter_mut().for_each(|byte| *byte ^= 1 << dice.below(8)),
        3 => after.iter_mut().for_each(|byte| *byte = u8::try_from(dice.below(256)).unwrap()),
        _ => {
            // A number that could be an offset, a size or a count.
            let number = [at & !7, used & !7, size, 16, 1 << 40, u64::MAX, 3, at.saturating_sub(4096) & !7][usize::try_from(dice.below(8)).unwrap()];
            let aligned = at & !7;
            before = vec![0; 8];
            after = number.to_le_bytes().to_vec();
            file.read_exact_at(&mut before, aligned).unwrap();
            file.write_all_at(&after, aligned).unwrap();
            return (aligned, before);
        }
    }
    file.write_all_at(&after, at).unwrap();
    (at, before)
}

/// Reads a damaged file in every way there is; how many entries were read.
fn read_all(path: &Path) -> usize {
    let mut reader = Reader::default();
    if reader.add(File::open(path).unwrap(), path.display().to_string()).is_err() {
        return 0;
    }
    let kubelet = Filter::field("_SYSTEMD_UNIT", "kubelet.service");
    let boot = Filter::field("_BOOT_ID", &"1b".repeat(16));
    let both = Filter::And(vec![boot, Filter::Or(vec![kubelet, Filter::field("_TRANSPORT", "kernel")])]);
    let forward = export(&mut reader, &Filter::All, Direction::Forward);
    let backward = export(&mut reader, &Filter::All, Direction::Backward);
    let some = export(&mut reader, &both, Direction::Forward);
    let boots = reader.boots();
    let mut walk = reader.walk(&Filter::All, Direction::Forward);
    for boot in &boots {
        walk.seek(&mut reader, &Place::Monotonic(boot.id, boot.last.saturating_sub(boot.first)));
        let _ = next(&mut walk, &mut reader);
    }
    let bytes: usize = forward.iter().chain(&backward).chain(&some).map(Vec::len).sum();
    assert!(forward.len() <= 2_000_000 && bytes < 200 << 20, "{} entries, {bytes} bytes", forward.len());
    forward.len()
}

/// `NODETRIAGE_MUTATIONS=100000` for a longer run.
#[test]
fn no_damage_makes_the_reader_panic_hang_or_grow() {
    let rounds = std::env::var("NODETRIAGE_MUTATIONS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2000);
    let dir = sample("variants");
    let names = ["bookworm-0", "forky-compact1-keyed1-zstd", "forky-compact0-keyed1-lz4", "forky-compact1-keyed0-xz"];
    let mut dice = Dice(0x006a_6f75_726e_616c);
    let (mut survived, mut whole, start) = (0, 0, Instant::now());
    for round in 0..rounds {
        let path = dir.join(format!("{}.journal", names[round % names.len()]));
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let size = file.metadata().unwrap().len();
        let mut tail = [0; 8];
        file.read_exact_at(&mut tail, 136).unwrap();
        let used = (u64::from_le_bytes(tail) + 4096).min(size - 4096);
        let wounds: Vec<_> = (0..=dice.below(3)).map(|_| damage(&file, used, size, &mut dice)).collect();
        let cut = (dice.below(8) == 0).then(|| dice.below(size));
        let path = match cut {
            None => path,
            Some(cut) => {
                let short = path.with_extension("short");
                fs::copy(&path, &short).unwrap();
                File::options().write(true).open(&short).unwrap().set_len(cut).unwrap();
                short
            }
        };
        let began = Instant::now();
        survived += read_all(&path);
        whole += 100;
        assert!(began.elapsed() < Duration::from_secs(20), "round {round}: {:?}", began.elapsed());
        for (at, before) in wounds.iter().rev() {
            file.write_all_at(before, *at).unwrap();
        }
    }
    println!("{rounds} rounds in {:?}: {survived} of {whole} entries read", start.elapsed());
    assert!(survived * 2 > whole, "a wound costs itself only, yet {survived} of {whole} entries were read");
}

#[test]
fn a_file_of_a_later_systemd_is_refused_aloud_and_the_others_are_read() {
    let dir = sample("corpus");
    let host = node(&dir.join("kubelet-1.36.2-ca-missing.journal"));
    let directory = dir.join("kubelet-1.36.2-ca-missing.root/var/log/journal/7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f");
    let later = directory.join("user-1000.journal");
    fs::copy(directory.join("system.journal"), &later).unwrap();
    File::options().write(true).open(&later).unwrap().write_all_at(&[0x24, 0, 0, 0], 12).unwrap();
    fs::write(directory.join("system@broken.journal"), "no journal at all, yet of that name").unwrap();
    fs::write(directory.join("system@begun.journal"), "").unwrap();
    let journal = look(&host);
    assert_eq!(journal.files, 1);
    assert!(journal.last_words["kubelet.service"].last().unwrap().message.contains("nosuch.crt"));
    let reasons: Vec<_> = journal.unreadable.iter().map(|blind| blind.reason.as_str()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].ends_with("system@broken.journal: damaged: not a journal file"), "{reasons:?}");
    assert!(reasons[1].contains("user-1000.journal: written by a later systemd") && reasons[1].contains("0x20"), "{reasons:?}");
    assert_eq!(codes(journal), ["journal-unreadable", "journal-unreadable"]);
    // With nothing else to read the domain is unknown, never healthy.
    fs::remove_file(directory.join("system.journal")).unwrap();
    let blind = journal::observe(&host, &Config::default(), &checks::signals()).unwrap_err();
    assert!(blind.grant.is_some(), "{blind:?}");
}

#[test]
fn a_directory_that_appears_later_ends_the_blindness() {
    let dir = sample("corpus");
    let root = dir.join("later");
    fs::create_dir_all(root.join("var/log")).unwrap();
    let board = Arc::new(Board::new(Facts::unobserved(Timestamp::from_unix_seconds(0).unwrap(), Node::default())));
    let (host, watched) = (Arc::new(Host::open(&root).unwrap()), Arc::clone(&board));
    std::thread::spawn(move || journal::watch(&host, &Arc::new(Config::default()), &checks::signals(), &watched, Earlier::default(), &|_| {}));
    let wait = |what: &str, met: fn(&Observed<Journal>) -> bool| {
        let start = Instant::now();
        while !board.read(|facts| met(&facts.journal)) {
            assert!(start.elapsed() < Duration::from_secs(30), "{what}: {:#?}", board.read(|facts| facts.journal.clone()));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait("no journal", |journal| journal.blind().is_some_and(|blind| blind.reason.contains("no journal in") && blind.grant.is_some()));
    let machine = root.join("var/log/journal/7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f");
    fs::create_dir_all(&machine).unwrap();
    fs::copy(dir.join("kubelet-1.36.2-ca-missing.journal"), machine.join("system.journal")).unwrap();
    wait("a journal", |journal| journal.known().is_some_and(|journal| journal.last_words.contains_key("kubelet.service")));
}

/// A journal file's objects: kind, offset, size, in the order of the file.
fn objects(bytes: &[u8]) -> Vec<(u8, usize, usize)> {
    let number = |at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let (mut at, last, mut found) = (number(88), number(136), Vec::new());
    while at <= last {
        found.push((bytes[at], at, number(at + 8)));
        at = (at + number(at + 8)).next_multiple_of(8);
    }
    found
}

/// What befalls a file, by name.
fn wounds(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let objects = objects(bytes);
    let of = |kind: u8, at: usize| {
        let all: Vec<_> = objects.iter().filter(|object| object.0 == kind).collect();
        let (_, offset, size) = *all[at.min(all.len() - 1)];
        (offset, size)
    };
    let used = objects.last().map_or(0, |(_, offset, size)| offset + size);
    let (data, field, entry, array) = (1, 2, 3, 6);
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    let mut case = |name: String, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.to_vec();
        change(&mut bytes);
        cases.push((name, bytes));
    };
    let put = |bytes: &mut Vec<u8>, at: usize, number: u64| bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    // Cut short: within the header, the tables, and among the entries.
    let first = of(entry, 0).0;
    for at in [100, 271, 5000, first - 8, first + (used - first) / 4, first + (used - first) / 2, used - (used - first) / 10, used - 9] {
        case(format!("cut at {at} of {used}"), &|bytes| bytes.truncate(at));
    }
    // What a file system leaves after a power cut.
    for part in [2, 4, 10, 50] {
        case(format!("the last 1/{part} is zeros"), &|bytes| bytes[used - (used - first) / part..].fill(0));
    }
    case("a block of zeros in the middle".to_owned(), &|bytes| bytes[first + (used - first) / 2..][..4096].fill(0));
    case("a block of ones in the middle".to_owned(), &|bytes| bytes[first + (used - first) / 2..][..4096].fill(0xff));
    // The header's numbers.
    for (name, at) in [("arena size", 96), ("number of entries", 152), ("tail object", 136), ("number of objects", 144), ("entry array", 176)] {
        for number in [0, 8, used as u64 + 8, 1 << 40, u64::MAX] {
            case(format!("header: {name} {number:#x}"), &|bytes| put(bytes, at, number));
        }
    }
    for (name, at) in [("data hash table's size", 112), ("data hash table's offset", 104), ("field hash table's size", 128)] {
        for number in [8, 1 << 40] {
            case(format!("header: {name} {number:#x}"), &|bytes| put(bytes, at, number));
        }
    }
    case("header: state 7".to_owned(), &|bytes| bytes[16] = 7);
    case("header: a compatible flag".to_owned(), &|bytes| bytes[9] |= 0x80);
    case("header: an incompatible flag".to_owned(), &|bytes| bytes[13] |= 0x80);
    case("header: size 64 KiB".to_owned(), &|bytes| put(bytes, 88, 64 << 10));
    // One object of each kind, in the middle of the file.
    for (name, kind, at) in [("data", data, 150), ("field", field, 5), ("entry", entry, 50), ("array", array, 2)] {
        let (offset, size) = of(kind, at);
        case(format!("{name}: size huge"), &|bytes| put(bytes, offset + 8, 1 << 40));
        case(format!("{name}: size 0"), &|bytes| put(bytes, offset + 8, 0));
        case(format!("{name}: size 1 less"), &|bytes| put(bytes, offset + 8, size as u64 - 1));
        case(format!("{name}: of another kind"), &|bytes| bytes[offset] = 7);
        case(format!("{name}: a flipped bit in the middle"), &|bytes| bytes[offset + size / 2] ^= 4);
        case(format!("{name}: all zeros"), &|bytes| bytes[offset..offset + size].fill(0));
    }
    // Rings: each chain leads back to itself or to what was before.
    let (array_first, _) = of(array, 0);
    let (array_third, _) = of(array, 2);
    case("the arrays: a ring of one".to_owned(), &|bytes| put(bytes, array_third + 16, array_third as u64));
    case("the arrays: a ring".to_owned(), &|bytes| put(bytes, array_third + 16, array_first as u64));
    for at in [20, 150] {
        let (offset, _) = of(data, at);
        case(format!("data {at}: its hash chain is a ring"), &|bytes| put(bytes, offset + 24, offset as u64));
        case(format!("data {at}: its list of values is a ring"), &|bytes| put(bytes, offset + 32, offset as u64));
        case(format!("data {at}: entries without number"), &|bytes| put(bytes, offset + 56, u64::MAX));
        case(format!("data {at}: all compressions at once"), &|bytes| bytes[offset + 1] = 7);
    }
    let (offset, _) = of(entry, 60);
    case("an entry that has itself as a field".to_owned(), &|bytes| put(bytes, offset + 64, offset as u64));
    case("an entry that has a field beyond the file".to_owned(), &|bytes| put(bytes, offset + 64, 1 << 31));
    cases
}

/// How many entries journalctl reads of a file; `None` if it is killed, by a signal or after 10 s.
fn journalctl_reads(path: &Path, arguments: &[&str]) -> Option<usize> {
    let output = Command::new("timeout").args(["10", "journalctl", "-q", "--no-pager", "-o", "export", "--file"]).arg(path).args(arguments).output().unwrap();
    let ended = output.status.code().is_some_and(|code| code < 124);
    ended.then(|| output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"__CURSOR=")).count())
}

#[test]
fn damage_costs_itself_alone_and_never_more_than_it_costs_journalctl() {
    let dir = sample("variants");
    let (mut cases, mut ours, mut theirs, mut worse) = (0, 0, 0, Vec::new());
    for name in ["forky-compact0-keyed1-lz4", "forky-compact1-keyed1-zstd"] {
        let bytes = fs::read(dir.join(format!("{name}.journal"))).unwrap();
        for (wound, bytes) in wounds(&bytes) {
            let path = dir.join("wounded.journal");
            fs::write(&path, bytes).unwrap();
            let mut row = Vec::new();
            for (filter, arguments) in [(Filter::All, &[][..]), (Filter::field("_SYSTEMD_UNIT", "kubelet.service"), &["_SYSTEMD_UNIT=kubelet.service"])] {
                let began = Instant::now();
                let mut reader = Reader::default();
                let read = reader.add(File::open(&path).unwrap(), String::new()).map_or(0, |()| export(&mut reader, &filter, Direction::Forward).len());
                assert!(began.elapsed() < Duration::from_secs(10), "{name}, {wound}: {:?}", began.elapsed());
                let golden = journalctl_reads(&path, arguments);
                (cases, ours, theirs) = (cases + 1, ours + read, theirs + golden.unwrap_or(0));
                if golden.is_some_and(|golden| read < golden) {
                    worse.push(format!("{name}, {wound}: {read} of journalctl's {golden:?}"));
                }
                row.push(format!("{read:3} {:>6}", golden.map_or("killed".to_owned(), |golden| golden.to_string())));
            }
            println!("{} {name:28} {wound}", row.join("  "));
        }
    }
    println!("{cases} cases: {ours} entries read; journalctl: {theirs}");
    assert!(cases >= 100 && ours > theirs && worse.is_empty(), "{worse:#?}");
}
