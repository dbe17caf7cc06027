//! An entry as `journalctl` shows it: `-o json`, `-o cat`, `-o short`. `-o export` is [`super::export`].

use std::io::Write as _;

use serde_json::{Map, Value};

use super::file::Entry;
use super::format::Fault;
use super::reader::{FIELD_MAX, Reader};
use crate::facts::Timestamp;

/// `JSON_THRESHOLD` of systemd's `src/shared/logs-show.c`: a longer field becomes `null`.
const JSON_MAX: usize = 4096;

/// Appends the entry as one line of JSON: every field as a string; bytes that are no printable text as an array of
/// numbers; a repeated field as an array of its values.
///
/// # Errors
/// None of the entry's own: only if the file is not one of the reader's.
pub fn json(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Fault> {
    let head = &entry.head;
    let seqnum_id = reader.files().get(file).ok_or(Fault::Damaged("no such file"))?.header.seqnum_id;
    let mut object = Map::new();
    for (name, value) in [
        ("__CURSOR", reader.cursor(file, head).to_string()),
        ("__REALTIME_TIMESTAMP", head.realtime.to_string()),
        ("__MONOTONIC_TIMESTAMP", head.monotonic.to_string()),
        ("__SEQNUM", head.seqnum.to_string()),
        ("__SEQNUM_ID", seqnum_id.to_string()),
        ("_BOOT_ID", head.boot_id.to_string()),
    ] {
        object.insert(name.to_owned(), Value::String(value));
    }
    let mut payload = Vec::new();
    // How often each field was there: a field of bytes is an array, too.
    let mut times: Vec<(String, usize)> = Vec::new();
    for offset in &entry.items {
        if reader.data(file, *offset, JSON_MAX + 1, &mut payload).is_err() {
            reader.damaged += 1;
            continue;
        }
        let Some(equals) = payload.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = payload.split_at(equals);
        let name = String::from_utf8_lossy(name).into_owned();
        if name == "_BOOT_ID" {
            continue;
        }
        let value = if payload.len() >= JSON_MAX { Value::Null } else { text_or_bytes(value.get(1..).unwrap_or_default()) };
        let before = times.iter().position(|(other, _)| *other == name).and_then(|at| times.get_mut(at));
        if let (Some((_, times)), Some(values)) = (before, object.get_mut(&name)) {
            if *times == 1 {
                *values = Value::Array(vec![values.take()]);
            }
            *times += 1;
            if let Value::Array(values) = values {
                values.push(value);
            }
        } else {
            object.insert(name.clone(), value);
            times.push((name, 1));
        }
    }
    serde_json::to_writer(&mut *out, &object).map_err(std::io::Error::from)?;
    out.push(b'\n');
    Ok(())
}

fn text_or_bytes(value: &[u8]) -> Value {
    match std::str::from_utf8(value) {
        Ok(text) if is_printable(text) => Value::String(text.to_owned()),
        _ => Value::Array(value.iter().map(|byte| Value::from(*byte)).collect()),
    }
}

/// `utf8_is_printable()` of systemd's `src/basic/utf8.c`: no control but tab and newline.
fn is_printable(text: &str) -> bool {
    text.chars().all(|c| {
        let code = u32::from(c);
        (c >= ' ' || c == '\t' || c == '\n') && !(0x7f..=0x9f).contains(&code) && !(0xfdd0..=0xfdef).contains(&code) && code & 0xfffe != 0xfffe
    })
}

/// Appends MESSAGE and a newline; nothing for an entry without one.
pub fn cat(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) {
    if let Some(message) = first(reader, file, entry, "MESSAGE") {
        out.extend_from_slice(&message);
        out.push(b'\n');
    }
}

/// Appends `Dec 01 03:12:44 node1 kubelet[612]: MESSAGE`, with the time in UTC; nothing for an entry without MESSAGE.
pub fn short(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) {
    let Some(message) = first(reader, file, entry, "MESSAGE") else { return };
    let start = out.len();
    // When the program logged it, rather than when journald wrote it.
    let source = first(reader, file, entry, "_SOURCE_REALTIME_TIMESTAMP").and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
    let _ = write!(out, "{}", Timestamp::from_unix_micros(source.unwrap_or(entry.head.realtime)).map_or_else(String::new, Timestamp::syslog));
    let mut field = |name: &str| first(reader, file, entry, name).filter(|value| std::str::from_utf8(value).is_ok_and(is_printable));
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
    match std::str::from_utf8(&message).map(without_colour).ok().filter(|text| is_printable(text)) {
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

/// The first value of a field, in the order of the entry's fields.
pub(super) fn first(reader: &mut Reader, file: usize, entry: &Entry, name: &str) -> Option<Vec<u8>> {
    let prefix = format!("{name}=").into_bytes();
    let mut value = Vec::new();
    for offset in &entry.items {
        match reader.data_if(file, *offset, &prefix, FIELD_MAX, &mut value) {
            Ok(true) => {
                value.drain(..prefix.len());
                return Some(value);
            }
            Ok(false) => {}
            Err(_) => reader.damaged += 1,
        }
    }
    None
}
