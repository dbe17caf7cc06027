//! The Journal Export Format (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>), as `journalctl -o export` writes it.

use std::io::Write as _;

use super::file::{Entry, EntryHead};
use super::format::Fault;
use super::reader::{FIELD_MAX, Reader};

/// Appends an entry to `out`. A damaged field is left out and counted in [`Reader::damaged`].
///
/// # Errors
/// None of the entry's own: only if the file is not one of the reader's.
pub fn entry(reader: &mut Reader, file: usize, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Fault> {
    let head = &entry.head;
    let seqnum_id = reader.files().get(file).ok_or(Fault::Damaged("no such file"))?.header.seqnum_id;
    let cursor = reader.cursor(file, head);
    let EntryHead { realtime, monotonic, seqnum, boot_id, .. } = head;
    write!(
        out,
        "__CURSOR={cursor}\n__REALTIME_TIMESTAMP={realtime}\n__MONOTONIC_TIMESTAMP={monotonic}\n__SEQNUM={seqnum}\n__SEQNUM_ID={seqnum_id}\n_BOOT_ID={boot_id}\n"
    )?;
    let mut payload = Vec::new();
    for offset in &entry.items {
        if reader.data(file, *offset, FIELD_MAX, &mut payload).is_err() {
            reader.damaged += 1;
        } else if !payload.starts_with(b"_BOOT_ID=") {
            field(&payload, out);
        }
    }
    out.push(b'\n');
    Ok(())
}

fn field(payload: &[u8], out: &mut Vec<u8>) {
    if is_printable(payload) {
        out.extend_from_slice(payload);
        out.push(b'\n');
    } else if let Some(equals) = payload.iter().position(|byte| *byte == b'=') {
        let (name, value) = payload.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        out.extend_from_slice(name);
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        out.extend_from_slice(value);
        out.push(b'\n');
    }
}

/// `utf8_is_printable_newline(…, false)` of systemd's `src/basic/utf8.c`: valid characters, no control but the tab, no newline.
fn is_printable(bytes: &[u8]) -> bool {
    // Without a way out of the loop, so that it is done for many bytes at once.
    if bytes.iter().fold(true, |plain, byte| plain & (byte.wrapping_sub(b' ') < 0x5f || *byte == b'\t')) {
        return true;
    }
    let plain = |c: char| {
        let code = u32::from(c);
        !(c < ' ' && c != '\t' || (0x7f..=0x9f).contains(&code) || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe)
    };
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(plain))
}
