//! Log files beside the journal: of containers (`/var/log/pods`, written by a CRI runtime or by Docker), and syslog's where there is no
//! journal. Followed through rotation by renaming and by truncating.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;

use super::container::{self, Part};
use super::find;
use super::follow::waited_for;
use super::format::Id;
use super::hash::jenkins;
use super::look::Look;
use super::tally::{Line, Origin};
use crate::facts::Timestamp;
use crate::observe::host::Host;

const PODS: &str = "/var/log/pods";
/// Links to the present log of each container, wherever the kubelet keeps it (`podLogsDir`).
const CONTAINERS: &str = "/var/log/containers";
/// Debian's, and what Red Hat has in one.
const SYSLOG: [&str; 4] = ["/var/log/syslog", "/var/log/messages", "/var/log/kern.log", "/var/log/daemon.log"];
/// Bytes read back of a file at first.
const BACK: u64 = 256 << 10;
/// Bytes read of one file before the others have their turn.
const PIECE: usize = 64 << 10;
/// The longest line that is looked at; the rest of a longer one is left out. Runtimes cut what a container says at 16 KiB.
const LINE_MAX: usize = 32 << 10;
/// How long the successor of a file that was renamed away is waited for.
const SUCCESSOR: Duration = Duration::from_secs(5);
/// Files followed at once.
const FILES: usize = 64;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// What the container with that index said, in that run of it.
    Container(usize, Id),
    Syslog,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    watch: Option<WatchDescriptor>,
    offset: u64,
    /// The beginning of a line whose end is still to be written.
    rest: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
    /// What a container began to say, by its stream.
    begun: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Since when nothing bears its name: it was renamed away.
    nameless: Option<Instant>,
    form: Form,
}

/// The files that are followed.
#[derive(Debug)]
pub(super) struct Tail<'a> {
    host: &'a Host,
    files: BTreeMap<String, Open>,
    inotify: Option<Inotify>,
    /// Syslog's files are read, too.
    syslog: bool,
    /// … for the kernel's lines, too.
    kernel: bool,
    boot: Id,
    /// The first scan reads back; what appears later is read from its start.
    scanned: bool,
}

impl<'a> Tail<'a> {
    /// Opens what is there. `boot`: the one that lines are counted for.
    pub fn start(host: &'a Host, look: &Look, boot: Id, syslog: bool, kernel: bool) -> Self {
        // Without inotify the slow rescan still reads what is new.
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok();
        let mut tail = Self { host, files: BTreeMap::new(), inotify, syslog, kernel, boot, scanned: false };
        tail.scan(look);
        tail
    }

    /// Whether any of syslog's files is there to be read.
    pub fn has_syslog(&self) -> bool {
        self.syslog_files().next().is_some()
    }

    pub fn syslog_files(&self) -> impl Iterator<Item = String> {
        self.files.iter().filter(|(_, open)| open.form == Form::Syslog).map(|(path, _)| path.clone())
    }

    /// Becomes readable when something was written.
    pub fn events(&self) -> Option<AsyncFd<OwnedFd>> {
        waited_for(self.inotify.as_ref()?.as_fd().try_clone_to_owned().ok()?).ok()
    }

    /// Whether the successor of a file that was renamed away is still to come: the directory that it appears in may be watched by
    /// nobody, as Docker's.
    pub fn is_restless(&self) -> bool {
        self.files.values().any(|open| open.nameless.is_some_and(|since| since.elapsed() < SUCCESSOR))
    }

    /// Takes the events; true if a file or directory appeared or went.
    pub fn drain(&self) -> bool {
        let mut changed = false;
        while let Some(events) = self.inotify.as_ref().and_then(|inotify| inotify.read_events().ok()).filter(|events| !events.is_empty()) {
            changed |= events.iter().any(|event| event.mask != AddWatchFlags::IN_MODIFY);
        }
        changed
    }

    /// Looks for files that are new, or whose name another file has now.
    pub fn scan(&mut self, look: &Look) {
        let mut wanted: BTreeMap<String, Form> = BTreeMap::new();
        self.listen(PODS);
        self.listen(CONTAINERS);
        let pods = self.host.list(PODS).ok().flatten().unwrap_or_default();
        let links = self.host.list(CONTAINERS).ok().flatten().unwrap_or_default();
        for (index, container) in look.containers() {
            let of_container = pods.iter().filter(|pod| pod.strip_prefix("kube-system_").is_some_and(|pod| pod.starts_with(container)));
            let mut paths: Vec<String> = of_container.filter_map(|pod| self.newest(&format!("{PODS}/{pod}/{container}"))).collect();
            if paths.is_empty() {
                paths.extend(self.linked(&links, container));
            }
            wanted.extend(paths.into_iter().map(|path| (path.clone(), Form::Container(index, run(&path)))));
        }
        if self.syslog {
            self.listen("/var/log");
            wanted.extend(SYSLOG.into_iter().map(|path| (path.to_owned(), Form::Syslog)));
        }
        let gone: Vec<String> = self.files.keys().filter(|path| !wanted.contains_key(*path)).cloned().collect();
        for path in gone {
            let watch = self.files.remove(&path).and_then(|open| open.watch);
            self.unwatch(watch);
        }
        for (path, form) in wanted.into_iter().take(FILES) {
            self.open(path, form);
        }
        self.scanned = true;
    }

    /// The present log of a container: the kubelet begins a new one for each start. Those it has put away, and packed, have
    /// other names (`0.log.20261201-031244.gz`).
    fn newest(&self, directory: &str) -> Option<String> {
        self.listen(directory);
        let number = |name: &String| name.strip_suffix(".log").and_then(|number| number.parse::<u32>().ok());
        let newest = self.host.list(directory).ok().flatten()?.iter().filter_map(number).max()?;
        Some(format!("{directory}/{newest}.log"))
    }

    /// The newest log among the links `POD_kube-system_CONTAINER-ID.log`.
    fn linked(&self, links: &[String], container: &str) -> Option<String> {
        let id = |name: &str| name.split_once("_kube-system_")?.1.strip_prefix(container)?.strip_prefix('-')?.strip_suffix(".log").map(str::to_owned);
        let is_of = |name: &str| id(name).is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let written = |path: &String| find::open(self.host, path).ok().flatten()?.metadata().ok().map(|metadata| (metadata.mtime(), metadata.mtime_nsec()));
        let paths = links.iter().filter(|name| is_of(name)).map(|name| format!("{CONTAINERS}/{name}"));
        paths.filter_map(|path| Some((written(&path)?, path))).max().map(|(_, path)| path)
    }

    fn open(&mut self, path: String, form: Form) {
        if self.files.contains_key(&path) {
            return;
        }
        let Ok(Some(file)) = find::open(self.host, &path) else { return };
        let Ok(metadata) = file.metadata() else { return };
        let offset = if self.scanned { 0 } else { metadata.len().saturating_sub(BACK) };
        let watch = watch(self.inotify.as_ref(), &file);
        self.files.insert(path, Open::new(file, &metadata, watch, offset, form));
    }

    fn listen(&self, directory: &str) {
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        if let (Some(inotify), Ok(fd)) = (&self.inotify, self.host.open_at(directory, OFlag::O_PATH | OFlag::O_DIRECTORY)) {
            let _ = inotify.add_watch(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), flags);
        }
    }

    fn unwatch(&self, watch: Option<WatchDescriptor>) {
        if let (Some(inotify), Some(watch)) = (&self.inotify, watch) {
            // A file that is gone has taken its watch along.
            let _ = inotify.rm_watch(watch);
        }
    }

    /// Takes in what was written since, a piece of each file. True if there is more.
    pub fn read(&mut self, look: &mut Look) -> bool {
        let mut more = false;
        let mut piece = vec![0; PIECE];
        let mut left = Vec::new();
        for (path, open) in &mut self.files {
            let length = open.file.metadata().map_or(0, |metadata| metadata.len());
            if length < open.offset {
                // Copied and truncated.
                (open.offset, open.skipping) = (0, false);
                open.rest.clear();
                open.begun.clear();
            }
            let count = open.file.read_at(&mut piece, open.offset).unwrap_or(0);
            open.offset += count as u64;
            let (boot, kernel) = (&mut self.boot, self.kernel);
            open.lines(piece.get(..count).unwrap_or_default(), |line, form, begun| take(look, form, begun, boot, kernel, line));
            more |= count == PIECE;
            if count > 0 {
                continue;
            }
            let Ok(named) = find::open(self.host, path) else { continue };
            open.nameless = if named.is_none() { open.nameless.or_else(|| Some(Instant::now())) } else { None };
            let successor = named.and_then(|file| Some((file.metadata().ok()?, file))).filter(|(metadata, _)| metadata.ino() != open.inode);
            if let Some((metadata, file)) = successor {
                let watch = watch(self.inotify.as_ref(), &file);
                let form = open.form;
                left.push(std::mem::replace(open, Open::new(file, &metadata, watch, 0, form)).watch);
                more = true;
            }
        }
        for watch in left {
            self.unwatch(watch);
        }
        more
    }
}

/// Asks for events of the file itself: what is found by a link (Docker's) is written to in another directory.
fn watch(inotify: Option<&Inotify>, file: &File) -> Option<WatchDescriptor> {
    let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVE_SELF;
    inotify?.add_watch(format!("/proc/self/fd/{}", file.as_raw_fd()).as_str(), flags).ok()
}

impl Open {
    fn new(file: File, metadata: &Metadata, watch: Option<WatchDescriptor>, offset: u64, form: Form) -> Self {
        // Within a line, it is passed over.
        Self { file, inode: metadata.ino(), watch, offset, rest: Vec::new(), skipping: offset > 0, begun: BTreeMap::new(), nameless: None, form }
    }

    /// Hands over whole lines.
    fn lines(&mut self, piece: &[u8], mut take: impl FnMut(&[u8], Form, &mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.last() == Some(&b'\n');
            if !self.skipping {
                let room = LINE_MAX.saturating_sub(self.rest.len());
                self.rest.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            }
            if ends {
                if !self.skipping {
                    take(self.rest.trim_ascii_end(), self.form, &mut self.begun);
                }
                self.rest.clear();
                self.skipping = false;
            }
        }
    }
}

/// One start of a container.
fn run(path: &str) -> Id {
    let hash = jenkins(path.as_bytes()).to_le_bytes();
    let mut id = [0; 16];
    id.iter_mut().zip(hash.iter().chain(&hash)).for_each(|(to, from)| *to = *from);
    Id(id)
}

fn take(look: &mut Look, form: Form, begun: &mut BTreeMap<Vec<u8>, Vec<u8>>, boot: &mut Id, kernel: bool, line: &[u8]) {
    match form {
        Form::Container(index, run) => {
            let Some(part) = container::part(line) else { return };
            if let Some((realtime, message)) = whole(begun, part) {
                look.tally.take(&own_line(Origin::Unit(index), realtime, *boot, Some(run), &message), String::new);
            }
        }
        Form::Syslog => {
            let Some(said) = syslog(line) else { return };
            if said.name == "kernel" {
                if said.message.starts_with(b"Linux version ") {
                    // Another boot: what was said before does not count.
                    boot.0 = boot.0.map(|byte| byte.wrapping_add(1));
                }
                if kernel {
                    look.tally.take(&own_line(Origin::Kernel, said.realtime, *boot, None, said.message), String::new);
                }
            } else if let Some(index) = look.unit(&format!("{}.service", said.name)) {
                look.tally.take(&own_line(Origin::Unit(index), said.realtime, *boot, None, said.message), String::new);
            }
        }
    }
}

pub(super) fn own_line(origin: Origin, realtime: u64, boot_id: Id, invocation: Option<Id>, message: &[u8]) -> Line<'_> {
    Line { origin, realtime, boot_id, invocation, severe: false, restarts: false, message }
}

/// Joins what the runtime has cut: a line of more than 16 KiB comes in parts. The two streams may be mixed.
fn whole(begun: &mut BTreeMap<Vec<u8>, Vec<u8>>, part: Part<'_>) -> Option<(u64, Vec<u8>)> {
    let mut message = begun.remove(part.stream.as_bytes()).unwrap_or_default();
    let room = LINE_MAX.saturating_sub(message.len());
    message.extend_from_slice(part.message.get(..part.message.len().min(room)).unwrap_or_default());
    if part.ends {
        return Some((part.realtime, message));
    }
    // There are two streams; whoever invents more loses what it began on them.
    if begun.len() < 2 {
        begun.insert(part.stream.into_owned().into_bytes(), message);
    }
    None
}

/// A line of syslog.
#[derive(Debug, PartialEq, Eq)]
struct Said<'a> {
    realtime: u64,
    name: &'a str,
    message: &'a [u8],
}

/// `2026-12-01T03:12:44.123456+00:00 node1 kubelet[612]: MESSAGE`, or `Dec  1 03:12:44 node1 kernel: [  12.345678] MESSAGE`.
fn syslog(line: &[u8]) -> Option<Said<'_>> {
    let text =
        std::str::from_utf8(line.get(..line.len().min(200))?).or_else(|error| std::str::from_utf8(line.get(..error.valid_up_to()).unwrap_or_default())).ok()?;
    let (time, rest) = if text.as_bytes().first()?.is_ascii_digit() {
        text.split_once(' ').map(|(time, rest)| (time.parse::<Timestamp>().ok(), rest))?
    } else {
        (traditional(text.get(..15)?), text.get(16..)?)
    };
    let (_host, rest) = rest.split_once(' ')?;
    let (tag, message) = rest.split_once(": ")?;
    let name = tag.split_once('[').map_or(tag, |(name, _)| name);
    let start = message.as_ptr() as usize - text.as_ptr() as usize;
    let mut message = line.get(start..)?;
    if name == "kernel" && message.first() == Some(&b'[') {
        let end = message.iter().position(|byte| *byte == b']')?;
        message = message.get(end + 1..)?.trim_ascii_start();
    }
    Some(Said { realtime: u64::try_from(time?.unix_micros()).ok()?, name, message })
}

/// `Dec  1 03:12:44`, which has neither year nor zone: of the last twelve months, in UTC.
fn traditional(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|month| text.starts_with(month))? + 1;
    let day: u32 = text.get(4..6)?.trim().parse().ok()?;
    let clock = text.get(7..15)?;
    let now = Timestamp::from(std::time::SystemTime::now());
    let year: i32 = now.human().get(..4)?.parse().ok()?;
    let of = |year: i32| format!("{year:04}-{month:02}-{day:02}T{clock}Z").parse::<Timestamp>().ok();
    // A day ahead may be another time zone.
    of(year).filter(|time| time.seconds_since(now) < 86_400).or_else(|| of(year - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_syslog_are_read() {
        let said = syslog(b"2026-12-01T03:12:44.123456+01:00 node1 kubelet[612]: E1201 no: such thing").unwrap();
        assert_eq!((said.name, said.message, said.realtime), ("kubelet", &b"E1201 no: such thing"[..], 1_796_091_164_123_456));
        let said = syslog(b"Dec  1 03:12:44 node1 kernel: [   12.345678] Out of memory: Killed process 17 (stress)").unwrap();
        assert_eq!((said.name, said.message), ("kernel", &b"Out of memory: Killed process 17 (stress)"[..]));
        for other in
            [&b""[..], b"\xff\xfe", b"Dec", b"Foo  1 03:12:44 node1 kernel: x", b"2026 x", b"Dec 99 99:99:99 a b: c", "Dec  1 03:12:4\u{e9} n k: m".as_bytes()]
        {
            assert!(syslog(other).is_none(), "{}", String::from_utf8_lossy(other));
        }
    }
}
