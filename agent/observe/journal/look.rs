//! Which lines matter: those of the watched units' current runs, systemd's about them, and the kernel's of this boot.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use super::compress::Decompressor;
use super::file::{Direction, Entry, JournalFile};
use super::find;
use super::format::{Fault, Id, State};
use super::reader::{Filter, Reader};
use super::tally::{Line, Origin, Tally};
use crate::config::Config;
use crate::facts::{Blind, Journal, Timestamp};
use crate::finding::Signal;
use crate::observe::host::Host;
use crate::observe::signals::Signals;
use crate::observe::units::watched;

/// Lines read back of one unit, or of the kernel.
const BACK_LINES: usize = 10_000;
/// How long the search for them may take in all.
const BACK_TIME: Duration = Duration::from_millis(800);
/// Bytes of a message that are looked at; journald cuts lines at 48 KiB (`LineMax=`).
const MESSAGE_MAX: usize = 48 << 10;
/// Runs of units remembered per file.
const RUNS: usize = 4096;
/// `SD_MESSAGE_UNIT_RESTART_SCHEDULED`: "Scheduled restart job, restart counter is at N".
const RESTART_SCHEDULED: &str = "MESSAGE_ID=5eb03494b6584870a536b337290809b3";

/// Looks once: what the node's journal tells now. `signals` are the lines that checks count, each with the check's code.
///
/// # Errors
/// Blind, if there is no journal that can be read.
pub fn observe(host: &Host, config: &Config, signals: &[(&'static str, &'static Signal)]) -> Result<Journal, Blind> {
    let look = Look::back(host, config, signals)?;
    // A disk's clock stands where its last line was written.
    let now = if host.is_live() { unix_micros() } else { look.tally.newest() };
    Ok(look.facts(now))
}

pub(super) fn unix_micros() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_micros()).ok()).unwrap_or(0)
}

/// What a DATA object says about the entries that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// `_SYSTEMD_UNIT=` of a watched unit.
    Unit(usize),
    /// `UNIT=` of a watched unit.
    About(usize),
    /// `_PID=1`: only systemd itself is believed about units.
    Init,
    Kernel,
    Severe,
    Restarts,
    /// `_SYSTEMD_INVOCATION_ID=`.
    Run(Id),
    /// `INVOCATION_ID=`, in systemd's lines.
    RunOf(Id),
}

/// The marks of one file: a line is judged by where its fields lie, without reading them. Empty, for a file that is read
/// from its first entry.
#[derive(Debug, Default)]
pub(super) struct Marks {
    known: HashMap<u64, Mark>,
    /// DATA objects up to here have been looked up; later ones are looked at as they appear.
    seen_to: u64,
}

/// What the marks say of an entry.
#[derive(Clone, Copy, Debug)]
struct Judged {
    origin: Origin,
    invocation: Option<Id>,
    severe: bool,
    restarts: bool,
}

/// The open journal and what was read of it.
#[derive(Debug)]
pub(super) struct Look {
    pub reader: Reader,
    /// By the reader's file index.
    pub marks: Vec<Marks>,
    pub tally: Tally,
    pub directories: Vec<String>,
    pub unreadable: BTreeMap<String, Blind>,
    units: Vec<String>,
    wanted: HashMap<Vec<u8>, Mark>,
    buffer: Vec<u8>,
}

impl Look {
    /// Opens every file, and reads back what the watched units and the kernel said, newest first within the limits.
    pub fn back(host: &Host, config: &Config, signals: &[(&'static str, &'static Signal)]) -> Result<Self, Blind> {
        let units = watched(config);
        let mut look = Self {
            reader: Reader::default(),
            marks: Vec::new(),
            tally: Tally::new(&units, Signals::new(signals)),
            directories: find::directories(host)?,
            unreadable: BTreeMap::new(),
            wanted: wanted(&units),
            units,
            buffer: Vec::new(),
        };
        for directory in look.directories.clone() {
            for name in find::names(host, &directory)? {
                // A file that journald has only begun is found again by who follows.
                if let Some(file) = look.open(host, &format!("{directory}/{name}"), &mut false) {
                    let marks = look.resolve(&file);
                    look.add(file, marks);
                }
            }
        }
        look.require_one()?;
        look.read_back(host);
        Ok(look)
    }

    /// Opens a file; `None` if it is gone, or refused, or not completely written yet: then it is `young`.
    pub fn open(&mut self, host: &Host, path: &str, young: &mut bool) -> Option<JournalFile> {
        let opened = find::open(host, path).and_then(|file| match file.map(|file| self.reader.open(file, path.to_owned())) {
            None => Ok(None),
            Some(Ok(file)) => Ok(Some(file)),
            Some(Err(Fault::Incomplete)) => {
                *young = true;
                Ok(None)
            }
            Some(Err(fault)) => Err(refusal(path, &fault)),
        });
        match opened {
            Ok(file) => {
                self.unreadable.remove(path);
                file
            }
            Err(blind) => {
                self.unreadable.insert(path.to_owned(), blind);
                None
            }
        }
    }

    /// Reads this file, too, from `marks` on.
    pub fn add(&mut self, file: JournalFile, marks: Marks) {
        self.reader.files.push(file);
        self.marks.push(marks);
    }

    /// # Errors
    /// Blind, if no file is open: there is no journal, or none that can be read.
    fn require_one(&self) -> Result<(), Blind> {
        if !self.reader.files.is_empty() {
            return Ok(());
        }
        Err(self.unreadable.values().next().cloned().unwrap_or_else(|| {
            let [disk, memory] = find::ROOTS;
            Blind::new(format!("no journal in {disk} or {memory}")).grant(format!("mount {disk} and {memory} below the root, or start systemd-journald"))
        }))
    }

    /// Looks up what the file already has.
    fn resolve(&mut self, file: &JournalFile) -> Marks {
        let Reader { cache, unpack, damaged, .. } = &mut self.reader;
        let mut marks = Marks { known: HashMap::new(), seen_to: file.header.tail_object_offset };
        for (payload, mark) in &self.wanted {
            match file.find_data(cache, unpack, payload) {
                Ok(Some(offset)) => drop(marks.known.insert(offset, *mark)),
                Ok(None) => {}
                // One damaged chain hides one field, not the file.
                Err(_) => *damaged += 1,
            }
        }
        marks
    }

    fn read_back(&mut self, host: &Host) {
        let Some(boot) = self.boot(host) else { return };
        let boot = Filter::field("_BOOT_ID", &boot.to_string());
        let deadline = Instant::now() + BACK_TIME;
        let kernel = Filter::And(vec![boot.clone(), Filter::field("_TRANSPORT", "kernel")]);
        let mut found = self.collect(&kernel, deadline, |_| true);
        self.feed(&found);
        for unit in self.units.clone() {
            let about = Filter::And(vec![Filter::field("UNIT", &unit), Filter::field("_PID", "1")]);
            let filter = Filter::And(vec![boot.clone(), Filter::Or(vec![Filter::field("_SYSTEMD_UNIT", &unit), about])]);
            // The current run, and the one before it.
            let mut runs: Vec<Id> = Vec::new();
            found = self.collect(&filter, deadline, |judged| {
                if let Some(invocation) = judged.invocation.filter(|invocation| !runs.contains(invocation)) {
                    runs.push(invocation);
                }
                runs.len() <= 2
            });
            self.feed(&found);
        }
    }

    /// This boot, if the journal knows it; else the one of its newest entry.
    fn boot(&mut self, host: &Host) -> Option<Id> {
        let running = host.read_text("/proc/sys/kernel/random/boot_id", 4096).ok().and_then(|text| Id::parse(text.trim()));
        let logged = running.filter(|boot| {
            let payload = format!("_BOOT_ID={boot}");
            let Reader { cache, unpack, files, .. } = &mut self.reader;
            files.iter().any(|file| matches!(file.find_data(cache, unpack, payload.as_bytes()), Ok(Some(_))))
        });
        logged.or_else(|| self.reader.newest_boot())
    }

    /// Where the matching entries lie, newest first, as long as `wanted` says.
    fn collect(&mut self, filter: &Filter, deadline: Instant, mut wanted: impl FnMut(&Judged) -> bool) -> Vec<(usize, u64)> {
        let mut found = Vec::new();
        let mut walk = self.reader.walk(filter, Direction::Backward);
        while let Some(index) = walk.next(&mut self.reader) {
            let Some(judged) = self.judge(index, &walk.entry) else { continue };
            if !wanted(&judged) || found.len() >= BACK_LINES || (found.len() % 64 == 63 && Instant::now() > deadline) {
                break;
            }
            found.push((index, walk.entry.head.offset));
        }
        found
    }

    /// Takes in what was collected, oldest first.
    fn feed(&mut self, found: &[(usize, u64)]) {
        let mut entry = Entry::default();
        for (index, offset) in found.iter().rev() {
            let Some(file) = self.reader.files.get(*index) else { continue };
            match file.entry(&mut self.reader.cache, *offset, &mut entry) {
                Ok(()) => drop(self.take(*index, &entry)),
                Err(_) => self.reader.damaged += 1,
            }
        }
    }

    /// Takes an entry in, if it matters; false if it does not.
    pub fn take(&mut self, index: usize, entry: &Entry) -> bool {
        let Some(judged) = self.judge(index, entry) else { return false };
        let mut message = std::mem::take(&mut self.buffer);
        if !self.reader.value(index, entry, b"MESSAGE=", MESSAGE_MAX, &mut message) {
            message.clear();
        }
        let line = Line {
            origin: judged.origin,
            realtime: entry.head.realtime,
            boot_id: entry.head.boot_id,
            invocation: judged.invocation,
            severe: judged.severe,
            restarts: judged.restarts,
            message: &message,
        };
        let Self { tally, reader, .. } = self;
        tally.take(&line, || reader.cursor(index, &entry.head).to_string());
        self.buffer = message;
        true
    }

    /// Judges an entry by its marks; `None` if it is nobody's we watch.
    fn judge(&mut self, index: usize, entry: &Entry) -> Option<Judged> {
        let marks = self.marks.get_mut(index)?;
        let Reader { cache, unpack, files, .. } = &mut self.reader;
        let file = files.get(index)?;
        let (mut unit, mut about, mut run, mut run_of) = (None, None, None, None);
        let (mut kernel, mut init, mut severe, mut restarts) = (false, false, false, false);
        for offset in &entry.items {
            if *offset > marks.seen_to && !marks.known.contains_key(offset) {
                // The longest that is looked for is a unit's name.
                let read = file.data(cache, unpack, *offset, 300, &mut self.buffer);
                if let Some(mark) = read.ok().and_then(|()| self.wanted.get(&self.buffer).copied().or_else(|| run_mark(&self.buffer))) {
                    marks.known.insert(*offset, mark);
                }
            }
            match marks.known.get(offset) {
                Some(Mark::Unit(at)) => unit = Some(*at),
                Some(Mark::About(at)) => about = Some(*at),
                Some(Mark::Init) => init = true,
                Some(Mark::Kernel) => kernel = true,
                Some(Mark::Severe) => severe = true,
                Some(Mark::Restarts) => restarts = true,
                Some(Mark::Run(id)) => run = Some(*id),
                Some(Mark::RunOf(id)) => run_of = Some(*id),
                None => {}
            }
        }
        // Each DATA object appears first in the entry that it was written for.
        marks.seen_to = marks.seen_to.max(entry.items.last().copied().unwrap_or(0));
        let origin = match (unit, about) {
            _ if kernel => Origin::Kernel,
            (_, Some(at)) if init => Origin::About(at),
            (Some(at), _) => Origin::Unit(at),
            _ => return None,
        };
        let mut invocation = if matches!(origin, Origin::About(_)) { run_of } else { run };
        if invocation.is_none() && origin != Origin::Kernel {
            invocation = find_run(file, cache, unpack, marks, entry, matches!(origin, Origin::About(_)), &mut self.buffer);
        }
        Some(Judged { origin, invocation, severe, restarts })
    }

    /// The facts, as of `now` (microseconds since 1970).
    pub fn facts(&self, now: u64) -> Journal {
        Journal {
            directories: self.directories.clone(),
            files: self.reader.files.len(),
            unreadable: self.unreadable.values().cloned().collect(),
            until: Timestamp::from_unix_micros(self.tally.newest()),
            last_words: self.tally.last_words(now),
            signals: self.tally.signals(now),
        }
    }
}

/// The fields that are looked up, and what each means.
fn wanted(units: &[String]) -> HashMap<Vec<u8>, Mark> {
    let mut wanted = HashMap::new();
    for (at, unit) in units.iter().enumerate() {
        wanted.insert(format!("_SYSTEMD_UNIT={unit}").into_bytes(), Mark::Unit(at));
        wanted.insert(format!("UNIT={unit}").into_bytes(), Mark::About(at));
    }
    wanted.insert(b"_PID=1".to_vec(), Mark::Init);
    wanted.insert(b"_TRANSPORT=kernel".to_vec(), Mark::Kernel);
    wanted.insert(RESTART_SCHEDULED.as_bytes().to_vec(), Mark::Restarts);
    for priority in 0..=3 {
        wanted.insert(format!("PRIORITY={priority}").into_bytes(), Mark::Severe);
    }
    wanted
}

fn run_mark(payload: &[u8]) -> Option<Mark> {
    let text = std::str::from_utf8(payload).ok()?;
    match text.split_once('=')? {
        ("_SYSTEMD_INVOCATION_ID", id) => Id::parse(id).map(Mark::Run),
        ("INVOCATION_ID", id) => Id::parse(id).map(Mark::RunOf),
        _ => None,
    }
}

/// Reads the entry's fields for its run, and remembers where it lies.
fn find_run(
    file: &JournalFile,
    cache: &mut super::cache::Cache,
    unpack: &mut Decompressor,
    marks: &mut Marks,
    entry: &Entry,
    about: bool,
    buffer: &mut Vec<u8>,
) -> Option<Id> {
    let name: &[u8] = if about { b"INVOCATION_ID=" } else { b"_SYSTEMD_INVOCATION_ID=" };
    for offset in &entry.items {
        if file.data_if(cache, unpack, *offset, name, 80, buffer).unwrap_or(false)
            && let Some(mark) = run_mark(buffer)
        {
            if marks.known.len() > RUNS {
                marks.known.retain(|_, mark| !matches!(mark, Mark::Run(_) | Mark::RunOf(_)));
            }
            marks.known.insert(*offset, mark);
            return match mark {
                Mark::Run(id) | Mark::RunOf(id) => Some(id),
                _ => None,
            };
        }
    }
    None
}

fn refusal(path: &str, fault: &Fault) -> Blind {
    let blind = Blind::new(format!("{path}: {fault}"));
    match fault {
        Fault::Unsupported(_) => blind.grant("a newer nodetriage; until then journalctl on the node reads it"),
        Fault::Damaged(_) => blind.grant(format!("journalctl --verify --file {path}")),
        Fault::Io(_) | Fault::Incomplete => blind,
    }
}

/// Whether a file may still grow.
pub(super) fn is_growing(state: State) -> bool {
    state != State::Archived
}
