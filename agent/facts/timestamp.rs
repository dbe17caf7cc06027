use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// An instant in UTC with microseconds, written as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// `None` outside the years -9999 to 9999.
    #[must_use]
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        OffsetDateTime::from_unix_timestamp(seconds).ok().map(Self)
    }

    /// Microseconds since 1970, as systemd and journald count. `None` for values no clock shows (0 means "never" to systemd).
    #[must_use]
    pub fn from_unix_micros(micros: u64) -> Option<Self> {
        if micros == 0 || micros == u64::MAX {
            return None;
        }
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok().map(Self)
    }

    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// Microseconds since 1970; negative before.
    #[must_use]
    pub fn unix_micros(self) -> i64 {
        i64::try_from(self.0.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
    }

    /// Seconds from `earlier` to `self`; negative if `earlier` is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> i64 {
        self.unix_seconds() - earlier.unix_seconds()
    }

    /// `self` moved by `duration`, or the last instant that can be written.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let moved = time::Duration::try_from(duration).ok().and_then(|d| self.0.checked_add(d));
        Self(moved.unwrap_or_else(|| time::PrimitiveDateTime::MAX.assume_utc()))
    }

    /// `2026-12-01 03:12:44 UTC`, as a person reads it.
    #[must_use]
    pub fn human(self) -> String {
        let t = self.0;
        format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", t.year(), u8::from(t.month()), t.day(), t.hour(), t.minute(), t.second())
    }

    /// `Dec 01 03:12:44`, as syslog and `journalctl -o short` write it.
    #[must_use]
    pub fn syslog(self) -> String {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let t = self.0;
        let month = MONTHS.get(usize::from(u8::from(t.month())) - 1).copied().unwrap_or_default();
        format!("{month} {:02} {:02}:{:02}:{:02}", t.day(), t.hour(), t.minute(), t.second())
    }

    /// `03:12:44`, for instants of the last hours.
    #[must_use]
    pub fn clock(self) -> String {
        format!("{:02}:{:02}:{:02}", self.0.hour(), self.0.minute(), self.0.second())
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        Self(OffsetDateTime::from(time).to_offset(UtcOffset::UTC))
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339).map(|t| Self(t.to_offset(UtcOffset::UTC)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.0;
        write!(f, "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", t.year(), u8::from(t.month()), t.day(), t.hour(), t.minute(), t.second())?;
        if t.microsecond() != 0 {
            write!(f, ".{:06}", t.microsecond())?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| de::Error::custom(format!("{text:?} is not an RFC 3339 time: {error}")))
    }
}

/// A span as a person says it: `45 s`, `7 min`, `3 h`, `30 d`, `2 years`. Never negative.
#[must_use]
pub fn human_span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        172_800..=63_071_999 => format!("{} d", seconds / 86_400),
        _ => format!("{} years", seconds / 31_536_000),
    }
}
