//! `nodetriage logs`: the entries of the node's journal that somebody asks for, as `journalctl` selects them.

use std::ops::RangeInclusive;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

use super::file::{Direction, Entry};
use super::find;
use super::follow::Follow;
use super::format::Id;
use super::look;
use super::opened::Opened;
use super::reader::{Filter, Place, Reader};
use super::show::first;
use crate::facts::Blind;
use crate::observe::host::Host;

/// How soon a line that journald has not announced yet is looked for.
const POLL: Duration = Duration::from_millis(100);
/// Entries shown before new files are looked for: an archive that is not open yet may be vacuumed.
const BATCH: usize = 200;

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// With what systemd and coredumps said about them; any of them.
    pub units: Vec<String>,
    pub boot: Option<Boot>,
    /// PRIORITY, 0 (emergency) to 7 (debug).
    pub priority: Option<RangeInclusive<u8>>,
    /// Microseconds since 1970, both inclusive.
    pub since: Option<u64>,
    pub until: Option<u64>,
    pub grep: Option<Regex>,
    /// The last so many only.
    pub lines: Option<usize>,
    /// Newest first.
    pub reverse: bool,
}

/// Which boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    Id(Id),
    /// 0: the present or last one, -1: the one before it, 1: the first that is known.
    Offset(i64),
}

/// A pattern as `journalctl --grep` takes it: without regard to case unless it has capitals.
///
/// # Errors
/// It is no regular expression.
pub fn pattern(text: &str) -> Result<Regex, regex::Error> {
    let plain = !text.chars().any(char::is_uppercase);
    RegexBuilder::new(text).case_insensitive(plain).unicode(false).build().or_else(|_| RegexBuilder::new(text).case_insensitive(plain).build())
}

/// The journals that journalctl shows: those of namespaces are asked for by name there.
fn directories(host: &Host) -> Result<Vec<String>, Blind> {
    let all = find::directories(host)?;
    Ok(all.into_iter().filter(|path| path.rsplit('/').next().is_none_or(|name| !name.contains('.'))).collect())
}

/// Hands over the entries that match until `show` says that it has enough.
///
/// # Errors
/// Blind: no journal, or none that can be read; or no such boot.
pub fn logs(host: &Host, query: &Query, mut show: impl FnMut(&mut Reader, usize, &Entry) -> bool) -> Result<(), Blind> {
    let mut opened = Opened::all(host, directories(host)?)?;
    let filter = filter(host, query, &mut opened.reader)?;
    once(query, &filter, &mut opened.reader, &mut show);
    Ok(())
}

/// Who is shown entries as they are written.
pub trait Show {
    /// False if that was enough.
    fn entry(&mut self, reader: &mut Reader, file: usize, entry: &Entry) -> bool;

    /// There are no more for now. False if that was enough.
    fn pause(&mut self) -> bool;
}

/// As [`logs`], then what is written from now on, until `show` has enough.
///
/// # Errors
/// Blind, as [`logs`], or the journal cannot be followed any more.
pub fn follow(host: &Host, query: &Query, show: &mut impl Show) -> Result<(), Blind> {
    let mut opened = Opened::all(host, directories(host)?)?;
    let filter = filter(host, query, &mut opened.reader)?;
    // What is shown first and what is followed meet at what the files held when they were opened.
    if !once(query, &filter, &mut opened.reader, &mut |reader, file, entry| show.entry(reader, file, entry)) {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| Blind::new(format!("no event loop: {error}")))?;
    runtime.block_on(async {
        let mut follow = Follow::start(host, opened, directories, None)?;
        let ready = follow.events()?;
        loop {
            let mut enough = false;
            let more = follow.read(BATCH, |reader, index, entry| {
                let before_end = query.until.is_none_or(|until| entry.head.realtime <= until);
                if !enough && before_end && has(reader, index, entry, &filter) && is_wanted(reader, index, entry, query) {
                    enough = !show.entry(reader, index, entry);
                }
            })?;
            if enough || !more && !show.pause() {
                return Ok(());
            }
            if !more {
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    guard = ready.readable() => {
                        tokio::time::sleep(follow.breath()).await;
                        if let Ok(mut guard) = guard {
                            guard.clear_ready();
                        }
                    }
                }
            }
            if follow.drain() || follow.must_rescan() {
                follow.rescan()?;
            }
        }
    })
}

/// True if more is wanted.
fn once(query: &Query, filter: &Filter, reader: &mut Reader, show: &mut impl FnMut(&mut Reader, usize, &Entry) -> bool) -> bool {
    if query.reverse || query.lines.is_none() {
        let direction = if query.reverse { Direction::Backward } else { Direction::Forward };
        let mut left = query.lines.unwrap_or(usize::MAX);
        return go(query, filter, reader, direction, |reader, index, entry| {
            left = left.saturating_sub(1);
            show(reader, index, entry) && left > 0
        }) || left == 0;
    }
    let lines = query.lines.unwrap_or(0);
    let found = if query.grep.is_none() && query.until.is_none() && query.since.is_none() {
        reader.tail(filter, lines)
    } else {
        let mut found = Vec::new();
        if lines > 0 {
            go(query, filter, reader, Direction::Backward, |_, index, entry| {
                found.push((index, entry.head.offset));
                found.len() < lines
            });
        }
        found.reverse();
        found
    };
    let mut entry = Entry::default();
    for (index, offset) in found {
        let Some(file) = reader.files.get(index) else { continue };
        if file.entry(&mut reader.cache, offset, &mut entry).is_ok() && !show(reader, index, &entry) {
            return false;
        }
    }
    true
}

/// Goes through what matches; false if `visit` ended it.
fn go(query: &Query, filter: &Filter, reader: &mut Reader, direction: Direction, mut visit: impl FnMut(&mut Reader, usize, &Entry) -> bool) -> bool {
    let mut walk = reader.walk(filter, direction);
    let start = if direction == Direction::Forward { query.since } else { query.until };
    if let Some(start) = start {
        walk.seek(reader, &Place::Realtime(start));
    }
    while let Some(index) = walk.next(reader) {
        let time = walk.entry.head.realtime;
        if query.since.is_some_and(|since| time < since) || query.until.is_some_and(|until| time > until) {
            // Of several boots with a clock set back, what is out of the span may be followed by what is in it.
            let past =
                if direction == Direction::Forward { query.until.is_some_and(|until| time > until) } else { query.since.is_some_and(|since| time < since) };
            if past {
                break;
            }
            continue;
        }
        if is_wanted(reader, index, &walk.entry, query) && !visit(reader, index, &walk.entry) {
            return false;
        }
    }
    true
}

/// What no index tells.
fn is_wanted(reader: &mut Reader, index: usize, entry: &Entry, query: &Query) -> bool {
    let Some(pattern) = &query.grep else { return true };
    first(reader, index, entry, "MESSAGE").is_some_and(|message| pattern.is_match(&message))
}

fn filter(host: &Host, query: &Query, reader: &mut Reader) -> Result<Filter, Blind> {
    let mut all = Vec::new();
    if !query.units.is_empty() {
        all.push(Filter::Or(query.units.iter().map(|unit| of_unit(unit)).collect()));
    }
    if let Some(boot) = query.boot {
        let id = boot_id(host, boot, reader).ok_or_else(|| Blind::new("the journal has no such boot"))?;
        all.push(Filter::field("_BOOT_ID", &id.to_string()));
    }
    if let Some(priority) = &query.priority {
        all.push(Filter::Or(priority.clone().map(|level| Filter::field("PRIORITY", &level.to_string())).collect()));
    }
    Ok(if all.is_empty() { Filter::All } else { Filter::And(all) })
}

/// `add_matches_for_unit()` of systemd's `src/shared/logs-show.c`: the unit's own lines, its coredumps, what systemd says of
/// it, and what root's daemons say of it.
fn of_unit(unit: &str) -> Filter {
    let and = |fields: &[(&str, &str)]| Filter::And(fields.iter().map(|(name, value)| Filter::field(name, value)).collect());
    let mut any = vec![
        Filter::field("_SYSTEMD_UNIT", unit),
        and(&[("MESSAGE_ID", "fc2e22bc6ee647b6b90729ab34a250b1"), ("_UID", "0"), ("COREDUMP_UNIT", unit)]),
        and(&[("_PID", "1"), ("UNIT", unit)]),
        and(&[("_UID", "0"), ("OBJECT_SYSTEMD_UNIT", unit)]),
    ];
    if unit.rsplit('.').next() == Some("slice") {
        any.push(Filter::field("_SYSTEMD_SLICE", unit));
    }
    Filter::Or(any)
}

fn boot_id(host: &Host, boot: Boot, reader: &mut Reader) -> Option<Id> {
    let offset = match boot {
        Boot::Id(id) => return Some(id),
        Boot::Offset(0) => return look::boot(host, reader),
        Boot::Offset(offset) => offset,
    };
    let boots = reader.boots();
    let at = if let Ok(after_first) = usize::try_from(offset) {
        after_first.checked_sub(1)?
    } else {
        let now = look::boot(host, reader).and_then(|now| boots.iter().position(|boot| boot.id == now))?;
        now.checked_sub(usize::try_from(offset.unsigned_abs()).ok()?)?
    };
    boots.get(at).map(|boot| boot.id)
}

/// Whether an entry matches, by its fields alone: one that was written a moment ago is in no index yet.
fn has(reader: &mut Reader, index: usize, entry: &Entry, filter: &Filter) -> bool {
    let mut payload = Vec::new();
    match filter {
        Filter::All => true,
        Filter::And(parts) => parts.iter().all(|part| has(reader, index, entry, part)),
        Filter::Or(parts) => parts.iter().any(|part| has(reader, index, entry, part)),
        Filter::Field(field) => entry
            .items
            .iter()
            .any(|offset| reader.data_if(index, *offset, field, field.len() + 1, &mut payload).unwrap_or(false) && payload.len() == field.len()),
    }
}
