//! Which lines matter: those of the watched units' current runs, systemd's about them, and the kernel's of this boot.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use super::beside::Beside;
use super::compress::Decompressor;
use super::file::{Direction, Entry, JournalFile};
use super::find;
use super::format::Id;
use super::opened::Opened;
use super::past;
use super::reader::{Filter, Reader};
use super::tally::{Line, Origin, Sum, Tally};
use super::watch::Earlier;
use crate::config::Config;
use crate::facts::journal::{Past, Reading};
use crate::facts::{Blind, Journal, Timestamp};
use crate::finding::{LogSource, Signal};
use crate::observe::host::Host;
use crate::observe::signals::Signals;
use crate::observe::units::watched;

/// Lines read back of one unit, or of the kernel.
const BACK_LINES: usize = 50_000;
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
    let mut look = Look::new(config, signals);
    let mut has_kernel = None;
    let opened = find::directories(host).and_then(|directories| Opened::all(host, directories)).map(|mut opened| {
        let boot = boot(host, &mut opened.reader);
        has_kernel = Some(has_kernel_lines(&mut opened.reader, boot));
        look.past = past::observe(host, &mut opened.reader, boot, &Earlier::default());
        look.back(host, &mut opened.reader);
        opened
    });
    if opened.is_err() {
        past::look_for_crashes(host, &mut look.past);
    }
    let mut beside = Beside::start(host, &mut look, has_kernel);
    while beside.read(&mut look) {}
    // A disk's clock stands where its last line was written.
    let now = if host.is_live() { unix_micros() } else { look.tally.newest() };
    match opened {
        Ok(opened) => Ok(look.facts(&opened, now)),
        Err(blind) => beside.facts(&look, now, blind),
    }
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

/// The marks of one file: a line is judged by where its fields lie, without reading them.
#[derive(Debug)]
struct Marks {
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

/// What was read of the open journal.
#[derive(Debug)]
pub(super) struct Look {
    pub tally: Tally,
    /// By the id of the file.
    marks: HashMap<Id, Marks>,
    /// What earlier boots left.
    pub past: Past,
    units: Vec<String>,
    /// Whose log files are read; in the tally they come after the units.
    containers: Vec<&'static str>,
    wanted: HashMap<Vec<u8>, Mark>,
    buffer: Vec<u8>,
}

impl Look {
    pub fn new(config: &Config, signals: &[(&'static str, &'static Signal)]) -> Self {
        let units = watched(config);
        let mut containers: Vec<&'static str> = Vec::new();
        for (_, signal) in signals {
            if let LogSource::Container(name) = signal.from
                && !containers.contains(&name)
            {
                containers.push(name);
            }
        }
        let names: Vec<String> = units.iter().cloned().chain(containers.iter().map(|name| (*name).to_owned())).collect();
        let tally = Tally::new(&names, Signals::new(signals));
        Self { tally, marks: HashMap::new(), past: Past::default(), wanted: wanted(&units), units, containers, buffer: Vec::new() }
    }

    /// The containers whose log files are read, each with its place in the tally.
    pub fn containers(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.containers.iter().enumerate().map(|(at, name)| (self.units.len() + at, *name))
    }

    /// The place of a watched unit in the tally.
    pub fn unit(&self, name: &str) -> Option<usize> {
        self.units.iter().position(|unit| unit == name)
    }

    /// Goes on from what an earlier process counted.
    pub fn resume(&mut self, sum: Sum) {
        self.tally.resume(sum, self.units.len());
    }

    /// The marks of a file, which is looked up what it already has.
    fn marks<'a>(marks: &'a mut HashMap<Id, Marks>, wanted: &HashMap<Vec<u8>, Mark>, reader: &mut Reader, index: usize) -> Option<&'a mut Marks> {
        let Reader { cache, unpack, files, damaged, .. } = reader;
        let file = files.get(index)?;
        Some(marks.entry(file.header.file_id).or_insert_with(|| {
            let mut marks = Marks { known: HashMap::new(), seen_to: file.header.tail_object_offset };
            for (payload, mark) in wanted {
                match file.find_data(cache, unpack, payload) {
                    Ok(Some(offset)) => drop(marks.known.insert(offset, *mark)),
                    Ok(None) => {}
                    // One damaged chain hides one field, not the file.
                    Err(_) => *damaged += 1,
                }
            }
            marks
        }))
    }

    /// Forgets what is known of files that are not open any more.
    pub fn forget_closed(&mut self, reader: &Reader) {
        if self.marks.len() > reader.files.len() {
            self.marks.retain(|id, _| reader.files.iter().any(|file| file.header.file_id == *id));
        }
    }

    /// Reads back what the watched units and the kernel said in this boot, newest first within the limits.
    pub fn back(&mut self, host: &Host, reader: &mut Reader) {
        let Some(boot) = boot(host, reader) else { return };
        let boot = Filter::field("_BOOT_ID", &boot.to_string());
        let deadline = Instant::now() + BACK_TIME;
        let kernel = Filter::And(vec![boot.clone(), Filter::field("_TRANSPORT", "kernel")]);
        let mut found = self.collect(reader, &kernel, deadline, |_| true);
        self.feed(reader, &found);
        for unit in self.units.clone() {
            let about = Filter::And(vec![Filter::field("UNIT", &unit), Filter::field("_PID", "1")]);
            let filter = Filter::And(vec![boot.clone(), Filter::Or(vec![Filter::field("_SYSTEMD_UNIT", &unit), about])]);
            // The current run, and the one before it.
            let mut runs: Vec<Id> = Vec::new();
            found = self.collect(reader, &filter, deadline, |judged| {
                if let Some(invocation) = judged.invocation.filter(|invocation| !runs.contains(invocation)) {
                    runs.push(invocation);
                }
                runs.len() <= 2
            });
            self.feed(reader, &found);
        }
    }

    /// Where the matching entries lie, newest first, as long as `wanted` says.
    fn collect(&mut self, reader: &mut Reader, filter: &Filter, deadline: Instant, mut wanted: impl FnMut(&Judged) -> bool) -> Vec<(usize, u64)> {
        let mut found = Vec::new();
        let mut walk = reader.walk(filter, Direction::Backward);
        while let Some(index) = walk.next(reader) {
            let Some(judged) = self.judge(reader, index, &walk.entry) else { continue };
            if !wanted(&judged) || found.len() >= BACK_LINES || (found.len() % 64 == 63 && Instant::now() > deadline) {
                break;
            }
            found.push((index, walk.entry.head.offset));
        }
        found
    }

    /// Takes in what was collected, oldest first.
    fn feed(&mut self, reader: &mut Reader, found: &[(usize, u64)]) {
        let mut entry = Entry::default();
        for (index, offset) in found.iter().rev() {
            let Some(file) = reader.files.get(*index) else { continue };
            match file.entry(&mut reader.cache, *offset, &mut entry) {
                Ok(()) => drop(self.take(reader, *index, &entry)),
                Err(_) => reader.damaged += 1,
            }
        }
    }

    /// Takes an entry in, if it matters; false if it does not.
    pub fn take(&mut self, reader: &mut Reader, index: usize, entry: &Entry) -> bool {
        let Some(judged) = self.judge(reader, index, entry) else { return false };
        let mut message = std::mem::take(&mut self.buffer);
        if !reader.value(index, entry, b"MESSAGE=", MESSAGE_MAX, &mut message) {
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
        self.tally.take(&line, || reader.cursor(index, &entry.head).to_string());
        self.buffer = message;
        true
    }

    /// Judges an entry by its marks; `None` if it is nobody's we watch.
    fn judge(&mut self, reader: &mut Reader, index: usize, entry: &Entry) -> Option<Judged> {
        let marks = Self::marks(&mut self.marks, &self.wanted, reader, index)?;
        let Reader { cache, unpack, files, .. } = reader;
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
    pub fn facts(&self, opened: &Opened, now: u64) -> Journal {
        Journal {
            directories: opened.directories.clone(),
            files: opened.reader.files.len(),
            unreadable: opened.unreadable.values().cloned().collect(),
            until: Timestamp::from_unix_micros(self.tally.newest()),
            past: self.past.clone(),
            reading: Reading { damaged: opened.reader.damaged, ..Reading::default() },
            last_words: self.tally.last_words(now),
            signals: self.tally.signals(now),
            ..Journal::default()
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

/// Whether the journal has any of the kernel's lines of that boot.
pub(super) fn has_kernel_lines(reader: &mut Reader, boot: Option<Id>) -> bool {
    let Some(boot) = boot else { return false };
    let filter = Filter::And(vec![Filter::field("_BOOT_ID", &boot.to_string()), Filter::field("_TRANSPORT", "kernel")]);
    reader.walk(&filter, Direction::Backward).next(reader).is_some()
}

/// This boot, if the journal knows it; else the one of its newest entry.
pub(super) fn boot(host: &Host, reader: &mut Reader) -> Option<Id> {
    let running = host.read_text("/proc/sys/kernel/random/boot_id", 4096).ok().and_then(|text| Id::parse(text.trim()));
    let logged = running.filter(|boot| {
        let payload = format!("_BOOT_ID={boot}");
        let Reader { cache, unpack, files, .. } = &mut *reader;
        files.iter().any(|file| matches!(file.find_data(cache, unpack, payload.as_bytes()), Ok(Some(_))))
    });
    logged.or_else(|| reader.newest_boot())
}
