use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// When the newest line that was taken in was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// By unit name: what its current or last invocation said last.
    #[serde(default)]
    pub last_words: BTreeMap<String, LastWords>,
    /// By the code of the check that declared it: what was counted.
    #[serde(default)]
    pub signals: BTreeMap<String, SignalSeen>,
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
}
