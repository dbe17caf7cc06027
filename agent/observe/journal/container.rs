//! A line of a container's log file, as a CRI runtime and as Docker write it.

use std::borrow::Cow;

use serde::Deserialize;

use crate::facts::Timestamp;

/// A line that a container wrote, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Microseconds since 1970.
    pub realtime: u64,
    /// `stdout` or `stderr`.
    pub stream: Cow<'a, str>,
    pub message: Cow<'a, [u8]>,
    /// More of the same line follows otherwise: runtimes cut at 16 KiB.
    pub ends: bool,
}

/// Docker's (`daemon/logger/jsonfilelog/jsonlog`): the end of a line is part of it.
#[derive(Deserialize)]
struct Docker<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads `TIME STREAM TAGS MESSAGE` (the CRI log format, `kubelet/pkg/cri/streaming` and `pkg/kubelet/kuberuntime/logs`), of whose
/// tags, parted by colons, the first is `F` (full) or `P` (partial); or Docker's `{"log":…,"stream":…,"time":…}`.
#[must_use]
pub fn part(line: &[u8]) -> Option<Part<'_>> {
    if line.first() == Some(&b'{') {
        let Docker { log, stream, time } = serde_json::from_slice(line).ok()?;
        let ends = log.ends_with('\n');
        let message = match log {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches(['\n', '\r']).as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.trim_end_matches(['\n', '\r']).as_bytes().to_vec()),
        };
        return Some(Part { realtime: micros(&time)?, stream, message, ends });
    }
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let (realtime, stream) = (micros(word()?)?, word()?);
    let ends = word()?.split(':').next() != Some("P");
    Some(Part { realtime, stream: stream.into(), message: parts.next().unwrap_or_default().into(), ends })
}

fn micros(time: &str) -> Option<u64> {
    u64::try_from(time.parse::<Timestamp>().ok()?.unix_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runtimes_lines_are_read() {
        let said = |line: &str| {
            part(line.as_bytes()).map(|part| (part.realtime, part.stream.to_string(), String::from_utf8_lossy(&part.message).into_owned(), part.ends))
        };
        let of = |message: &str, ends| Some((1_796_094_764_123_456, "stderr".to_owned(), message.to_owned(), ends));
        assert_eq!(said("2026-12-01T03:12:44.123456789Z stderr F slow  fdatasync"), of("slow  fdatasync", true));
        assert_eq!(said("2026-12-01T03:12:44.123456789Z stderr P slow "), of("slow ", false));
        assert_eq!(said("2026-12-01T03:12:44.123456789Z stderr P:x:y slow"), of("slow", false));
        assert_eq!(said("2026-12-01T03:12:44.123456789Z stderr F"), of("", true));
        assert_eq!(said(r#"{"log":"slow \"fdatasync\"\n","stream":"stderr","time":"2026-12-01T03:12:44.123456789Z"}"#), of("slow \"fdatasync\"", true));
        assert_eq!(said(r#"{"log":"slow","stream":"stderr","attrs":{"tag":"x"},"time":"2026-12-01T03:12:44.123456789Z"}"#), of("slow", false));
        for other in [
            "",
            "x",
            "{",
            "{}",
            "{\"log\":1}",
            r#"{"log":"x","stream":"stderr","time":"yesterday"}"#,
            "2026-12-01T03:12:44Z",
            "Dec  1 03:12:44 node1 kernel: x",
        ] {
            assert_eq!(said(other), None, "{other}");
        }
        assert_eq!(part(b"\xff\xfe \xff F x"), None);
    }
}
