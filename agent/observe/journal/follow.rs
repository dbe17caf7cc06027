//! Follows journal files through rotation, vacuum, deletion, and directories that appear later: every entry once, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::file::{Chain, Entry, EntryHead, JournalFile};
use super::find;
use super::format::{Fault, Id, State};
use super::opened::Opened;
use super::reader::{Reader, compare};
use crate::facts::Blind;
use crate::facts::journal::Reading;
use crate::observe::host::Host;

/// How often directories are listed although no event told of a change.
pub const RESCAN: Duration = Duration::from_secs(30);
/// Lines that are written one after the other are read at once so often: each time costs more than a few lines do.
const BREATH: Duration = Duration::from_millis(50);
/// How long a new file is tried again before it counts as one that nobody writes.
const YOUNG: Duration = Duration::from_secs(5);
/// Two looks at the sequence numbers so far apart must agree before entries are called lost: files are not read at one instant.
const CONFIRM: Duration = Duration::from_secs(2);

/// How far a file has been read.
#[derive(Debug)]
struct Progress {
    chain: Chain,
    /// Entries taken in.
    done: u64,
    /// The next entry, once it has been looked at.
    next: Option<EntryHead>,
}

/// How far the journal was read, to go on from there in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// By file id: entries read. A file keeps its id when it is renamed.
    files: BTreeMap<Id, u64>,
    /// The boot, and the microseconds since, of the newest entry in memory.
    in_memory: (Id, u64),
    counters: BTreeMap<Id, Counter>,
}

/// One journald's sequence numbers: they have no gaps, but some user's files may not be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    base: u64,
    highest: u64,
    taken: u64,
}

/// Open files and how far each was read.
#[derive(Debug)]
pub struct Follow<'a> {
    host: &'a Host,
    pub opened: Opened,
    directories: fn(&Host) -> Result<Vec<String>, Blind>,
    /// By the reader's file index.
    progress: Vec<Progress>,
    /// Names that were opened, or refused for good.
    seen: BTreeSet<String>,
    /// Files that journald has only begun to write, and since when we have known them.
    young: BTreeMap<String, Instant>,
    /// The files that were taken in, or are being, and how many entries of each when it was closed.
    known: BTreeMap<Id, u64>,
    /// The boot, and the microseconds since, of the newest entry in memory: journald copies these to disk when the disk is there.
    in_memory: (Id, u64),
    counters: BTreeMap<Id, Counter>,
    /// Sequence numbers that were missing, and when that was seen.
    missing: Option<(u64, Instant)>,
    lost: u64,
    /// Entries read.
    entries: u64,
    /// When the entry read last was written, microseconds since 1970.
    last: u64,
    inotify: Inotify,
    /// When it was read last.
    read: Option<Instant>,
    scanned: Instant,
    /// Something that is told of the journal has changed: its directories, or a file that cannot be read.
    pub changed: bool,
}

impl<'a> Follow<'a> {
    /// Goes on after what `opened` had when it was opened, or, where an earlier process left its marks, from there.
    ///
    /// # Errors
    /// Blind: no inotify, or a directory cannot be listed.
    pub fn start(host: &'a Host, opened: Opened, directories: fn(&Host) -> Result<Vec<String>, Blind>, from: Option<&Marks>) -> Result<Self, Blind> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map_err(|errno| Blind::new(format!("inotify: {}", errno.desc())).grant("raise fs.inotify.max_user_instances"))?;
        let mut follow = Self {
            host,
            opened,
            directories,
            progress: Vec::new(),
            seen: BTreeSet::new(),
            young: BTreeMap::new(),
            known: BTreeMap::new(),
            in_memory: (Id::default(), 0),
            counters: BTreeMap::new(),
            missing: None,
            lost: 0,
            entries: 0,
            last: 0,
            inotify,
            read: None,
            scanned: Instant::now(),
            changed: false,
        };
        follow.adopt(from);
        follow.listen();
        Ok(follow)
    }

    /// Takes over the files that are open: those that grow or have more to read are followed, the others closed.
    fn adopt(&mut self, from: Option<&Marks>) {
        if let Some(from) = from {
            self.in_memory = from.in_memory;
            self.counters.clone_from(&from.counters);
        }
        let reader = &mut self.opened.reader;
        for file in std::mem::take(&mut reader.files) {
            self.seen.insert(file.path.clone());
            let Ok(chain) = file.all(&mut reader.cache) else { continue };
            // What an earlier process did not know was written since.
            let done = from.map_or(chain.len(), |from| from.files.get(&file.header.file_id).copied().unwrap_or(0).min(chain.len()));
            if from.is_none() {
                let counter = self.counters.entry(file.header.seqnum_id).or_default();
                counter.base = counter.base.max(file.header.tail_entry_seqnum);
                counter.highest = counter.base;
                let last = chain.len().checked_sub(1).and_then(|at| chain.get(&file, &mut reader.cache, at).ok()?);
                if let Some(head) = last.and_then(|at| file.head(&mut reader.cache, at).ok()).filter(|_| find::is_in_memory(&file.path)) {
                    self.in_memory = (head.boot_id, head.monotonic);
                }
            }
            self.known.insert(file.header.file_id, done);
            if is_growing(file.header.state) || done < chain.len() {
                self.progress.push(Progress { done, chain, next: None });
                reader.files.push(file);
            }
        }
    }

    /// How far everything has been read.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let mut files = self.known.clone();
        for (file, progress) in self.opened.reader.files.iter().zip(&self.progress) {
            files.insert(file.header.file_id, progress.done);
        }
        Marks { files, in_memory: self.in_memory, counters: self.counters.clone() }
    }

    /// How it goes: what was lost are entries that were gone before they could be read, as the gaps in their sequence
    /// numbers tell. `more`: the last read ended before everything was read.
    #[must_use]
    pub fn reading(&self, more: bool, now: u64) -> Reading {
        let behind_ms = if more { now.saturating_sub(self.last) / 1000 } else { 0 };
        Reading { entries: self.entries, damaged: self.opened.reader.damaged, lost: self.lost, behind_ms }
    }

    /// Becomes readable when something was written, or changed in the directories.
    ///
    /// # Errors
    /// Blind: the descriptor cannot be waited for.
    pub fn events(&self) -> Result<AsyncFd<OwnedFd>, Blind> {
        self.inotify.as_fd().try_clone_to_owned().and_then(waited_for).map_err(|error| Blind::new(format!("inotify: {error}")))
    }

    /// How long to wait after an event, so that what follows it at once is read with it.
    #[must_use]
    pub fn breath(&self) -> Duration {
        self.read.map_or(Duration::ZERO, |read| BREATH.saturating_sub(read.elapsed()))
    }

    /// Takes the events; true if one is of a directory rather than of lines.
    #[must_use]
    pub fn drain(&self) -> bool {
        let mut changed = false;
        while let Ok(events) = self.inotify.read_events() {
            if events.is_empty() {
                break;
            }
            changed |= events.iter().any(|event| event.mask != AddWatchFlags::IN_MODIFY);
        }
        changed
    }

    /// Whether the directories must be listed although no event told so.
    #[must_use]
    pub fn must_rescan(&self) -> bool {
        self.is_young() || self.scanned.elapsed() > RESCAN
    }

    /// Whether a file is there that journald has only begun.
    #[must_use]
    pub fn is_young(&self) -> bool {
        !self.young.is_empty()
    }

    /// Asks for events of the directories that journals lie in, and of those that these may appear in.
    fn listen(&self) {
        let appear = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        let change = appear | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        let written = change | AddWatchFlags::IN_MODIFY;
        let roots = find::ROOTS.into_iter().map(|root| (root, change)).chain([("/var/log", appear), ("/run/log", appear)]);
        let directories = self.opened.directories.iter().map(|directory| (directory.as_str(), written));
        for (path, flags) in roots.chain(directories) {
            // Through the descriptor, so that a symlink of the node leads where it leads on the node.
            if let Ok(fd) = self.host.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
                // Without the watch the slow rescan still finds what is new.
                let _ = self.inotify.add_watch(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(), flags);
            }
        }
    }

    /// Lists the directories, opens what is new, closes what is done. Lines that were written to a file before it was
    /// renamed come before those of its successor: read first.
    ///
    /// # Errors
    /// Blind: a directory cannot be listed.
    pub fn rescan(&mut self) -> Result<(), Blind> {
        self.scanned = Instant::now();
        let directories = (self.directories)(self.host)?;
        if directories != self.opened.directories {
            self.opened.directories = directories;
            self.changed = true;
        }
        let mut present = BTreeSet::new();
        for directory in self.opened.directories.clone() {
            for name in find::names(self.host, &directory)? {
                present.insert(format!("{directory}/{name}"));
            }
        }
        self.close_done();
        self.seen.retain(|path| present.contains(path));
        self.young.retain(|path, since| present.contains(path) && since.elapsed() < YOUNG);
        let refused = self.opened.unreadable.len();
        self.opened.unreadable.retain(|path, _| present.contains(path));
        // Archives first: their lines are older. The name of the file in use is given to another at every rotation.
        let (current, archives): (Vec<_>, Vec<_>) = present.into_iter().partition(|path| is_current(path));
        let new: Vec<_> = archives.into_iter().filter(|path| !self.seen.contains(path)).chain(current).collect();
        for path in &new {
            self.open(path);
        }
        self.changed |= refused != self.opened.unreadable.len();
        self.listen();
        Ok(())
    }

    fn open(&mut self, path: &str) {
        let mut young = false;
        let file = self.opened.open(self.host, path, &mut young);
        if young {
            self.young.entry(path.to_owned()).or_insert_with(Instant::now);
            return;
        }
        self.young.remove(path);
        self.seen.insert(path.to_owned());
        let Some(file) = file else { return };
        let reader = &mut self.opened.reader;
        if let Some(same) = reader.files.iter_mut().find(|other| other.header.file_id == file.header.file_id) {
            path.clone_into(&mut same.path);
        } else if !self.known.contains_key(&file.header.file_id)
            && let Ok(chain) = file.all(&mut reader.cache)
        {
            self.known.insert(file.header.file_id, 0);
            reader.files.push(file);
            self.progress.push(Progress { chain, done: 0, next: None });
            self.changed = true;
        }
    }

    /// Closes files that were read to their end and will not grow: archived, or deleted and replaced. journald goes on
    /// writing to a file that somebody else deleted, until it rotates.
    fn close_done(&mut self) {
        for index in (0..self.progress.len()).rev() {
            let (Some(file), Some(progress)) = (self.opened.reader.files.get_mut(index), self.progress.get(index)) else { continue };
            // Who cannot be read is told when it is read.
            let _ = file.refresh();
            let is_read = progress.done >= file.header.n_entries;
            let (growing, deleted, path) = (is_growing(file.header.state), file.is_deleted(), file.path.clone());
            let replaced = self.opened.reader.files.iter().skip(index + 1).any(|other| other.path == path);
            if is_read && (!growing || (deleted && replaced)) {
                self.close(index);
            }
        }
    }

    fn close(&mut self, index: usize) {
        let file = self.opened.reader.files.remove(index);
        let progress = self.progress.remove(index);
        if file.is_deleted() {
            self.known.remove(&file.header.file_id);
        } else {
            self.known.insert(file.header.file_id, progress.done);
        }
    }

    /// Hands over what was written since, at most `most` entries, in journalctl's order. True if there are more.
    ///
    /// # Errors
    /// Blind: a file that is there cannot be read any more.
    pub fn read(&mut self, most: usize, mut take: impl FnMut(&mut Reader, usize, &Entry)) -> Result<bool, Blind> {
        self.catch_up()?;
        self.read = Some(Instant::now());
        let mut entry = Entry::default();
        for _ in 0..most {
            let Some((index, head)) = self.nearest() else {
                self.miss();
                return Ok(false);
            };
            let reader = &mut self.opened.reader;
            let (Some(file), Some(progress)) = (reader.files.get(index), self.progress.get_mut(index)) else { return Ok(false) };
            progress.done += 1;
            progress.next = None;
            self.entries += 1;
            self.last = head.realtime;
            let counter = self.counters.entry(file.header.seqnum_id).or_insert(Counter { base: head.seqnum.saturating_sub(1), ..Counter::default() });
            counter.taken += 1;
            counter.highest = counter.highest.max(head.seqnum);
            if file.entry(&mut reader.cache, head.offset, &mut entry).is_err() {
                reader.damaged += 1;
                continue;
            }
            let now = (entry.head.boot_id, entry.head.monotonic);
            if find::is_in_memory(&file.path) {
                self.in_memory = now;
            } else if now.0 == self.in_memory.0 && now.1 <= self.in_memory.1 {
                continue;
            }
            take(reader, index, &entry);
        }
        Ok(true)
    }

    /// Counts what has been missing for a while.
    fn miss(&mut self) {
        let missing = self.counters.values().map(|counter| counter.highest.saturating_sub(counter.base).saturating_sub(counter.taken)).sum();
        match self.missing {
            _ if missing <= self.lost => self.missing = None,
            Some((before, since)) if since.elapsed() > CONFIRM => {
                self.lost = self.lost.max(before.min(missing));
                self.missing = None;
            }
            Some(_) => {}
            None => self.missing = Some((missing, Instant::now())),
        }
    }

    /// Whether a loss is still to be confirmed.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.missing.is_some()
    }

    /// Learns which entries the files have by now.
    fn catch_up(&mut self) -> Result<(), Blind> {
        let mut index = 0;
        while index < self.progress.len() {
            match self.extend(index) {
                Ok(()) => index += 1,
                // A vacuum deletes archives and frees their blocks at once, whoever has them open.
                Err(_) if self.opened.reader.files.get(index).is_none_or(JournalFile::is_deleted) => self.close(index),
                Err(fault) => {
                    let path = self.opened.reader.files.get(index).map_or("a journal file", |file| &file.path);
                    return Err(Blind::new(format!("{path}: {fault}")));
                }
            }
        }
        Ok(())
    }

    fn extend(&mut self, index: usize) -> Result<(), Fault> {
        let reader = &mut self.opened.reader;
        let (Some(file), Some(progress)) = (reader.files.get_mut(index), self.progress.get_mut(index)) else { return Ok(()) };
        if file.entries_now()? != progress.chain.len() {
            file.refresh()?;
            file.extend(&mut reader.cache, &mut progress.chain)?;
        }
        Ok(())
    }

    /// The file whose next entry comes first.
    fn nearest(&mut self) -> Option<(usize, EntryHead)> {
        let mut best: Option<(usize, EntryHead)> = None;
        for index in 0..self.progress.len() {
            let Some(head) = self.next_head(index) else { continue };
            if best.as_ref().is_none_or(|(other, best)| compare(&self.opened.reader, (index, &head), (*other, best)).is_lt()) {
                best = Some((index, head));
            }
        }
        best
    }

    fn next_head(&mut self, index: usize) -> Option<EntryHead> {
        let Reader { files, cache, damaged, .. } = &mut self.opened.reader;
        let (file, progress) = (files.get(index)?, self.progress.get_mut(index)?);
        while progress.next.is_none() && progress.done < progress.chain.len() {
            let offset = progress.chain.get(file, cache, progress.done);
            progress.next = offset.and_then(|offset| file.head(cache, offset.ok_or(Fault::Incomplete)?)).ok();
            if progress.next.is_none() {
                *damaged += 1;
                progress.done += 1;
                // It had a number, too.
                if let Some(counter) = self.counters.get_mut(&file.header.seqnum_id) {
                    counter.taken += 1;
                }
            }
        }
        progress.next
    }
}

/// A descriptor that the event loop waits for.
pub(super) fn waited_for(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd owns its descriptor for as long as it lives, which is what that asks for")]
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// Whether a file may still grow.
fn is_growing(state: State) -> bool {
    state != State::Archived
}

/// The name of a file that journald writes to, rather than that of an archive.
fn is_current(path: &str) -> bool {
    !path.contains('@') && path.ends_with(".journal")
}
