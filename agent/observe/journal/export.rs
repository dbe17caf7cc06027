//! Entries as `journalctl -o export`, `-o json` and `-o cat` write them (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>).

use std::io::Write as _;

use super::file::{Entry, EntryHead};
use super::format::{Fault, Id};
use super::reader::{FIELD_MAX, Reader};

/// `JSON_THRESHOLD` of systemd's `logs-show.c`: a field so long, with its name, is `null` in JSON.
const JSON_MAX: usize = 4096;
/// The longest name of a field (`journal_field_valid()` of `journal-file.c`).
const NAME_MAX: usize = 64;

/// Appends an entry to `out`. A damaged field is left out and counted in [`Reader::damaged`].
///
/// # Errors
/// None of the entry's own: only if the file is not one of the reader's.
pub fn entry(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Fault> {
    for (name, value) in head(reader, file, &entry.head)? {
        writeln!(out, "{name}={value}")?;
    }
    let mut payload = Vec::new();
    for offset in &entry.items {
        if reader.data(file, *offset, FIELD_MAX, &mut payload).is_err() {
            reader.damaged += 1;
        } else if !payload.starts_with(b"_BOOT_ID=") {
            match split(&payload) {
                Some((name, value)) => field(&payload, name, value, out),
                None => reader.damaged += 1,
            }
        }
    }
    out.push(b'\n');
    Ok(())
}

fn field(payload: &[u8], name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    if is_printable(payload, false) {
        out.extend_from_slice(payload);
    } else {
        out.extend_from_slice(name);
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        out.extend_from_slice(value);
    }
    out.push(b'\n');
}

/// Appends an entry to `out` as one line of JSON: a field that occurs twice is an array, one that is no text an array of its
/// bytes, one that is too long `null`. A damaged field is left out and counted in [`Reader::damaged`].
///
/// # Errors
/// None of the entry's own: only if the file is not one of the reader's.
pub fn json(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut fields: Vec<(Vec<u8>, Vec<Vec<u8>>)> = Vec::with_capacity(entry.items.len());
    for (name, value) in head(reader, file, &entry.head)? {
        fields.push((name.as_bytes().to_vec(), vec![json_value(name.as_bytes(), value.as_bytes())]));
    }
    let mut payload = Vec::new();
    for offset in &entry.items {
        if reader.data(file, *offset, JSON_MAX, &mut payload).is_err() {
            reader.damaged += 1;
        } else if !payload.starts_with(b"_BOOT_ID=") {
            let Some((name, value)) = split(&payload) else {
                reader.damaged += 1;
                continue;
            };
            let value = json_value(name, value);
            match fields.iter_mut().find(|(other, _)| other == name) {
                Some((_, values)) => values.push(value),
                None => fields.push((name.to_vec(), vec![value])),
            }
        }
    }
    for (at, (name, values)) in fields.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(name);
        out.extend_from_slice(b"\":");
        match values.as_slice() {
            [one] => out.extend_from_slice(one),
            several => {
                out.push(b'[');
                out.extend_from_slice(&several.join(&b','));
                out.push(b']');
            }
        }
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn json_value(name: &[u8], value: &[u8]) -> Vec<u8> {
    if name.len() + 1 + value.len() >= JSON_MAX {
        b"null".to_vec()
    } else if let Some(text) = std::str::from_utf8(value).ok().filter(|_| is_printable(value, true)) {
        serde_json::to_vec(text).unwrap_or_default()
    } else {
        serde_json::to_vec(value).unwrap_or_default()
    }
}

/// Appends the entry's message and a newline to `out`; nothing, if it has none.
pub fn cat(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    if reader.first(file, entry, b"MESSAGE=", FIELD_MAX, &mut payload) {
        out.append(&mut payload);
        out.push(b'\n');
    }
}

/// What stands before an entry's fields.
fn head(reader: &Reader, file: usize, head: &EntryHead) -> Result<[(&'static str, String); 6], Fault> {
    let seqnum_id: Id = reader.files().get(file).ok_or(Fault::Damaged("no such file"))?.header.seqnum_id;
    Ok([
        ("__CURSOR", reader.cursor(file, head).to_string()),
        ("__REALTIME_TIMESTAMP", head.realtime.to_string()),
        ("__MONOTONIC_TIMESTAMP", head.monotonic.to_string()),
        ("__SEQNUM", head.seqnum.to_string()),
        ("__SEQNUM_ID", seqnum_id.to_string()),
        ("_BOOT_ID", head.boot_id.to_string()),
    ])
}

/// Name and value, if the name is one that a field can have (`journal_field_valid()` of systemd's `journal-file.c`):
/// anything else is damage.
fn split(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = payload.iter().take(NAME_MAX + 1).position(|byte| *byte == b'=')?;
    let (name, value) = payload.split_at(equals);
    let valid = name.first().is_some_and(|first| !first.is_ascii_digit())
        && name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    Some((name, value.get(1..)?)).filter(|_| valid)
}

/// `utf8_is_printable_newline()` of systemd's `src/basic/utf8.c`: valid characters, no control but the tab and, where it is
/// allowed, the newline.
pub(super) fn is_printable(bytes: &[u8], newline: bool) -> bool {
    // Without a way out of the loop, so that it is done for many bytes at once.
    if bytes.iter().fold(true, |plain, byte| plain & (byte.wrapping_sub(b' ') < 0x5f || *byte == b'\t')) {
        return true;
    }
    let plain = |c: char| {
        let code = u32::from(c);
        let control = c < ' ' && c != '\t' && !(newline && c == '\n') || (0x7f..=0x9f).contains(&code);
        !(control || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe)
    };
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(plain))
}
