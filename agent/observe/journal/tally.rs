//! What is kept of the lines that were read: each unit's last words, and counted signals.

use std::collections::{BTreeMap, VecDeque};

use super::format::Id;
use super::klog::{self, Tone};
use crate::facts::Timestamp;
use crate::facts::journal::{LastWords, LogLine, SignalSeen};
use crate::observe::signals::Signals;

/// Error lines kept of an invocation.
const WORDS: usize = 8;
/// Matching lines kept of a signal.
const SAMPLES: usize = 16;
/// Lines of one record that are joined.
const JOINED: usize = 32;
/// After an automatic restart the run before speaks on until the new one has lasted this long: a crash loop does not
/// flicker, and a restart that works clears what was said.
pub const HOLD_MICROS: u64 = 10_000_000;

/// Who wrote a line, and in which run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Kernel,
    /// The unit's own line.
    Unit(usize),
    /// A line of systemd about the unit.
    About(usize),
}

/// A line, as the tally needs it.
#[derive(Debug)]
pub struct Line<'a> {
    pub origin: Origin,
    /// Microseconds since 1970.
    pub realtime: u64,
    pub boot_id: Id,
    pub invocation: Option<Id>,
    /// PRIORITY is 3 (error) or less.
    pub severe: bool,
    /// systemd says that it restarts the unit by itself.
    pub restarts: bool,
    pub message: &'a [u8],
}

/// What one run of a unit, or the kernel since boot, said.
#[derive(Debug, Default)]
struct Said {
    invocation: Option<Id>,
    since: u64,
    errors: VecDeque<LogLine>,
    /// Lines without any header: a program that could not start says why in these.
    plain: VecDeque<LogLine>,
    /// Lines still to be joined to the last of `errors`.
    open: usize,
    signals: BTreeMap<&'static str, SignalSeen>,
}

#[derive(Debug)]
struct Unit {
    name: String,
    now: Said,
    /// The run before, after an automatic restart.
    before: Option<Said>,
    restarting: bool,
}

/// The sum of what was read. Bounded: it does not grow with the number of lines.
#[derive(Debug)]
pub struct Tally {
    signals: Signals,
    units: Vec<Unit>,
    kernel: Said,
    boot: Option<Id>,
    /// The newest line's time.
    newest: u64,
    changed: bool,
}

impl Tally {
    #[must_use]
    pub fn new(units: &[String], signals: Signals) -> Self {
        let unit = |name: &String| Unit { name: name.clone(), now: Said::default(), before: None, restarting: false };
        Self { signals, units: units.iter().map(unit).collect(), kernel: Said::default(), boot: None, newest: 0, changed: true }
    }

    /// Takes a line in, in the order they were written. `cursor` is asked for only if the line is kept.
    pub fn take(&mut self, line: &Line<'_>, cursor: impl Fn() -> String) {
        if self.boot != Some(line.boot_id) {
            self.forget();
            self.boot = Some(line.boot_id);
        }
        self.newest = self.newest.max(line.realtime);
        let kept = |source: &str, message: &str| log_line(line.realtime, source, message, cursor());
        match line.origin {
            Origin::Kernel => {
                let codes = self.signals.kernel().map_or(Vec::new(), |set| set.matching(line.message));
                self.changed |= count(&mut self.kernel, &codes, || kept("kernel", &String::from_utf8_lossy(line.message)));
            }
            Origin::About(index) => {
                let Some(unit) = self.units.get_mut(index) else { return };
                self.changed |= unit.enter(line);
                unit.restarting |= line.restarts;
            }
            Origin::Unit(index) => {
                let Some(unit) = self.units.get_mut(index) else { return };
                self.changed |= unit.enter(line);
                let message = String::from_utf8_lossy(line.message);
                let name = unit.name.clone();
                let codes = self.signals.unit(&name).map_or(Vec::new(), |set| set.matching(line.message));
                let said = unit.run(line.invocation);
                self.changed |= count(said, &codes, || kept(&name, &message));
                self.changed |= said.hear(&message, line.severe, || kept(&name, &message));
            }
        }
    }

    /// Forgets everything: another boot has begun.
    fn forget(&mut self) {
        self.kernel = Said::default();
        for unit in &mut self.units {
            (unit.now, unit.before, unit.restarting) = (Said::default(), None, false);
        }
        self.changed = true;
    }

    /// The time of the newest line, microseconds since 1970.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether anything that is reported has changed since this was asked last.
    pub fn take_changed(&mut self, now: u64) -> bool {
        for unit in &mut self.units {
            if unit.before.is_some() && !unit.holds(now) {
                unit.before = None;
                self.changed = true;
            }
        }
        std::mem::take(&mut self.changed)
    }

    /// What the units said last, by name.
    #[must_use]
    pub fn last_words(&self, now: u64) -> BTreeMap<String, LastWords> {
        self.units.iter().filter_map(|unit| Some((unit.name.clone(), unit.last_words(now)?))).collect()
    }

    /// What was counted, by the code of the check.
    #[must_use]
    pub fn signals(&self, now: u64) -> BTreeMap<String, SignalSeen> {
        let mut all: BTreeMap<String, SignalSeen> = BTreeMap::new();
        let mut add = |code: &str, seen: &SignalSeen| match all.get_mut(code) {
            Some(sum) => merge(sum, seen),
            None => drop(all.insert(code.to_owned(), seen.clone())),
        };
        self.kernel.signals.iter().for_each(|(code, seen)| add(code, seen));
        for unit in &self.units {
            unit.now.signals.iter().for_each(|(code, seen)| add(code, seen));
            let before = unit.before.iter().filter(|_| unit.holds(now)).flat_map(|before| &before.signals);
            before.filter(|(code, _)| !unit.now.signals.contains_key(*code)).for_each(|(code, seen)| add(code, seen));
        }
        all
    }
}

impl Unit {
    /// Begins a new run if the line is of one. True if that changed what is reported.
    fn enter(&mut self, line: &Line<'_>) -> bool {
        let Some(invocation) = line.invocation else { return false };
        if self.now.invocation == Some(invocation) || self.before.as_ref().is_some_and(|before| before.invocation == Some(invocation)) {
            return false;
        }
        let now = Said { invocation: Some(invocation), since: line.realtime, ..Said::default() };
        let before = std::mem::replace(&mut self.now, now);
        let had = !before.is_empty() || self.before.is_some();
        // A run that said nothing in a crash loop must not hide the one that did.
        let before = if before.is_empty() { self.before.take() } else { Some(before) };
        self.before = before.filter(|_| self.restarting);
        self.restarting = false;
        had
    }

    /// The run that a line belongs to: stragglers of the run before are its own.
    fn run(&mut self, invocation: Option<Id>) -> &mut Said {
        match &mut self.before {
            Some(before) if invocation.is_some() && before.invocation == invocation => before,
            _ => &mut self.now,
        }
    }

    fn holds(&self, now: u64) -> bool {
        now.abs_diff(self.now.since) < HOLD_MICROS
    }

    fn last_words(&self, now: u64) -> Option<LastWords> {
        let before = self.before.as_ref().filter(|_| self.holds(now));
        std::iter::once(&self.now).chain(before).find_map(Said::words)
    }
}

impl Said {
    fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.plain.is_empty() && self.signals.is_empty()
    }

    /// Keeps the line if it may say why the process ended. True if that changed what is reported.
    fn hear(&mut self, message: &str, severe: bool, kept: impl FnOnce() -> LogLine) -> bool {
        let tone = klog::tone(message, severe);
        if self.open > 0 {
            if tone == Tone::Plain {
                self.open = if klog::closes(message) { 0 } else { self.open - 1 };
                return self.errors.back_mut().is_some_and(|last| join(&mut last.message, message));
            }
            self.open = 0;
        }
        match tone {
            Tone::Error if klog::is_normal(message) => false,
            Tone::Error => {
                self.open = if klog::is_open(message) { JOINED } else { 0 };
                push(&mut self.errors, kept(), WORDS);
                true
            }
            Tone::Plain if self.errors.is_empty() && !message.trim().is_empty() => {
                push(&mut self.plain, kept(), WORDS);
                true
            }
            Tone::Plain | Tone::Calm => false,
        }
    }

    fn words(&self) -> Option<LastWords> {
        let lines = if self.errors.is_empty() { &self.plain } else { &self.errors };
        let invocation_id = self.invocation.map(|id| id.to_string());
        (!lines.is_empty()).then(|| LastWords { invocation_id, lines: lines.iter().cloned().collect() })
    }
}

fn push(lines: &mut VecDeque<LogLine>, line: LogLine, most: usize) {
    if lines.len() >= most {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// Adds a continuation line; false if there is no room for it.
fn join(message: &mut String, line: &str) -> bool {
    let line = clean(line.trim());
    let fits = message.len() + line.len() < LogLine::MAX;
    if fits {
        message.push(' ');
        message.push_str(&line);
    }
    fits
}

fn count(said: &mut Said, codes: &[&'static str], kept: impl Fn() -> LogLine) -> bool {
    for code in codes {
        let line = kept();
        let seen = said.signals.entry(code).or_insert_with(|| SignalSeen { count: 0, first: line.time, last: line.time, samples: Vec::new() });
        seen.count += 1;
        seen.last = line.time;
        if seen.samples.len() >= SAMPLES {
            seen.samples.remove(0);
        }
        seen.samples.push(line);
    }
    !codes.is_empty()
}

fn merge(sum: &mut SignalSeen, seen: &SignalSeen) {
    sum.count += seen.count;
    sum.first = sum.first.min(seen.first);
    sum.last = sum.last.max(seen.last);
    sum.samples.extend(seen.samples.iter().cloned());
    sum.samples.sort_by_key(|line| line.time);
    let surplus = sum.samples.len().saturating_sub(SAMPLES);
    sum.samples.drain(..surplus);
}

fn log_line(realtime: u64, source: &str, message: &str, cursor: String) -> LogLine {
    let time = Timestamp::from_unix_micros(realtime).unwrap_or_else(|| Timestamp::from(std::time::UNIX_EPOCH));
    LogLine { time, source: source.to_owned(), message: clean(message), cursor: Some(cursor) }
}

/// At most [`LogLine::MAX`] bytes, control characters replaced, and nothing that would let a reader log in.
fn clean(message: &str) -> String {
    let end = message.floor_char_boundary(LogLine::MAX);
    let text: String = message.get(..end).unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    redact(&text)
}

/// Blanks bearer tokens (`eyJ…`, three parts) and bootstrap tokens (six characters, a dot, sixteen).
fn redact(text: &str) -> String {
    let is_token = |word: &str| {
        let parts: Vec<&str> = word.split('.').collect();
        match parts.as_slice() {
            [header, _, _] => header.starts_with("eyJ"),
            [id, secret] => {
                let plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)
            }
            _ => false,
        }
    };
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
            word.push(c);
            continue;
        }
        out.push_str(if is_token(&word) { "(token)" } else { &word });
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}
