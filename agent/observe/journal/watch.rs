//! Follows the journal through rotation, vacuum and deletion, and puts what changes on the board.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::beside::{self, Beside};
use super::find;
use super::follow::{Follow, Marks, RESCAN};
use super::hash::jenkins;
use super::look::{self, Look, unix_micros};
use super::opened::Opened;
use super::past;
use super::tally::Sum;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts, Journal, Observed};
use crate::finding::Signal;
use crate::observe::board::Board;
use crate::observe::host::Host;
use crate::observe::units::watched;

/// How often the headers of the files that grow are read while something is going on. journald announces lines by inotify
/// only 250 ms after the first (`POST_CHANGE_TIMER_INTERVAL_USEC` in `journald-server.c`), which is enough to wake up by,
/// but late for what follows. Each look from idle costs some 50 microseconds of CPU, so nobody looks without a reason.
const POLL: Duration = Duration::from_millis(40);
/// How long a line of a watched unit or of the kernel makes us look closely.
const AFTER_LINE: Duration = Duration::from_millis(1500);
/// … and a change of what is told, or of a unit: its last words come with it.
const AFTER_CHANGE: Duration = Duration::from_secs(5);
/// What was written while nobody watched is told as a whole if it is read in this time.
const CATCH_UP: Duration = Duration::from_millis(800);
/// How often what the next process needs is handed over: a killed one reads so much again.
const KEEP: Duration = Duration::from_secs(30);
/// Once it has looked around, and then so often, what was kept of files and lines that were read is dropped.
const REST: Duration = Duration::from_mins(5);
/// Pause before the journal is opened anew after it could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// While lines keep changing what is known, it is told once in this time …
const TELL_EVERY: Duration = Duration::from_millis(200);
/// … after so much of it was told at once: twenty times.
const TELL_AHEAD: Duration = Duration::from_secs(4);
/// Entries taken in before new files are looked for: an archive that is not open yet may be vacuumed.
const BATCH: usize = 200;

/// What one process leaves of the journal to the next: what was counted, and how far it had read then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What was watched, and for which lines: who looks for others must count anew.
    rules: u64,
    marks: Marks,
    sum: Sum,
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub struct Earlier {
    pub kept: Option<Kept>,
    /// The boot in which it ran.
    pub boot_id: Option<String>,
    /// It ended because it was asked to.
    pub stopped: bool,
}

/// Keeps the journal's facts on the board current, until the process ends: run it on a thread of its own, it blocks.
/// What cannot be read makes the domain unknown, and is tried again. `signals` are the lines that checks count, each with
/// the check's code. `earlier` is what another process left; `keep` is given what to leave.
pub fn watch(host: &Arc<Host>, config: &Arc<Config>, signals: &[(&'static str, &'static Signal)], board: &Arc<Board>, earlier: Earlier, keep: &dyn Fn(Kept)) {
    let mut earlier = earlier;
    let mut told = None;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let blind = Blind::new(format!("the journal's thread has no event loop: {error}"));
            board.put(Domain::Journal, Duration::ZERO, |facts| facts.journal = Observed::Unknown(blind));
            return;
        }
    };
    let mut instead = None;
    loop {
        let start = Instant::now();
        let blind = match Watch::start(host, config, signals, &earlier) {
            Ok(mut watch) => {
                (told, instead) = (None, None);
                let blind = runtime.block_on(watch.run(start, board, keep));
                earlier.kept = Some(watch.kept());
                blind
            }
            Err(blind) => blind,
        };
        let (look, beside) = instead.get_or_insert_with(|| {
            tracing::warn!(reason = %blind, "the journal cannot be followed");
            let mut look = Look::new(config, signals);
            let beside = Beside::start(host, &mut look, None);
            (look, beside)
        });
        past::look_for_crashes(host, &mut look.past);
        let tell = |beside: &Beside<'_>, look: &Look| {
            let facts = Observed::from(beside.facts(look, unix_micros(), blind.clone()));
            if told.as_ref() != Some(&facts) {
                board.put(Domain::Journal, start.elapsed(), |board| board.journal = facts.clone());
                told = Some(facts);
            }
        };
        runtime.block_on(beside.run(look, RETRY, tell));
    }
}

struct Watch<'a> {
    host: &'a Host,
    follow: Follow<'a>,
    look: Look,
    told: Option<Journal>,
    /// Until when what was told would have lasted at [`TELL_EVERY`].
    told_until: Instant,
    pending: bool,
    /// Until then we look closely.
    attentive: Instant,
    rules: u64,
    started: Instant,
    kept: Option<Instant>,
    rested: Option<Instant>,
    beside: Beside<'a>,
}

impl<'a> Watch<'a> {
    fn start(host: &'a Host, config: &Config, signals: &[(&'static str, &'static Signal)], earlier: &Earlier) -> Result<Self, Blind> {
        let started = Instant::now();
        let mut opened = Opened::all(host, find::directories(host)?)?;
        let mut look = Look::new(config, signals);
        let rules = rules(config, signals);
        let boot = look::boot(host, &mut opened.reader);
        let kept = earlier.kept.as_ref().filter(|earlier| earlier.rules == rules && boot.is_some() && earlier.sum.boot() == boot);
        look.past = past::observe(host, &mut opened.reader, boot, earlier);
        match kept {
            Some(kept) => look.resume(kept.sum.clone()),
            None => look.back(host, &mut opened.reader),
        }
        let has_kernel = look::has_kernel_lines(&mut opened.reader, boot);
        let beside = Beside::start(host, &mut look, Some(has_kernel));
        let follow = Follow::start(host, opened, find::directories, kept.map(|kept| &kept.marks))?;
        let attentive = Instant::now() + AFTER_CHANGE;
        let mut watch =
            Self { host, follow, look, told: None, told_until: started, pending: true, attentive, rules, started, kept: None, rested: None, beside };
        watch.rescan()?;
        Ok(watch)
    }

    /// Runs until the journal cannot be read any more.
    async fn run(&mut self, start: Instant, board: &Board, keep: &dyn Fn(Kept)) -> Blind {
        let mut start = start;
        let mut news = board.news();
        let mut units = Vec::new();
        let ready = match self.follow.events() {
            Ok(ready) => ready,
            Err(blind) => return blind,
        };
        let others = self.beside.events();
        loop {
            let more = match self.read_new() {
                Ok(more) => more | self.beside.read(&mut self.look),
                Err(blind) => return blind,
            };
            // What was written while nobody watched is told as a whole, unless it is long.
            if !more || self.started.elapsed() > CATCH_UP {
                self.tell(start, more, board);
            }
            if self.told.is_some() && self.kept.is_none_or(|kept| kept.elapsed() > KEEP) {
                self.kept = Some(Instant::now());
                keep(self.kept());
            }
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
                files = others.next() => if files { self.beside.drain(&self.look) },
                guard = ready.readable() => {
                    tokio::time::sleep(self.follow.breath()).await;
                    changed = self.follow.drain();
                    if let Ok(mut guard) = guard {
                        guard.clear_ready();
                    }
                }
            }
            start = Instant::now();
            if (changed || self.follow.must_rescan())
                && let Err(blind) = self.rescan()
            {
                return blind;
            }
            if !more && self.rested.is_none_or(|at| at.elapsed() > REST) && self.started.elapsed() > RESCAN {
                self.rested = Some(start);
                self.follow.opened.reader.rest();
                self.look.tally.rest();
            }
        }
    }

    /// How long nothing needs to be looked at, unless an event tells.
    fn pause(&self, more: bool) -> Duration {
        if more {
            Duration::ZERO
        } else if self.attentive > Instant::now() || self.follow.is_young() {
            POLL
        } else if self.pending || self.look.tally.holds() || self.follow.is_unsure() || self.beside.is_restless() {
            beside::SOON
        } else {
            RESCAN
        }
    }

    fn attend(&mut self, span: Duration) {
        self.attentive = self.attentive.max(Instant::now() + span);
    }

    fn rescan(&mut self) -> Result<(), Blind> {
        self.read_new()?;
        self.follow.rescan()?;
        self.look.forget_closed(&self.follow.opened.reader);
        self.beside.scan(&self.look);
        self.pending |= past::look_for_crashes(self.host, &mut self.look.past);
        Ok(())
    }

    /// Takes in what was written since, a batch at most. True if there is more.
    fn read_new(&mut self) -> Result<bool, Blind> {
        let Self { follow, look, .. } = self;
        let mut mattered = false;
        let more = follow.read(BATCH, |reader, index, entry| mattered |= look.take(reader, index, entry))?;
        if mattered {
            self.attend(AFTER_LINE);
        }
        Ok(more)
    }

    fn kept(&self) -> Kept {
        Kept { rules: self.rules, marks: self.follow.marks(), sum: self.look.tally.sum().clone() }
    }

    /// Puts the facts on the board if they changed; while they change all the time, now and then.
    fn tell(&mut self, start: Instant, more: bool, board: &Board) {
        let now = unix_micros();
        let reading = self.follow.reading(more, now);
        if self.told.as_ref().is_some_and(|told| told.reading != reading) {
            board.note(|facts| {
                if let Observed::Known(journal) = &mut facts.journal {
                    journal.reading = reading;
                }
            });
        }
        self.pending |= self.look.tally.take_changed(now) | std::mem::take(&mut self.follow.changed);
        let busy = self.told_until.saturating_duration_since(Instant::now()) >= TELL_AHEAD;
        if !self.pending || busy {
            return;
        }
        self.pending = false;
        self.attend(AFTER_CHANGE);
        let facts = Journal { reading, ..self.look.facts(&self.follow.opened, now) };
        if self.told.as_ref().is_some_and(|told| same(told, &facts)) {
            return;
        }
        board.put(Domain::Journal, start.elapsed(), |board| board.journal = Observed::Known(facts.clone()));
        self.told = Some(facts);
        self.told_until = self.told_until.max(Instant::now()) + TELL_EVERY;
    }
}

/// Tells sets of watched units and of looked for lines apart.
fn rules(config: &Config, signals: &[(&'static str, &'static Signal)]) -> u64 {
    let mut text = format!("{:?}", watched(config));
    for (code, signal) in signals {
        let _ = write!(text, "\n{code} {signal:?}");
    }
    jenkins(text.as_bytes())
}

/// In which run each unit is, and how it is.
fn runs(facts: &Facts) -> Vec<(String, Option<String>)> {
    let units = facts.units.known().map(|units| &units.units).into_iter().flatten();
    units.filter_map(|unit| unit.active.as_ref()).map(|active| (active.sub_state.clone(), active.invocation_id.clone())).collect()
}

/// Whether both tell the same; when the newest line was written is no news by itself.
fn same(a: &Journal, b: &Journal) -> bool {
    let telling = |j: &Journal| (j.directories.clone(), j.files, j.unreadable.clone(), j.last_words.clone(), j.signals.clone(), j.past.clone());
    telling(a) == telling(b)
}
