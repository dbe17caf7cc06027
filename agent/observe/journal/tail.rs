//! Log files beside the journal: of containers (`/var/log/pods`), and syslog's where there is no journal. Followed through
//! rotation by renaming and by truncating.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use nix::fcntl::OFlag;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

use super::find;
use super::follow::waited_for;
use super::format::Id;
use super::hash::jenkins;
use super::look::Look;
use super::tally::{Line, Origin};
use crate::facts::Timestamp;
use crate::observe::host::Host;

const PODS: &str = "/var/log/pods";
/// Debian's, and what Red Hat has in one.
const SYSLOG: [&str; 4] = ["/var/log/syslog", "/var/log/messages", "/var/log/kern.log", "/var/log/daemon.log"];
/// Bytes read back of a file at first.
const BACK: u64 = 256 << 10;
/// Bytes read of one file before the others have their turn.
const PIECE: usize = 64 << 10;
/// The longest line that is looked at; the rest of a longer one is left out.
const LINE_MAX: usize = 16 << 10;
/// Files followed at once.
const FILES: usize = 64;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The container runtime's: `2026-12-01T03:12:44.123456789Z stderr F MESSAGE`, of the container with that index.
    Cri(usize, Id),
    Syslog,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    offset: u64,
    /// The beginning of a line whose end is still to be written.
    rest: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
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

    /// Takes the events; true if a file or directory appeared.
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
        self.listen(PODS, false);
        let pods = self.host.list(PODS).ok().flatten().unwrap_or_default();
        for (index, container) in look.containers() {
            for pod in pods.iter().filter(|pod| pod.strip_prefix("kube-system_").is_some_and(|pod| pod.starts_with(container))) {
                let directory = format!("{PODS}/{pod}/{container}");
                // The runtime begins a new file for each start of the container.
                let number = |name: &String| name.strip_suffix(".log").and_then(|number| number.parse::<u32>().ok());
                let Some(newest) = self.host.list(&directory).ok().flatten().and_then(|names| names.iter().filter_map(number).max()) else { continue };
                self.listen(&directory, true);
                let path = format!("{directory}/{newest}.log");
                let run = run(&path);
                wanted.insert(path, Form::Cri(index, run));
            }
        }
        if self.syslog {
            self.listen("/var/log", true);
            wanted.extend(SYSLOG.into_iter().map(|path| (path.to_owned(), Form::Syslog)));
        }
        self.files.retain(|path, _| wanted.contains_key(path));
        for (path, form) in wanted.into_iter().take(FILES) {
            self.open(path, form);
        }
        self.scanned = true;
    }

    fn open(&mut self, path: String, form: Form) {
        if self.files.contains_key(&path) {
            return;
        }
        let Ok(Some(file)) = find::open(self.host, &path) else { return };
        let Ok(metadata) = file.metadata() else { return };
        let offset = if self.scanned { 0 } else { metadata.len().saturating_sub(BACK) };
        // Within a line, it is passed over.
        self.files.insert(path, Open { inode: metadata.ino(), file, offset, rest: Vec::new(), skipping: offset > 0, form });
    }

    fn listen(&self, directory: &str, written: bool) {
        let mut flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        flags.set(AddWatchFlags::IN_MODIFY, written);
        if let (Some(inotify), Ok(fd)) = (&self.inotify, self.host.open_at(directory, OFlag::O_PATH | OFlag::O_DIRECTORY)) {
            let _ = inotify.add_watch(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), flags);
        }
    }

    /// Takes in what was written since, a piece of each file. True if there is more.
    pub fn read(&mut self, look: &mut Look) -> bool {
        let (host, boot, kernel) = (self.host, &mut self.boot, self.kernel);
        let mut more = false;
        let mut piece = vec![0; PIECE];
        for (path, open) in &mut self.files {
            let length = open.file.metadata().map_or(0, |metadata| metadata.len());
            if length < open.offset {
                // Copied and truncated.
                (open.offset, open.skipping) = (0, false);
                open.rest.clear();
            }
            let count = open.file.read_at(&mut piece, open.offset).unwrap_or(0);
            open.offset += count as u64;
            let form = open.form;
            open.lines(piece.get(..count).unwrap_or_default(), |line| take(look, form, boot, kernel, line));
            more |= count == PIECE;
            if count == 0 {
                more |= open.replace(host, path);
            }
        }
        more
    }
}

impl Open {
    /// Opens what bears the name now, if this file was renamed away and has been read to its end.
    fn replace(&mut self, host: &Host, path: &str) -> bool {
        let Ok(Some(file)) = find::open(host, path) else { return false };
        let Some(inode) = file.metadata().ok().map(|metadata| metadata.ino()).filter(|inode| *inode != self.inode) else { return false };
        *self = Self { file, inode, offset: 0, rest: Vec::new(), skipping: false, form: self.form };
        true
    }

    /// Hands over whole lines.
    fn lines(&mut self, piece: &[u8], mut take: impl FnMut(&[u8])) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.last() == Some(&b'\n');
            if !self.skipping {
                let room = LINE_MAX.saturating_sub(self.rest.len());
                self.rest.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            }
            if ends {
                if !self.skipping {
                    take(self.rest.trim_ascii_end());
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

fn take(look: &mut Look, form: Form, boot: &mut Id, kernel: bool, line: &[u8]) {
    match form {
        Form::Cri(index, run) => {
            let Some((realtime, message)) = cri(line) else { return };
            look.tally.take(&own_line(Origin::Unit(index), realtime, *boot, Some(run), message), String::new);
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

/// Time in microseconds and message of `TIME STREAM F MESSAGE` (`kubernetes/cri-api`, the CRI log format); docker's JSON has neither.
fn cri(line: &[u8]) -> Option<(u64, &[u8])> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?.parse::<Timestamp>().ok()?;
    let _stream = parts.next()?;
    let _tags = parts.next()?;
    Some((u64::try_from(time.unix_micros()).ok()?, parts.next().unwrap_or_default()))
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
    fn both_forms_of_syslog_and_the_runtimes_are_read() {
        let said = syslog(b"2026-12-01T03:12:44.123456+01:00 node1 kubelet[612]: E1201 no: such thing").unwrap();
        assert_eq!((said.name, said.message, said.realtime), ("kubelet", &b"E1201 no: such thing"[..], 1_796_091_164_123_456));
        let said = syslog(b"Dec  1 03:12:44 node1 kernel: [   12.345678] Out of memory: Killed process 17 (stress)").unwrap();
        assert_eq!((said.name, said.message), ("kernel", &b"Out of memory: Killed process 17 (stress)"[..]));
        let (time, message) = cri(b"2026-12-01T03:12:44.123456789Z stderr F slow fdatasync").unwrap();
        assert_eq!((time, message), (1_796_094_764_123_456, &b"slow fdatasync"[..]));
        for other in [
            &b""[..],
            b"\xff\xfe",
            b"Dec",
            b"Foo  1 03:12:44 node1 kernel: x",
            b"2026 x",
            b"{\"log\":\"x\"}",
            b"Dec 99 99:99:99 a b: c",
            "Dec  1 03:12:4\u{e9} n k: m".as_bytes(),
        ] {
            assert!(syslog(other).is_none() && cri(other).is_none(), "{}", String::from_utf8_lossy(other));
        }
    }
}
