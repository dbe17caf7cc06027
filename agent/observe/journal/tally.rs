//! What is kept of the lines that were read: each unit's last words, and counted signals.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

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

/// A record whose further lines are still to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Open {
    #[default]
    No,
    /// So many more lines at most, which belong to the last of `errors`.
    Kept(usize),
    /// Lines of a record that is not kept.
    Dropped(usize),
}

/// What one run of a unit, or the kernel since boot, said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    invocation: Option<Id>,
    since: u64,
    errors: VecDeque<LogLine>,
    /// Lines without any header: a program that could not start says why in these.
    plain: VecDeque<LogLine>,
    open: Open,
    signals: BTreeMap<String, SignalSeen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unit {
    name: String,
    now: Said,
    /// The run before, after an automatic restart.
    before: Option<Said>,
    restarting: bool,
}

/// The sum of what was read. Bounded: it does not grow with the number of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// In the order of what is watched.
    units: Vec<Unit>,
    kernel: Said,
    boot: Option<Id>,
    /// The newest line's time.
    newest: u64,
}

impl Sum {
    /// The boot whose lines were counted.
    #[must_use]
    pub fn boot(&self) -> Option<Id> {
        self.boot
    }
}

/// Counts lines as they come.
#[derive(Debug)]
pub struct Tally {
    signals: Signals,
    sum: Sum,
    changed: bool,
}

impl Tally {
    #[must_use]
    pub fn new(units: &[String], signals: Signals) -> Self {
        let unit = |name: &String| Unit { name: name.clone(), now: Said::default(), before: None, restarting: false };
        Self { signals, sum: Sum { units: units.iter().map(unit).collect(), ..Sum::default() }, changed: true }
    }

    /// See [`Signals::rest`].
    pub fn rest(&mut self) {
        self.signals.rest();
    }

    /// What was counted so far, for [`Self::resume`] in another process.
    #[must_use]
    pub fn sum(&self) -> &Sum {
        &self.sum
    }

    /// Goes on from what a process counted that watched the same. Only the journal knows its place again: what log files
    /// said, whose writers come after the `units`, is read anew.
    pub fn resume(&mut self, sum: Sum, units: usize) {
        (self.sum, self.changed) = (sum, true);
        for log in self.sum.units.iter_mut().skip(units) {
            (log.now, log.before, log.restarting) = (Said::default(), None, false);
        }
    }

    /// Forgets what the kernel said: its log is read from the beginning.
    pub fn forget_kernel(&mut self) {
        self.sum.kernel = Said::default();
    }

    /// Takes a line in, in the order they were written. `cursor` is asked for only if the line is kept.
    pub fn take(&mut self, line: &Line<'_>, cursor: impl Fn() -> String) {
        if self.sum.boot != Some(line.boot_id) {
            self.forget();
            self.sum.boot = Some(line.boot_id);
        }
        self.sum.newest = self.sum.newest.max(line.realtime);
        let kept = |source: &str, message: &str| log_line(line.realtime, source, message, cursor());
        match line.origin {
            Origin::Kernel => {
                let codes = self.signals.kernel().map_or(Vec::new(), |set| set.matching(line.message));
                self.changed |= count(&mut self.sum.kernel, &codes, || kept("kernel", &String::from_utf8_lossy(line.message)));
            }
            Origin::About(index) => {
                let Some(unit) = self.sum.units.get_mut(index) else { return };
                self.changed |= unit.enter(line);
                unit.restarting |= line.restarts;
            }
            Origin::Unit(index) => {
                let Some(unit) = self.sum.units.get_mut(index) else { return };
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
        self.sum.kernel = Said::default();
        for unit in &mut self.sum.units {
            (unit.now, unit.before, unit.restarting) = (Said::default(), None, false);
        }
        self.changed = true;
    }

    /// The time of the newest line, microseconds since 1970.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.sum.newest
    }

    /// Whether anything that is reported has changed since this was asked last.
    pub fn take_changed(&mut self, now: u64) -> bool {
        for unit in &mut self.sum.units {
            if unit.before.is_some() && !unit.holds(now) {
                unit.before = None;
                self.changed = true;
            }
        }
        std::mem::take(&mut self.changed)
    }

    /// Whether a run that has ended is still told of, which will end by itself.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.sum.units.iter().any(|unit| unit.before.is_some())
    }

    /// What the units said last, by name.
    #[must_use]
    pub fn last_words(&self, now: u64) -> BTreeMap<String, LastWords> {
        self.sum.units.iter().filter_map(|unit| Some((unit.name.clone(), unit.last_words(now)?))).collect()
    }

    /// What was counted, by the code of the check.
    #[must_use]
    pub fn signals(&self, now: u64) -> BTreeMap<String, SignalSeen> {
        let mut all: BTreeMap<String, SignalSeen> = BTreeMap::new();
        let mut add = |code: &str, seen: &SignalSeen| match all.get_mut(code) {
            Some(sum) => merge(sum, seen),
            None => drop(all.insert(code.to_owned(), seen.clone())),
        };
        self.sum.kernel.signals.iter().for_each(|(code, seen)| add(code, seen));
        for unit in &self.sum.units {
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
        if tone == Tone::Plain {
            match self.open {
                Open::Kept(left) => {
                    self.open = if left <= 1 || klog::closes(message) { Open::No } else { Open::Kept(left - 1) };
                    return self.errors.back_mut().is_some_and(|last| join(&mut last.message, message));
                }
                Open::Dropped(left) => {
                    self.open = if left <= 1 || klog::closes(message) { Open::No } else { Open::Dropped(left - 1) };
                    return false;
                }
                Open::No if self.errors.is_empty() && !message.trim().is_empty() => {
                    push(&mut self.plain, kept(), WORDS);
                    return true;
                }
                Open::No => return false,
            }
        }
        let keep = tone == Tone::Error && !klog::is_normal(message);
        self.open = match klog::is_open(message) {
            false => Open::No,
            true if keep => Open::Kept(JOINED),
            true => Open::Dropped(JOINED),
        };
        if keep {
            push(&mut self.errors, kept(), WORDS);
        }
        keep
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
        if !said.signals.contains_key(*code) {
            said.signals.insert((*code).to_owned(), SignalSeen { count: 0, first: line.time, last: line.time, samples: Vec::new() });
        }
        let Some(seen) = said.signals.get_mut(*code) else { continue };
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

pub(super) fn log_line(realtime: u64, source: &str, message: &str, cursor: String) -> LogLine {
    let time = Timestamp::from_unix_micros(realtime).unwrap_or_else(|| Timestamp::from(std::time::UNIX_EPOCH));
    LogLine { time, source: source.to_owned(), message: clean(message), cursor: Some(cursor) }
}

/// At most [`LogLine::MAX`] bytes, control characters replaced, and nothing that would let a reader log in.
fn clean(message: &str) -> String {
    let end = message.floor_char_boundary(LogLine::MAX);
    let text = message.get(..end).unwrap_or_default();
    if text.bytes().all(|b| (b' '..0x7f).contains(&b)) {
        return redact(text);
    }
    redact(&text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>())
}

/// Blanks bearer tokens (`eyJ…`, three parts) and bootstrap tokens (six characters, a dot, sixteen).
fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let word = rest.bytes().position(|b| !is_word(&b)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word);
        out.push_str(if is_token(word) { "(token)" } else { word });
        let between = after.bytes().position(|b| is_word(&b)).unwrap_or(after.len());
        let (between, after) = after.split_at(between);
        out.push_str(between);
        rest = after;
    }
    out
}

fn is_token(word: &str) -> bool {
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    match word.split_once('.') {
        Some((id, secret)) if id.len() == 6 && secret.len() == 16 => plain(id) && plain(secret),
        Some((header, rest)) => header.starts_with("eyJ") && rest.bytes().filter(|b| *b == b'.').count() == 1,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Id = Id([1; 16]);
    const SECOND: Id = Id([2; 16]);
    const START: u64 = 1_790_000_000_000_000;

    fn line(origin: Origin, second: u64, invocation: Id, message: &str) -> Line<'_> {
        let realtime = START + second * 1_000_000;
        let message = message.as_bytes();
        Line { origin, realtime, boot_id: Id([9; 16]), invocation: Some(invocation), severe: false, restarts: false, message }
    }

    fn tally(lines: &[Line<'_>]) -> Tally {
        let mut tally = Tally::new(&["kubelet.service".to_owned()], Signals::new(&crate::checks::signals()));
        for line in lines {
            tally.take(line, || "s=1".to_owned());
        }
        tally
    }

    fn words(tally: &Tally, second: u64) -> Vec<String> {
        let words = tally.last_words(START + second * 1_000_000).remove("kubelet.service");
        words.map_or(Vec::new(), |words| words.lines.into_iter().map(|line| line.message).collect())
    }

    const OWN: Origin = Origin::Unit(0);
    const ABOUT: Origin = Origin::About(0);
    const FATAL: &str = r#"E1124 18:02:38.105541     280 run.go:72] "command failed" err="failed to parse kubelet flag: unknown flag: --x""#;

    #[test]
    fn a_value_of_several_lines_belongs_to_its_record() {
        let tally = tally(&[
            line(OWN, 0, FIRST, "E1124 03:12:44.000001    1000 proxier.go:1] \"Failed to execute iptables-restore\" err=<"),
            line(OWN, 0, FIRST, "\texit status 2: iptables-restore v1.8.9: line 7 failed"),
            line(OWN, 0, FIRST, " >"),
            line(OWN, 0, FIRST, "a line of something else"),
        ]);
        assert_eq!(
            words(&tally, 1),
            [
                "E1124 03:12:44.000001    1000 proxier.go:1] \"Failed to execute iptables-restore\" err=< exit status 2: iptables-restore v1.8.9: line 7 failed >"
            ]
        );
    }

    #[test]
    fn what_every_healthy_start_logs_is_no_word_nor_are_its_further_lines() {
        let tally = tally(&[
            line(OWN, 0, FIRST, "E1124 03:12:44.000001    1000 proxier.go:1] \"Failed to list existing nftables objects\" err=<"),
            line(OWN, 0, FIRST, "\tError: No such file or directory"),
            line(OWN, 0, FIRST, " >"),
        ]);
        assert_eq!(words(&tally, 1), Vec::<String>::new());
    }

    #[test]
    fn a_program_that_could_not_start_is_quoted_without_any_header() {
        let said = "/usr/bin/kubelet: error while loading shared libraries: libseccomp.so.2: cannot open shared object file";
        assert_eq!(words(&tally(&[line(OWN, 0, FIRST, said)]), 1), [said]);
    }

    #[test]
    fn a_start_by_hand_clears_what_the_run_before_said() {
        let tally = tally(&[line(OWN, 0, FIRST, FATAL), line(ABOUT, 5, SECOND, "Started kubelet.service.")]);
        assert_eq!(words(&tally, 6), Vec::<String>::new());
        assert!(tally.signals(START + 6_000_000).is_empty());
    }

    #[test]
    fn a_crash_loop_does_not_flicker_and_a_restart_that_lasts_clears() {
        let restart = Line { restarts: true, ..line(ABOUT, 10, FIRST, "Scheduled restart job, restart counter is at 7.") };
        let mut tally = tally(&[line(OWN, 0, FIRST, FATAL), restart, line(ABOUT, 10, SECOND, "Started kubelet.service.")]);
        assert_eq!(words(&tally, 11), [FATAL]);
        assert_eq!(tally.signals(START + 11_000_000)["kubelet-flag-unknown"].count, 1);
        tally.take_changed(START + 11_000_000);
        assert!(tally.take_changed(START + 21_000_000), "the end of the hold is news");
        assert_eq!(words(&tally, 21), Vec::<String>::new());
        assert!(tally.signals(START + 21_000_000).is_empty());
    }

    #[test]
    fn another_boot_begins_anew() {
        let kernel = |second, boot| Line { boot_id: Id([boot; 16]), ..line(Origin::Kernel, second, FIRST, "Out of memory: Killed process 17 (stress)") };
        let tally = tally(&[kernel(0, 1), kernel(1, 1), kernel(5, 2)]);
        assert_eq!(tally.signals(START)["oom-kill"].count, 1);
    }

    #[test]
    fn a_flood_keeps_nothing_but_its_end() {
        let lines: Vec<String> =
            (0..1000).map(|n| format!("E1124 03:12:44.000001    1000 kubelet.go:{n}] \"PLEG is not healthy: pleg was last seen active\"")).collect();
        let lines: Vec<_> = lines.iter().map(|message| line(OWN, 1, FIRST, message)).collect();
        let tally = tally(&lines);
        let seen = &tally.signals(START + 2_000_000)["kubelet-pleg-unhealthy"];
        assert_eq!((seen.count, seen.samples.len()), (1000, SAMPLES));
        assert_eq!(words(&tally, 2).len(), WORDS);
        assert!(words(&tally, 2).last().unwrap().contains("kubelet.go:999"));
    }

    #[test]
    fn tokens_are_blanked() {
        let said = "E1124 03:12:44.000001    1000 x.go:1] token abcdef.0123456789abcdef Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln refused";
        let words = words(&tally(&[line(OWN, 0, FIRST, said)]), 1);
        assert_eq!(words, ["E1124 03:12:44.000001    1000 x.go:1] token (token) Bearer (token) refused"]);
    }
}
