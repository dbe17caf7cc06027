//! The Journal File Format (<https://systemd.io/JOURNAL_FILE_FORMAT/>): numbers and the header.

use std::fmt;
use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub const SIGNATURE: &[u8; 8] = b"LPKSHHRH";
/// systemd before 187 wrote no shorter header; all of them have these bytes.
pub const HEADER_MIN: u64 = 208;
/// What we read of the header; systemd 254 and later write so much.
pub const HEADER_READ: usize = 272;

pub const COMPRESSED_XZ: u32 = 1 << 0;
pub const COMPRESSED_LZ4: u32 = 1 << 1;
pub const KEYED_HASH: u32 = 1 << 2;
pub const COMPRESSED_ZSTD: u32 = 1 << 3;
pub const COMPACT: u32 = 1 << 4;
const KNOWN: u32 = COMPRESSED_XZ | COMPRESSED_LZ4 | KEYED_HASH | COMPRESSED_ZSTD | COMPACT;
/// `HEADER_COMPATIBLE_SEALED`: tags are interspersed; what is logged reads the same.
pub const SEALED: u32 = 1 << 0;

pub const OBJECT_XZ: u8 = 1 << 0;
pub const OBJECT_LZ4: u8 = 1 << 1;
pub const OBJECT_ZSTD: u8 = 1 << 2;

/// Bytes before every object's own fields: type, flags, 6 reserved, size.
pub const OBJECT_HEADER: u64 = 16;
/// The largest object taken for real: journald stores no field beyond 768 MiB (`DATA_SIZE_MAX`).
pub const OBJECT_MAX: u64 = 768 << 20;

/// The kinds of objects, by their number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Data = 1,
    Field = 2,
    Entry = 3,
    EntryArray = 6,
}

/// What keeps a file, or one object in it, from being read.
#[derive(Debug)]
pub enum Fault {
    Io(io::Error),
    /// The bytes contradict the format.
    Damaged(&'static str),
    /// A valid file of a later systemd, with features that change how it must be read.
    Unsupported(String),
    /// journald has only begun to write it; try again.
    Incomplete,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Damaged(what) => write!(f, "damaged: {what}"),
            Self::Unsupported(what) => f.write_str(what),
            Self::Incomplete => f.write_str("not completely written yet"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A 128-bit id, written as systemd does: 32 hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// From 32 hex digits, or a UUID with dashes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> =
            text.bytes().filter(|byte| *byte != b'-').map(|byte| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
        let (pairs, rest) = digits.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        rest.is_empty().then(|| bytes.try_into().ok().map(Self)).flatten()
    }
}

impl Id {
    /// The 32 hex digits.
    pub(crate) fn digits(self) -> [u8; 32] {
        let mut text = [b'0'; 32];
        for (digits, bytes) in text.as_chunks_mut::<8>().0.iter_mut().zip(self.0.as_chunks::<4>().0) {
            *digits = hex_digits(u32::from_be_bytes(*bytes));
        }
        text
    }
}

/// The 8 hex digits of a number, all at once.
pub(crate) fn hex_digits(number: u32) -> [u8; 8] {
    let spread = u64::from(number);
    let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 in every byte of 10 to 15, which are letters.
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - 10 - b'0')).to_be_bytes()
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("expected 32 hex digits"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

pub(crate) fn id_at(bytes: &[u8], at: usize) -> Option<Id> {
    Some(Id(bytes.get(at..at.checked_add(16)?)?.try_into().ok()?))
}

/// The file's state, by journald's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Closed in order.
    Offline,
    /// journald writes to it (or was killed while it did).
    Online,
    /// Rotated: nothing is added any more.
    Archived,
}

/// What the header tells, once it has been found to make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub compatible: u32,
    pub incompatible: u32,
    pub state: State,
    pub file_id: Id,
    pub machine_id: Id,
    pub seqnum_id: Id,
    pub header_size: u64,
    pub arena_size: u64,
    pub data_hash_table_offset: u64,
    pub data_hash_table_size: u64,
    pub field_hash_table_offset: u64,
    pub field_hash_table_size: u64,
    pub tail_object_offset: u64,
    pub n_entries: u64,
    pub tail_entry_seqnum: u64,
    pub head_entry_seqnum: u64,
    pub entry_array_offset: u64,
    pub head_entry_realtime: u64,
    pub tail_entry_realtime: u64,
}

impl Header {
    /// Reads the first bytes of a file.
    ///
    /// # Errors
    /// If this is no journal file, or one that must not be read without knowing more.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.is_empty() {
            return Err(Fault::Incomplete);
        }
        if bytes.get(..8) != Some(SIGNATURE) {
            // journald sizes a new file before it writes the signature.
            return Err(if bytes.iter().all(|byte| *byte == 0) { Fault::Incomplete } else { Fault::Damaged("not a journal file") });
        }
        let incompatible = u32_at(bytes, 12).ok_or(Fault::Damaged("header cut short"))?;
        if incompatible & !KNOWN != 0 {
            return Err(Fault::Unsupported(format!(
                "written by a later systemd with features this version cannot read (incompatible flags {:#x})",
                incompatible & !KNOWN
            )));
        }
        let header = Self::fields(bytes).ok_or(Fault::Damaged("header cut short"))?;
        header.plausible()?;
        Ok(header)
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let number = |at| u64_at(bytes, at);
        Some(Self {
            compatible: u32_at(bytes, 8)?,
            incompatible: u32_at(bytes, 12)?,
            state: match bytes.get(16)? {
                0 => State::Offline,
                1 => State::Online,
                _ => State::Archived,
            },
            file_id: id_at(bytes, 24)?,
            machine_id: id_at(bytes, 40)?,
            seqnum_id: id_at(bytes, 72)?,
            header_size: number(88)?,
            arena_size: number(96)?,
            data_hash_table_offset: number(104)?,
            data_hash_table_size: number(112)?,
            field_hash_table_offset: number(120)?,
            field_hash_table_size: number(128)?,
            tail_object_offset: number(136)?,
            n_entries: number(152)?,
            tail_entry_seqnum: number(160)?,
            head_entry_seqnum: number(168)?,
            entry_array_offset: number(176)?,
            head_entry_realtime: number(184)?,
            tail_entry_realtime: number(192)?,
        })
    }

    fn plausible(&self) -> Result<(), Fault> {
        if self.header_size < HEADER_MIN {
            return Err(if self.header_size == 0 { Fault::Incomplete } else { Fault::Damaged("header too small") });
        }
        if self.data_hash_table_size == 0 || self.data_hash_table_offset == 0 {
            return Err(Fault::Incomplete);
        }
        Ok(())
    }

    #[must_use]
    pub fn is_compact(&self) -> bool {
        self.incompatible & COMPACT != 0
    }

    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.compatible & SEALED != 0
    }

    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.incompatible & KEYED_HASH != 0
    }
}
