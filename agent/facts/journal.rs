use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Record;
use super::{Blind, Timestamp};

/// What the journal told: the last words of the watched units, and counted signals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Directories read, as the node names them.
    pub directories: Vec<String>,
    /// Journal files read.
    pub files: usize,
    /// Files that could not be read, with the reason.
    #[serde(default)]
    pub unreadable: Vec<Blind>,
    /// What was read because the journal cannot be: `/dev/kmsg`, syslog's files.
    #[serde(default)]
    pub instead: Vec<String>,
    /// Why the units' lines are not seen, where only others are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Blind>,
    /// When the newest line that was taken in was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What earlier boots left.
    #[serde(default)]
    pub past: Past,
    /// How the reading goes.
    #[serde(default)]
    pub reading: Reading,
    /// By unit name: what its current or last invocation said last.
    #[serde(default)]
    pub last_words: BTreeMap<String, LastWords>,
    /// By the code of the check that declared it: what was counted.
    #[serde(default)]
    pub signals: BTreeMap<String, SignalSeen>,
}

/// What earlier boots left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When this boot's first entry was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted: Option<Timestamp>,
    /// The boot before this one, as far as anything tells of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousBoot>,
    /// What the kernel left of its crashes, newest last.
    #[serde(default)]
    pub crashes: Vec<Crash>,
    /// Why records of crashes could not be looked at, where there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<Blind>,
}

/// How the boot before this one ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousBoot {
    pub boot_id: String,
    /// When its last entry was written; absent where only our own state tells of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The journal holds its end, and what systemd says there of a shutdown; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<LogLine>,
    /// The agent itself was asked to end in it and was not started again. Absent where no agent left word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_stopped: Option<bool>,
    /// The last thing the journal has of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LogLine>,
    /// Its last kernel line that tells of a panic, a bug or an oops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<LogLine>,
}

/// A record of a crash: in pstore, kept by systemd-pstore, or a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    pub path: String,
    pub at: Timestamp,
    /// The line that says what happened, if the record is text and has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
}

/// How the reading of the journal goes, counted since the agent's process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Entries taken in, of whatever program.
    pub entries: u64,
    /// Objects that were damaged and passed over.
    pub damaged: u64,
    /// Entries that were gone (vacuumed) before they could be read.
    pub lost: u64,
    /// How far the reading is behind what is written, in milliseconds.
    pub behind_ms: u64,
}

/// The last error lines of one invocation of a unit, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWords {
    /// `_SYSTEMD_INVOCATION_ID` of the lines; absent where the journal has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
    pub lines: Vec<LogLine>,
}

impl LastWords {
    /// The line that most likely says why the process ended: the last one.
    #[must_use]
    pub fn last(&self) -> Option<&LogLine> {
        self.lines.last()
    }
}

/// How often a signal was seen, in the watched window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalSeen {
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// The newest matching lines, oldest first; bounded.
    pub samples: Vec<LogLine>,
}

/// One journal entry's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub time: Timestamp,
    /// The unit that logged it, or `kernel`.
    pub source: String,
    /// `MESSAGE`, at most [`LogLine::MAX`] bytes, control characters replaced.
    pub message: String,
    /// The journal's cursor, for `journalctl --cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl LogLine {
    /// Longest message kept, in bytes.
    pub const MAX: usize = 1024;

    /// The message, taken apart.
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        Record::parse(&self.message)
    }

    /// What it says, for people: without its header, which repeats time and source, and without escapes.
    #[must_use]
    pub fn said(&self) -> String {
        self.record().to_string()
    }
}
