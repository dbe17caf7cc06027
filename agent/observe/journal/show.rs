//! An entry as `journalctl -o short` shows it.

use std::io::Write as _;

use super::field::printable;
use super::file::Entry;
use super::reader::{FIELD_MAX, Reader};
use crate::facts::Timestamp;

/// Appends `Dec 01 03:12:44 node1 kubelet[612]: MESSAGE`, with the time in UTC; nothing for an entry without MESSAGE.
pub fn short(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) {
    let Some(message) = first(reader, file, entry, "MESSAGE") else { return };
    let start = out.len();
    // When the program logged it, rather than when journald wrote it.
    let source = first(reader, file, entry, "_SOURCE_REALTIME_TIMESTAMP").and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
    let _ = write!(out, "{}", Timestamp::from_unix_micros(source.unwrap_or(entry.head.realtime)).map_or_else(String::new, Timestamp::syslog));
    let mut field = |name: &str| first(reader, file, entry, name).filter(|value| printable(value, true));
    if let Some(host) = field("_HOSTNAME") {
        out.push(b' ');
        out.extend_from_slice(&host);
    }
    let name = field("SYSLOG_IDENTIFIER").or_else(|| field("_COMM"));
    out.push(b' ');
    out.extend_from_slice(name.as_deref().unwrap_or(b"unknown"));
    if let Some(pid) = field("_PID").or_else(|| field("SYSLOG_PID")) {
        out.push(b'[');
        out.extend_from_slice(&pid);
        out.push(b']');
    }
    out.extend_from_slice(b": ");
    match std::str::from_utf8(&message).map(without_colour).ok().filter(|text| printable(text.as_bytes(), true)) {
        Some(text) => {
            let indent = out.len() - start;
            for (at, line) in text.trim_end().split('\n').enumerate() {
                if at > 0 {
                    out.push(b'\n');
                    out.extend(std::iter::repeat_n(b' ', indent));
                }
                out.extend_from_slice(line.trim_end_matches('\r').as_bytes());
            }
        }
        None => drop(write!(out, "[{}B blob data]", message.len())),
    }
    out.push(b'\n');
}

/// `strip_tab_ansi()` of systemd's `src/basic/string-util.c`: no colours, no terminal titles, tabs as eight spaces.
fn without_colour(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        let csi = after.strip_prefix('[').map(|after| after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';' || c == ':'));
        let osc = after.strip_prefix(']').and_then(|after| Some(after.split_once('\x07')?.1));
        let stripped = csi.and_then(|after| after.strip_prefix('m')).or(osc);
        if stripped.is_none() {
            out.push('\x1b');
        }
        rest = stripped.unwrap_or(after);
    }
    out.push_str(rest);
    out.replace('\t', "        ")
}

/// The first value of a field.
pub(super) fn first(reader: &mut Reader, file: usize, entry: &Entry, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    reader.first(file, entry, format!("{name}=").as_bytes(), FIELD_MAX, &mut value).then_some(value)
}
