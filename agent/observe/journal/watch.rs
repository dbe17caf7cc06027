//! Follows the journal through rotation, vacuum and deletion, and puts what changes on the board.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::file::{Chain, Entry, JournalFile};
use super::find;
use super::format::{Fault, Id};
use super::look::{Look, Marks, is_growing, unix_micros};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts, Journal, Observed};
use crate::finding::Signal;
use crate::observe::board::Board;
use crate::observe::host::Host;

/// How often the headers of the files that grow are read while something is going on. journald announces lines by inotify
/// only 250 ms after the first (`POST_CHANGE_TIMER_INTERVAL_USEC` in `journald-server.c`), which is enough to wake up by,
/// but late for what follows. Each look from idle costs some 50 microseconds of CPU, so nobody looks without a reason.
const POLL: Duration = Duration::from_millis(40);
/// How long a line of a watched unit or of the kernel makes us look closely.
const AFTER_LINE: Duration = Duration::from_millis(1500);
/// … and a change of what is told, or of a unit: its last words come with it.
const AFTER_CHANGE: Duration = Duration::from_secs(5);
/// How often directories are listed although no event told of a change.
const RESCAN: Duration = Duration::from_secs(30);
/// How long a new file is tried again before it counts as one that nobody writes.
const YOUNG: Duration = Duration::from_secs(5);
/// Pause before the journal is opened anew after it could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// While lines keep changing what is known, it is told so often in a second.
const TOLD_PER_SECOND: usize = 5;
/// Entries taken in before new files are looked for: an archive that is not open yet may be vacuumed.
const BATCH: u64 = 200;

/// Keeps the journal's facts on the board current, until the process ends: run it on a thread of its own, it blocks.
/// What cannot be read makes the domain unknown, and is tried again. `signals` are the lines that checks count, each with
/// the check's code.
pub fn watch(host: &Arc<Host>, config: &Arc<Config>, signals: &[(&'static str, &'static Signal)], board: &Arc<Board>) {
    let mut told = None;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let blind = Blind::new(format!("the journal's thread has no event loop: {error}"));
            board.put(Domain::Journal, Duration::ZERO, |facts| facts.journal = Observed::Unknown(blind));
            return;
        }
    };
    loop {
        let start = Instant::now();
        let blind = match Follow::start(host, config, signals) {
            Ok(mut follow) => {
                told = None;
                runtime.block_on(follow.run(start, board))
            }
            Err(blind) => blind,
        };
        if told.as_ref() != Some(&blind) {
            board.put(Domain::Journal, start.elapsed(), |facts| facts.journal = Observed::Unknown(blind.clone()));
            tracing::warn!(reason = %blind, "the journal cannot be followed");
            told = Some(blind);
        }
        std::thread::sleep(RETRY);
    }
}

/// How far a file has been read.
#[derive(Debug)]
struct Progress {
    chain: Chain,
    /// Entries taken in.
    done: u64,
}

struct Follow<'a> {
    host: &'a Host,
    look: Look,
    /// By the reader's file index.
    progress: Vec<Progress>,
    /// Names that were opened, or refused for good.
    seen: BTreeSet<String>,
    /// Files that journald has only begun to write, and since when we have known them.
    young: BTreeMap<String, Instant>,
    /// The files that were taken in, or are being: a file keeps its id when it is renamed.
    known: BTreeSet<Id>,
    /// The boot, and the microseconds since, of the newest entry in memory: journald copies these to disk when the disk is there.
    in_memory: (Id, u64),
    inotify: Inotify,
    scanned: Instant,
    told: Option<Journal>,
    /// When it was told last, the latest at the end.
    told_at: VecDeque<Instant>,
    pending: bool,
    /// Until then we look closely.
    attentive: Instant,
}

impl<'a> Follow<'a> {
    fn start(host: &'a Host, config: &Config, signals: &[(&'static str, &'static Signal)]) -> Result<Self, Blind> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map_err(|errno| Blind::new(format!("inotify: {}", errno.desc())).grant("raise fs.inotify.max_user_instances"))?;
        let look = Look::back(host, config, signals)?;
        let mut follow = Self {
            host,
            look,
            progress: Vec::new(),
            seen: BTreeSet::new(),
            young: BTreeMap::new(),
            known: BTreeSet::new(),
            in_memory: (Id::default(), 0),
            inotify,
            scanned: Instant::now(),
            told: None,
            told_at: VecDeque::new(),
            pending: true,
            attentive: Instant::now() + AFTER_CHANGE,
        };
        follow.adopt();
        follow.listen();
        follow.rescan()?;
        Ok(follow)
    }

    /// Takes over the files that the look back has read: those that grow are followed, the others closed.
    fn adopt(&mut self) {
        let reader = &mut self.look.reader;
        let mut kept = Vec::new();
        for (index, file) in reader.files.iter().enumerate() {
            self.seen.insert(file.path.clone());
            self.known.insert(file.header.file_id);
            let Some(chain) = file.all(&mut reader.cache).ok().filter(|_| is_growing(file.header.state)) else { continue };
            let last = chain.len().checked_sub(1).and_then(|at| chain.get(file, &mut reader.cache, at).ok()?);
            if let Some(head) = last.and_then(|at| file.head(&mut reader.cache, at).ok()).filter(|_| find::is_in_memory(&file.path)) {
                self.in_memory = (head.boot_id, head.monotonic);
            }
            kept.push((index, Progress { done: chain.len(), chain }));
        }
        let all = std::mem::take(&mut reader.files).into_iter().zip(std::mem::take(&mut self.look.marks)).enumerate();
        for (index, (file, marks)) in all {
            if let Some(at) = kept.iter().position(|(kept, _)| *kept == index) {
                self.progress.push(kept.swap_remove(at).1);
                self.look.reader.files.push(file);
                self.look.marks.push(marks);
            }
        }
    }

    /// Runs until the journal cannot be read any more.
    async fn run(&mut self, start: Instant, board: &Board) -> Blind {
        let mut start = start;
        let mut news = board.news();
        let mut units = Vec::new();
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd owns its descriptor for as long as it lives, which is what that asks for")]
        let ready = self.inotify.as_fd().try_clone_to_owned().and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE));
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => return Blind::new(format!("inotify: {error}")),
        };
        loop {
            let more = match self.read_new() {
                Ok(more) => more,
                Err(blind) => return blind,
            };
            self.tell(start, board);
            let mut changed = false;
            tokio::select! {
                () = tokio::time::sleep(self.pause(more)) => {}
                _ = news.changed() => {
                    let now = board.read(runs);
                    if now != units {
                        units = now;
                        self.attend(AFTER_CHANGE);
                    }
                }
                guard = ready.readable() => {
                    changed = self.drain();
                    if let Ok(mut guard) = guard {
                        guard.clear_ready();
                    }
                }
            }
            start = Instant::now();
            if (changed || !self.young.is_empty() || self.scanned.elapsed() > RESCAN)
                && let Err(blind) = self.rescan()
            {
                return blind;
            }
        }
    }

    /// How long nothing needs to be looked at, unless an event tells.
    fn pause(&self, more: bool) -> Duration {
        if more {
            Duration::ZERO
        } else if self.attentive > Instant::now() || !self.young.is_empty() {
            POLL
        } else if self.pending || self.look.tally.holds() {
            Duration::from_millis(250)
        } else {
            RESCAN
        }
    }

    fn attend(&mut self, span: Duration) {
        self.attentive = self.attentive.max(Instant::now() + span);
    }

    /// Takes the events; true if one is of a directory rather than of lines.
    fn drain(&self) -> bool {
        let mut changed = false;
        while let Ok(events) = self.inotify.read_events() {
            if events.is_empty() {
                break;
            }
            changed |= events.iter().any(|event| event.mask != AddWatchFlags::IN_MODIFY);
        }
        changed
    }

    /// Asks for events of the directories that journals lie in, and of those that these may appear in.
    fn listen(&self) {
        let appear = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        let change = appear | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        let written = change | AddWatchFlags::IN_MODIFY;
        let roots = find::ROOTS.into_iter().map(|root| (root, change)).chain([("/var/log", appear), ("/run/log", appear)]);
        let directories = self.look.directories.iter().map(|directory| (directory.as_str(), written));
        for (path, flags) in roots.chain(directories) {
            // Through the descriptor, so that a symlink of the node leads where it leads on the node.
            if let Ok(fd) = self.host.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
                // Without the watch the slow rescan still finds what is new.
                let _ = self.inotify.add_watch(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), flags);
            }
        }
    }

    /// Lists the directories, opens what is new, closes what is done.
    fn rescan(&mut self) -> Result<(), Blind> {
        self.scanned = Instant::now();
        let directories = find::directories(self.host)?;
        if directories != self.look.directories {
            self.look.directories = directories;
            self.pending = true;
        }
        // Lines that were written to a file before it was renamed come before those of its successor.
        self.read_new()?;
        let mut present = BTreeSet::new();
        for directory in self.look.directories.clone() {
            for name in find::names(self.host, &directory)? {
                present.insert(format!("{directory}/{name}"));
            }
        }
        self.close_done();
        self.seen.retain(|path| present.contains(path));
        self.young.retain(|path, since| present.contains(path) && since.elapsed() < YOUNG);
        let refused = self.look.unreadable.len();
        self.look.unreadable.retain(|path, _| present.contains(path));
        // Archives first: their lines are older. The name of the file in use is given to another at every rotation.
        let (current, archives): (Vec<_>, Vec<_>) = present.into_iter().partition(|path| is_current(path));
        let new: Vec<_> = archives.into_iter().filter(|path| !self.seen.contains(path)).chain(current).collect();
        for path in &new {
            self.open(path);
        }
        self.pending |= refused != self.look.unreadable.len();
        self.listen();
        Ok(())
    }

    fn open(&mut self, path: &str) {
        let mut young = false;
        let file = self.look.open(self.host, path, &mut young);
        if young {
            self.young.entry(path.to_owned()).or_insert_with(Instant::now);
            return;
        }
        self.young.remove(path);
        self.seen.insert(path.to_owned());
        let Some(file) = file else { return };
        let reader = &mut self.look.reader;
        if let Some(same) = reader.files.iter_mut().find(|other| other.header.file_id == file.header.file_id) {
            path.clone_into(&mut same.path);
        } else if !self.known.contains(&file.header.file_id)
            && let Ok(chain) = file.all(&mut reader.cache)
        {
            self.known.insert(file.header.file_id);
            self.look.add(file, Marks::default());
            self.progress.push(Progress { chain, done: 0 });
            self.pending = true;
        }
    }

    /// Closes files that were read to their end and will not grow: archived, or deleted and replaced. journald goes on
    /// writing to a file that somebody else deleted, until it rotates.
    fn close_done(&mut self) {
        for index in (0..self.progress.len()).rev() {
            let (Some(file), Some(progress)) = (self.look.reader.files.get_mut(index), self.progress.get(index)) else { continue };
            // Who cannot be read is told when it is read.
            let _ = file.refresh();
            let is_read = progress.done >= file.header.n_entries;
            let (growing, deleted, path) = (is_growing(file.header.state), file.is_deleted(), file.path.clone());
            let replaced = self.look.reader.files.iter().skip(index + 1).any(|other| other.path == path);
            if is_read && (!growing || (deleted && replaced)) {
                self.close(index);
            }
        }
    }

    /// Takes in what was written since, a batch at most. True if there is more.
    fn read_new(&mut self) -> Result<bool, Blind> {
        let mut index = 0;
        while index < self.progress.len() {
            match self.catch_up(index) {
                Ok(()) => {}
                // A vacuum deletes archives and frees their blocks at once, whoever has them open.
                Err(_) if self.look.reader.files.get(index).is_none_or(JournalFile::is_deleted) => {
                    self.close(index);
                    continue;
                }
                Err(fault) => {
                    let path = self.look.reader.files.get(index).map_or("a journal file", |file| &file.path);
                    return Err(Blind::new(format!("{path}: {fault}")));
                }
            }
            // An archive is read to its end before its successor is.
            if self.take(index) {
                return Ok(true);
            }
            index += 1;
        }
        Ok(false)
    }

    /// Learns which entries a file has by now.
    fn catch_up(&mut self, index: usize) -> Result<(), Fault> {
        let reader = &mut self.look.reader;
        let (Some(file), Some(progress)) = (reader.files.get_mut(index), self.progress.get_mut(index)) else { return Ok(()) };
        let count = file.entries_now()?;
        if count != progress.chain.len() {
            file.refresh()?;
            file.extend(&mut reader.cache, &mut progress.chain)?;
        }
        Ok(())
    }

    fn close(&mut self, index: usize) {
        self.look.reader.files.remove(index);
        self.look.marks.remove(index);
        self.progress.remove(index);
    }

    /// Takes in the entries of one file, at most a batch. True if there are more.
    fn take(&mut self, index: usize) -> bool {
        let mut entry = Entry::default();
        for _ in 0..BATCH {
            let reader = &mut self.look.reader;
            let (Some(file), Some(progress)) = (reader.files.get(index), self.progress.get_mut(index)) else { return false };
            if progress.done >= progress.chain.len() {
                return false;
            }
            let offset = progress.chain.get(file, &mut reader.cache, progress.done);
            progress.done += 1;
            let read = offset.and_then(|offset| file.entry(&mut reader.cache, offset.ok_or(Fault::Incomplete)?, &mut entry));
            if read.is_err() {
                reader.damaged += 1;
                continue;
            }
            let now = (entry.head.boot_id, entry.head.monotonic);
            if find::is_in_memory(&file.path) {
                self.in_memory = now;
            } else if now.0 == self.in_memory.0 && now.1 <= self.in_memory.1 {
                continue;
            }
            if self.look.take(index, &entry) {
                self.attend(AFTER_LINE);
            }
        }
        true
    }

    /// Puts the facts on the board if they changed; while they change all the time, now and then.
    fn tell(&mut self, start: Instant, board: &Board) {
        let now = unix_micros();
        self.pending |= self.look.tally.take_changed(now);
        let busy = self.told_at.len() >= TOLD_PER_SECOND && self.told_at.front().is_some_and(|at| at.elapsed() < Duration::from_secs(1));
        if !self.pending || busy {
            return;
        }
        self.pending = false;
        self.attend(AFTER_CHANGE);
        let facts = self.look.facts(now);
        if self.told.as_ref().is_some_and(|told| same(told, &facts)) {
            return;
        }
        board.put(Domain::Journal, start.elapsed(), |board| board.journal = Observed::Known(facts.clone()));
        self.told = Some(facts);
        self.told_at.push_back(Instant::now());
        if self.told_at.len() > TOLD_PER_SECOND {
            self.told_at.pop_front();
        }
    }
}

/// In which run each unit is, and how it is.
fn runs(facts: &Facts) -> Vec<(String, Option<String>)> {
    let units = facts.units.known().map(|units| &units.units).into_iter().flatten();
    units.filter_map(|unit| unit.active.as_ref()).map(|active| (active.sub_state.clone(), active.invocation_id.clone())).collect()
}

/// Whether both tell the same; when the newest line was written is no news by itself.
fn same(a: &Journal, b: &Journal) -> bool {
    let telling = |j: &Journal| (j.directories.clone(), j.files, j.unreadable.clone(), j.last_words.clone(), j.signals.clone());
    telling(a) == telling(b)
}

/// The name of a file that journald writes to, rather than that of an archive.
fn is_current(path: &str) -> bool {
    !path.contains('@') && path.ends_with(".journal")
}
