//! Entries as `journalctl -o export`, `-o json` and `-o cat` write them (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>).

use crate::field::{Field, Form, is_plain, printable};
use crate::file::{Entry, EntryHead};
use crate::format::{Fault, Id};
use crate::reader::{FIELD_MAX, Reader};

/// `JSON_THRESHOLD` of systemd's `logs-show.c`: a field so long, with its name, is `null` in JSON.
const JSON_MAX: usize = 4096;

/// No entry is longer in the export format, in bytes: journald takes fields of 64 MiB at most from a program, and one such (a core).
/// A forged one may name the same long field thousands of times.
const ENTRY_MAX: usize = 2 * FIELD_MAX;

/// Appends an entry to `out`. A damaged field, and what is beyond 128 MiB, is left out and counted in [`Reader::damaged`].
///
/// # Errors
/// None of the entry's own: only if the file is not one of the reader's.
pub fn entry(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Fault> {
    let EntryHead { realtime, monotonic, seqnum, boot_id, .. } = entry.head;
    let seqnum_id = seqnum_id(reader, file)?;
    let (seqnum_id, boot_id) = (reader.digits(0, seqnum_id), reader.digits(1, boot_id));
    out.extend_from_slice(b"__CURSOR=");
    reader.cursor(file, &entry.head).write_with(&seqnum_id, &boot_id, out);
    out.extend_from_slice(b"\n__REALTIME_TIMESTAMP=");
    decimal(realtime, out);
    out.extend_from_slice(b"\n__MONOTONIC_TIMESTAMP=");
    decimal(monotonic, out);
    out.extend_from_slice(b"\n__SEQNUM=");
    decimal(seqnum, out);
    out.extend_from_slice(b"\n__SEQNUM_ID=");
    out.extend_from_slice(&seqnum_id);
    out.extend_from_slice(b"\n_BOOT_ID=");
    out.extend_from_slice(&boot_id);
    out.push(b'\n');
    let (mut damaged, start) = (0, out.len());
    for (at, offset) in entry.items.iter().enumerate() {
        if out.len() - start > ENTRY_MAX {
            damaged += (entry.items.len() - at) as u64;
            break;
        }
        if let Some(line) = reader.text(file, *offset) {
            out.extend_from_slice(line);
            continue;
        }
        match reader.field(file, *offset, FIELD_MAX) {
            Ok(Field { line, form: Form::Text, .. }) => out.extend_from_slice(line),
            Ok(field @ Field { form: Form::Binary, .. }) => binary(field, out),
            Ok(Field { form: Form::Boot, .. }) => {}
            Ok(Field { form: Form::Nameless, .. }) | Err(_) => damaged += 1,
        }
    }
    reader.damaged += damaged;
    out.push(b'\n');
    Ok(())
}

fn binary(field: Field<'_>, out: &mut Vec<u8>) {
    let (name, value) = field.split().unwrap_or_default();
    out.extend_from_slice(name);
    out.push(b'\n');
    out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// In decimal, two digits at a time.
fn decimal(number: u64, out: &mut Vec<u8>) {
    let (mut text, mut left, mut length) = ([b'0'; 20], number, 0);
    for pair in text.as_chunks_mut::<2>().0.iter_mut().rev() {
        let two = u8::try_from(left % 100).unwrap_or(0);
        *pair = [b'0' + two / 10, b'0' + two % 10];
        (left, length) = (left / 100, length + 2);
        if left == 0 {
            length -= usize::from(two < 10);
            break;
        }
    }
    out.extend_from_slice(text.get(text.len() - length..).unwrap_or_default());
}

/// Appends an entry to `out` as one line of JSON: a field that occurs twice is an array, one that is no text an array of its
/// bytes, one that is too long `null`. A damaged field is left out and counted in [`Reader::damaged`].
///
/// # Errors
/// None of the entry's own: only if the file is not one of the reader's.
pub fn json(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    // Where each name lies in `out`.
    let mut names: Vec<(usize, usize)> = Vec::with_capacity(entry.items.len() + 6);
    for (name, value) in head(reader, file, &entry.head)? {
        member(name.as_bytes(), value.as_bytes(), &mut names, out);
    }
    let mut damaged = 0;
    for offset in &entry.items {
        let Some((name, value)) = reader.field(file, *offset, JSON_MAX).ok().and_then(|field| field.split()) else {
            damaged += 1;
            continue;
        };
        if name == b"_BOOT_ID" {
            continue;
        }
        if names.iter().any(|(from, to)| out.get(*from..*to) == Some(name)) {
            out.truncate(start);
            return grouped_json(reader, file, entry, out);
        }
        member(name, value, &mut names, out);
    }
    reader.damaged += damaged;
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn member(name: &[u8], value: &[u8], names: &mut Vec<(usize, usize)>, out: &mut Vec<u8>) {
    out.extend_from_slice(if names.is_empty() { b"{\"" } else { b",\"" });
    names.push((out.len(), out.len() + name.len()));
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
    if name.len() + 1 + value.len() < JSON_MAX && is_plain(value) && !value.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
        out.push(b'"');
        out.extend_from_slice(value);
        out.push(b'"');
    } else {
        out.extend_from_slice(&json_value(name, value));
    }
}

/// As [`json`], of an entry that has a field several times.
fn grouped_json(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut fields: Vec<(Vec<u8>, Vec<Vec<u8>>)> = Vec::with_capacity(entry.items.len());
    for (name, value) in head(reader, file, &entry.head)? {
        fields.push((name.as_bytes().to_vec(), vec![json_value(name.as_bytes(), value.as_bytes())]));
    }
    for offset in &entry.items {
        let Some((name, value)) = reader.field(file, *offset, JSON_MAX).ok().and_then(|field| field.split()) else {
            reader.damaged += 1;
            continue;
        };
        let value = json_value(name, value);
        match fields.iter_mut().find(|(other, _)| other == name) {
            // The boot stands in the head already.
            Some(_) if name == b"_BOOT_ID" => {}
            Some((_, values)) => values.push(value),
            None => fields.push((name.to_vec(), vec![value])),
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
    } else if let Some(text) = std::str::from_utf8(value).ok().filter(|_| printable(value, true)) {
        serde_json::to_vec(text).unwrap_or_default()
    } else {
        serde_json::to_vec(value).unwrap_or_default()
    }
}

/// Appends the entry's message and a newline to `out`; nothing, if it has none.
pub fn cat(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) {
    for offset in &entry.items {
        match reader.field(file, *offset, FIELD_MAX) {
            Ok(field) => {
                if let Some((b"MESSAGE", value)) = field.split() {
                    out.extend_from_slice(value);
                    out.push(b'\n');
                    return;
                }
            }
            Err(_) => reader.damaged += 1,
        }
    }
}

fn seqnum_id(reader: &Reader, file: usize) -> Result<Id, Fault> {
    reader.files().get(file).map(|file| file.header.seqnum_id).ok_or(Fault::Damaged("no such file"))
}

/// What stands before an entry's fields.
fn head(reader: &Reader, file: usize, head: &EntryHead) -> Result<[(&'static str, String); 6], Fault> {
    Ok([
        ("__CURSOR", reader.cursor(file, head).to_string()),
        ("__REALTIME_TIMESTAMP", head.realtime.to_string()),
        ("__MONOTONIC_TIMESTAMP", head.monotonic.to_string()),
        ("__SEQNUM", head.seqnum.to_string()),
        ("__SEQNUM_ID", seqnum_id(reader, file)?.to_string()),
        ("_BOOT_ID", head.boot_id.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_formatter_writes_them() {
        for number in [0, 7, 10, 99, 100, 12_345, 1_790_000_000_000_000, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            decimal(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
