//! `nodetriage logs`: the journal without journalctl, as journalctl shows it.

use std::io::{self, ErrorKind, Write as _};
use std::ops::RangeInclusive;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use nodetriage::config;
use nodetriage::facts::Timestamp;
use nodetriage::observe::host::Host;
use nodetriage::observe::journal::file::Entry;
use nodetriage::observe::journal::format::Id;
use nodetriage::observe::journal::logs::{self, Boot, Query, Show};
use nodetriage::observe::journal::reader::Reader;
use nodetriage::observe::journal::{export, show};

use super::args::Settings;

/// The flags are journalctl's; times are in UTC.
#[derive(Args, Debug)]
pub struct Logs {
    #[command(flatten)]
    pub settings: Settings,
    /// Lines of this unit, and what systemd says of it; may be repeated.
    #[arg(short, long, value_name = "UNIT")]
    unit: Vec<String>,
    /// The last N lines only [default with --follow: 10]; with --grep, newest first.
    #[arg(short = 'n', long, value_name = "N", num_args = 0..=1, default_missing_value = "10")]
    lines: Option<usize>,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    follow: bool,
    /// From then on: 2026-12-01 03:12:44, 2026-12-01, RFC 3339, @SECONDS, -1h, today, yesterday.
    #[arg(short = 'S', long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    since: Option<u64>,
    /// Up to then.
    #[arg(short = 'U', long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    until: Option<u64>,
    /// Of one boot: its id; 0 the present one (the default), -1 the one before, 1 the oldest.
    #[arg(short, long, value_name = "BOOT", num_args = 0..=1, default_missing_value = "0", value_parser = parse_boot, allow_negative_numbers = true)]
    boot: Option<Boot>,
    /// At least as bad as this: emerg, alert, crit, err, warning, notice, info, debug, or 0 to 7; or a range, as warning..err.
    #[arg(short, long, value_name = "LEVEL", value_parser = parse_priority)]
    priority: Option<RangeInclusive<u8>>,
    /// Whose MESSAGE matches this regular expression, without regard to case unless it has capitals.
    #[arg(short, long, value_name = "PATTERN")]
    grep: Option<String>,
    /// Newest first.
    #[arg(short, long, conflicts_with = "follow")]
    reverse: bool,
    #[arg(short, long, value_enum, default_value = "short", value_name = "FORMAT")]
    output: Format,
}

/// How an entry is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line with time, host and program, as in syslog.
    Short,
    /// One JSON object a line.
    Json,
    /// The Journal Export Format.
    Export,
    /// MESSAGE alone.
    Cat,
}

/// Prints what was asked for; 1 if --grep matched nothing.
pub fn run(args: &Logs, host: &Host) -> anyhow::Result<u8> {
    let query = query(args)?;
    let mut out = Printer { out: io::stdout().lock(), format: args.output, boot: None, buffer: Vec::new(), error: None };
    let read = if args.follow { logs::follow(host, &query, &mut out) } else { logs::logs(host, &query, |reader, file, entry| out.entry(reader, file, entry)) };
    out.flush();
    match out.error {
        // Who has read enough (`| head`) has ended nothing in error.
        Some(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error).context("cannot write to stdout"),
        _ => {}
    }
    match read {
        // As grep and journalctl have it.
        Ok(()) => Ok(u8::from(query.grep.is_some() && out.boot.is_none())),
        Err(blind) => match blind.grant {
            Some(grant) => bail!("{}\n{grant}", blind.reason),
            None => bail!("{}", blind.reason),
        },
    }
}

fn query(args: &Logs) -> anyhow::Result<Query> {
    let grep = args.grep.as_deref().map(logs::pattern).transpose().context("--grep")?;
    let lines = args.lines.or((args.follow && args.since.is_none()).then_some(10));
    // As journalctl does: how far back to go for so many matches is known only from the end.
    let reverse = args.reverse || (grep.is_some() && args.lines.is_some() && !args.follow);
    let units = args.unit.iter().map(|unit| if unit.contains('.') { unit.clone() } else { format!("{unit}.service") }).collect();
    Ok(Query { units, boot: args.boot, priority: args.priority.clone(), since: args.since, until: args.until, grep, lines, reverse })
}

/// Bytes that are written at once.
const BUFFER: usize = 32 << 10;

struct Printer<W: io::Write> {
    out: W,
    format: Format,
    /// Of the entry before.
    boot: Option<Id>,
    /// What is not written yet.
    buffer: Vec<u8>,
    error: Option<io::Error>,
}

impl<W: io::Write> Show for Printer<W> {
    /// False if it cannot be written.
    fn entry(&mut self, reader: &mut Reader, file: usize, entry: &Entry) -> bool {
        let out = &mut self.buffer;
        let boot = self.boot.replace(entry.head.boot_id);
        match self.format {
            Format::Short => {
                if boot.is_some_and(|boot| boot != entry.head.boot_id) {
                    let _ = writeln!(out, "-- Boot {} --", entry.head.boot_id);
                }
                show::short(reader, file, entry, out);
            }
            Format::Cat => export::cat(reader, file, entry, out),
            // Both fail for a file that is not the reader's only.
            Format::Json => drop(export::json(reader, file, entry, out)),
            Format::Export => drop(export::entry(reader, file, entry, out)),
        }
        self.buffer.len() < BUFFER || self.flush()
    }

    fn pause(&mut self) -> bool {
        self.flush()
    }
}

impl<W: io::Write> Printer<W> {
    /// False if it cannot be written.
    fn flush(&mut self) -> bool {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.buffer.clear();
        self.buffer.shrink_to(2 * BUFFER);
        self.error = self.error.take().or(written.err());
        self.error.is_none()
    }
}

/// Microseconds since 1970.
fn parse_time(text: &str) -> Result<u64, String> {
    let now = Timestamp::from(SystemTime::now());
    let micros = |time: Timestamp| u64::try_from(time.unix_micros()).map_err(|_| "before 1970".to_owned());
    let midnight = now.unix_seconds().div_euclid(86_400) * 86_400;
    let at = |seconds: i64| u64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000)).ok_or_else(|| "before 1970".to_owned());
    match text {
        "now" => return micros(now),
        "today" => return at(midnight),
        "yesterday" => return at(midnight - 86_400),
        _ => {}
    }
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse().map_err(|_| "expected seconds since 1970 after the @".to_owned()).and_then(at);
    }
    if let Some(span) = text.strip_prefix('-').or_else(|| text.strip_suffix(" ago")).and_then(|span| config::parse_duration(&span.replace("min", "m"))) {
        return Ok(micros(now)?.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)));
    }
    let padded = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{}:00Z", text.replacen(' ', "T", 1)),
        19.. if text.as_bytes().get(10) == Some(&b' ') => format!("{}Z", text.replacen(' ', "T", 1).trim_end_matches(" UTC")),
        _ => text.to_owned(),
    };
    let expected = || "expected 2026-12-01 03:12:44, 2026-12-01, RFC 3339, @SECONDS, -1h, today or yesterday".to_owned();
    padded.parse::<Timestamp>().map_err(|_| expected()).and_then(micros)
}

fn parse_boot(text: &str) -> Result<Boot, String> {
    if let Some(id) = Id::parse(text).filter(|_| text.len() >= 32) {
        return Ok(Boot::Id(id));
    }
    text.parse().map(Boot::Offset).map_err(|_| "expected a boot's id, or 0, -1, …".to_owned())
}

fn parse_priority(text: &str) -> Result<RangeInclusive<u8>, String> {
    const NAMES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let level = |text: &str| {
        let name = match text {
            "error" => "err",
            "warn" => "warning",
            "panic" => "emerg",
            other => other,
        };
        let found = NAMES.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok());
        found.or_else(|| text.parse().ok().filter(|level| *level <= 7)).ok_or_else(|| format!("{text:?} is none of {} or 0 to 7", NAMES.join(", ")))
    };
    match text.split_once("..") {
        Some((one, other)) => {
            let (one, other) = (level(one)?, level(other)?);
            Ok(one.min(other)..=one.max(other))
        }
        None => Ok(0..=level(text)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let noon = 1_796_083_200_000_000;
        for text in ["2026-12-01T00:00:00Z", "2026-12-01", "2026-12-01 00:00", "2026-12-01 00:00:00", "2026-12-01 00:00:00 UTC", "@1796083200"] {
            assert_eq!(parse_time(text), Ok(noon), "{text}");
        }
        assert_eq!(parse_time("2026-12-01 00:00:00.25"), Ok(noon + 250_000));
        let hour = parse_time("now").unwrap() - parse_time("-1h").unwrap();
        assert!((3_600_000_000 - 1_000_000..3_600_000_000).contains(&hour) || hour <= 3_600_000_000, "{hour}");
        assert_eq!(parse_time("today").unwrap() - parse_time("yesterday").unwrap(), 86_400_000_000);
        for wrong in ["", "tomorrow-ish", "2026-13-01", "-soon", "@"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn priorities_are_names_numbers_and_ranges() {
        assert_eq!(parse_priority("err"), Ok(0..=3));
        assert_eq!(parse_priority("7"), Ok(0..=7));
        assert_eq!(parse_priority("err..warning"), Ok(3..=4));
        assert_eq!(parse_priority("warning..err"), Ok(3..=4));
        assert!(parse_priority("8").is_err() && parse_priority("loud").is_err());
    }
}
