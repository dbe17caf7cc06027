//! The YAML file: sections of keys, read with the line and column of everything in it.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::{SETTINGS, nearest, parse_duration};

/// No configuration is longer, in bytes.
const LIMIT: u64 = 1 << 20;

/// A value as it is written, not yet what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`, `~` or nothing: not set.
    Null,
    Scalar(String),
    List(Vec<String>),
}

/// A key of the table with what the file says.
pub(super) struct Entry {
    pub key: &'static str,
    pub value: Value,
    pub line: usize,
    pub column: usize,
}

/// What is wrong with the file, and where; line and column count from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    pub line: usize,
    pub column: usize,
}

impl Value {
    pub(super) fn text(value: impl fmt::Display) -> Self {
        Self::Scalar(value.to_string())
    }

    pub(super) fn scalar(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn parse<T: FromStr>(&self) -> Option<T> {
        self.scalar()?.parse().ok()
    }

    pub(super) fn within(&self, least: u32, most: u32) -> Option<u32> {
        self.parse().filter(|number| (least..=most).contains(number))
    }

    /// A duration between two numbers of seconds.
    pub(super) fn span(&self, least: u64, most: u64) -> Option<Duration> {
        parse_duration(self.scalar()?).filter(|span| (least..=most).contains(&span.as_secs()))
    }

    /// A list whose every item is accepted. In the environment and in flags, where there are no lists: separated by commas.
    pub(super) fn list<T>(&self, accept: fn(&str) -> Option<T>) -> Option<Vec<T>> {
        match self {
            Self::Null => None,
            Self::Scalar(text) => text.split(',').map(|item| accept(item.trim())).collect(),
            Self::List(items) => items.iter().map(|item| accept(item)).collect(),
        }
    }
}

/// As YAML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Scalar(text) => f.write_str(&quoted(text)),
            Self::List(items) => write!(f, "[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Plain where nothing in it means something to YAML, else as JSON, which YAML reads as well.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@+-".contains(c);
    let starts_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    if starts_plain && text.chars().all(plain) && !text.ends_with(':') && !is_null(text) { text.to_owned() } else { format!("{text:?}") }
}

fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

/// The file's text. Never waits for a FIFO, never reads without end.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let nonblocking = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other("is longer than 1 MiB, too long for a configuration"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("is not UTF-8 text"))
}

/// The settings in it, and everything that is wrong with its form.
pub(super) fn parse(text: &str) -> (Vec<Entry>, Vec<Fault>) {
    let mut reader = Reader { events: Parser::new_from_str(text), entries: Vec::new(), faults: Vec::new() };
    if let Err(fault) = reader.document() {
        reader.faults.push(fault);
    }
    (reader.entries, reader.faults)
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    entries: Vec<Entry>,
    /// Wrong keys, after which reading goes on.
    faults: Vec<Fault>,
}

fn fault(span: Span, message: impl Into<String>) -> Fault {
    Fault { message: message.into(), line: span.start.line(), column: span.start.col() + 1 }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.events.next_event() {
            Some(Ok((Event::Alias(_), span))) => Err(fault(span, "aliases are not used in a configuration: write the value out")),
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let marker = error.marker();
                Err(Fault { message: format!("not YAML: {}", error.info()), line: marker.line(), column: marker.col() + 1 })
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<(), Fault> {
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if documents == 0 => documents = 1,
                Event::DocumentStart(..) => return Err(fault(span, "a configuration is one document")),
                Event::StreamEnd => return Ok(()),
                Event::MappingStart(..) => self.mapping("")?,
                Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => {}
                _ => return Err(fault(span, "a configuration is a mapping of keys, as listen: 127.0.0.1:20258")),
            }
        }
    }

    fn mapping(&mut self, section: &str) -> Result<(), Fault> {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(()),
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(fault(span, "a key is a word, as listen or log")),
            };
            let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            if seen.contains(&name) {
                self.faults.push(fault(span, format!("{} is set twice", quoted(&key))));
            }
            seen.push(name);
            self.value(&key, section, span)?;
        }
    }

    fn value(&mut self, key: &str, section: &str, at: Span) -> Result<(), Fault> {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let (event, span) = self.next()?;
        if setting.is_none() && !is_section(key) {
            self.faults.push(fault(at, unknown_key(key, section)));
            return self.skip(&event);
        }
        let value = match event {
            Event::MappingStart(..) if setting.is_none() => return self.mapping(key),
            Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => Value::Null,
            Event::Scalar(text, ..) => Value::Scalar(text.into_owned()),
            Event::SequenceStart(..) => Value::List(self.list(key)?),
            ref other => {
                let expected = setting.map_or("keys", |setting| setting.expected);
                self.faults.push(fault(span, format!("{key}: a mapping is not {expected}")));
                return self.skip(other);
            }
        };
        match setting {
            Some(setting) => self.entries.push(Entry { key: setting.key, value, line: span.start.line(), column: span.start.col() + 1 }),
            None if value == Value::Null => {}
            None => self.faults.push(fault(span, format!("{key}: {value} is not a mapping of {}", names_in(key).join(", ")))),
        }
        Ok(())
    }

    fn list(&mut self, key: &str) -> Result<Vec<String>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (Event::Scalar(text, ..), _) => items.push(text.into_owned()),
                (_, span) => return Err(fault(span, format!("{key}: a list holds plain values only"))),
            }
        }
    }

    /// Passes over the rest of a value that begins with `first`.
    fn skip(&mut self, first: &Event<'a>) -> Result<(), Fault> {
        let mut depth = usize::from(matches!(first, Event::MappingStart(..) | Event::SequenceStart(..)));
        while depth > 0 {
            match self.next()?.0 {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_section(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.key.rsplit_once('.').is_some_and(|(section, _)| section == key))
}

/// The keys and sections below a section; of the whole file for "".
fn names_in(section: &str) -> Vec<&'static str> {
    let below = |key: &'static str| match section {
        "" => Some(key.split('.').next().unwrap_or(key)),
        _ => key.strip_prefix(section)?.strip_prefix('.'),
    };
    let mut names: Vec<_> = SETTINGS.iter().filter_map(|setting| below(setting.key)).collect();
    names.dedup();
    names
}

fn unknown_key(key: &str, section: &str) -> String {
    let names = names_in(section);
    let name = key.rsplit('.').next().unwrap_or(key);
    let near = nearest(name, names.iter().copied());
    // A key in the wrong section, or of a section written without it.
    let elsewhere = SETTINGS.iter().map(|setting| setting.key).find(|known| known.rsplit('.').next() == Some(name));
    let near = near.map(|near| if section.is_empty() { near.to_owned() } else { format!("{section}.{near}") });
    let key = quoted(key);
    match near.or(elsewhere.map(str::to_owned)) {
        Some(near) => format!("unknown key {key}; did you mean {near}?"),
        None => format!("unknown key {key}; known here: {}", names.join(", ")),
    }
}
