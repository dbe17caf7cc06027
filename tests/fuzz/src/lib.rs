//! The reader alone, which is built in seconds where the package takes minutes; and a small journal, written as journald
//! writes one: what the targets damage.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;

use crate::journal::export;
use crate::journal::file::{Direction, Entry};
use crate::journal::hash::{jenkins, siphash24};
use crate::journal::reader::{Filter, Place, Reader};
use nix::sys::memfd::{MFdFlags, memfd_create};

pub use nodetriage_journal as journal;

const HEADER: usize = 272;
const DATA_BUCKETS: usize = 5;
const FIELD_BUCKETS: usize = 3;
const FILE_ID: [u8; 16] = *b"file id of seeds";
const BOOT: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

/// How fields are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Xz,
    Lz4,
    Zstd,
}

/// A journal under construction.
#[derive(Debug)]
pub struct Journal {
    bytes: Vec<u8>,
    compact: bool,
    keyed: bool,
    packing: Packing,
    /// Where each object begins.
    pub objects: Vec<usize>,
    entries: u64,
    /// The last array of all entries, and how many of its items are used.
    array: (usize, usize),
}

impl Journal {
    #[must_use]
    pub fn new(compact: bool, keyed: bool, packing: Packing) -> Self {
        let mut journal = Self { bytes: vec![0; HEADER], compact, keyed, packing, objects: Vec::new(), entries: 0, array: (0, 0) };
        let data = journal.object(4, 0, &[0; DATA_BUCKETS * 16]);
        let field = journal.object(5, 0, &[0; FIELD_BUCKETS * 16]);
        let packed = match packing {
            Packing::None => 0,
            Packing::Xz => 1,
            Packing::Lz4 => 2,
            Packing::Zstd => 8,
        };
        journal.bytes[..8].copy_from_slice(b"LPKSHHRH");
        journal.bytes[12] = packed | u8::from(keyed) << 2 | u8::from(compact) << 4;
        journal.bytes[16] = 1;
        journal.bytes[24..40].copy_from_slice(&FILE_ID);
        journal.bytes[40..56].copy_from_slice(&[0x7f; 16]);
        journal.bytes[56..72].copy_from_slice(&[0x0a; 16]);
        journal.bytes[72..88].copy_from_slice(b"sequence numbers");
        journal.put(88, HEADER as u64);
        journal.put(104, data as u64 + 16);
        journal.put(112, DATA_BUCKETS as u64 * 16);
        journal.put(120, field as u64 + 16);
        journal.put(128, FIELD_BUCKETS as u64 * 16);
        journal
    }

    /// A journal with `count` entries of a kubelet, the kernel and systemd.
    #[must_use]
    pub fn sample(compact: bool, keyed: bool, packing: Packing, count: u64) -> Self {
        let mut journal = Self::new(compact, keyed, packing);
        for n in 0..count {
            journal.line(n);
        }
        journal
    }

    /// Adds an entry like those of a node.
    pub fn line(&mut self, n: u64) {
        let boot = format!("_BOOT_ID={BOOT}");
        match n % 4 {
            0 => self.entry(&[&boot, "_TRANSPORT=kernel", "PRIORITY=3", &format!("MESSAGE=eth0: link up {n}")]),
            1 => self.entry(&[&boot, "_PID=1", "UNIT=kubelet.service", "MESSAGE=Started kubelet.service.", "TAG=a", "TAG=b"]),
            _ => self.entry(&[&boot, "_SYSTEMD_UNIT=kubelet.service", &format!("_PID={}", n / 8), &format!("MESSAGE=E1124 {n} {}", "pod ".repeat(40))]),
        }
    }

    pub fn entry(&mut self, fields: &[&str]) {
        let mut items: Vec<usize> = fields.iter().map(|field| self.data(field.as_bytes())).collect();
        items.sort_unstable();
        let n = self.entries + 1;
        let mut body = Vec::new();
        for number in [n, 1_790_000_000_000_000 + n * 1000, 5_000_000 + n * 1000] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&[0x0a; 16]);
        body.extend_from_slice(&fields.iter().fold(0, |sum, field| sum ^ jenkins(field.as_bytes())).to_le_bytes());
        for item in &items {
            if self.compact {
                body.extend_from_slice(&u32::try_from(*item).unwrap().to_le_bytes());
            } else {
                body.extend_from_slice(&(*item as u64).to_le_bytes());
                body.extend_from_slice(&self.get(item + 16).to_le_bytes());
            }
        }
        let offset = self.object(3, 0, &body);
        self.entries = n;
        self.list(offset);
        for item in items {
            self.link(item, offset);
        }
        self.put(152, n);
        self.put(160, n);
        self.put(168, 1);
        if n == 1 {
            self.put(184, 1_790_000_000_001_000);
        }
        self.put(192, 1_790_000_000_000_000 + n * 1000);
        self.put(200, 5_000_000 + n * 1000);
    }

    /// Adds an entry to the chain of all.
    fn list(&mut self, offset: usize) {
        const ROOM: usize = 3;
        let (array, used) = self.array;
        if array == 0 || used == ROOM {
            let next = self.array_of(ROOM);
            self.put(if array == 0 { 176 } else { array + 16 }, next as u64);
            self.array = (next, 0);
        }
        let (array, used) = self.array;
        self.item(array, used, offset);
        self.array.1 += 1;
    }

    fn array_of(&mut self, room: usize) -> usize {
        self.object(6, 0, &vec![0; 8 + room * if self.compact { 4 } else { 8 }])
    }

    fn item(&mut self, array: usize, at: usize, offset: usize) {
        if self.compact {
            let place = array + 24 + at * 4;
            self.bytes[place..place + 4].copy_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
        } else {
            self.put(array + 24 + at * 8, offset as u64);
        }
    }

    /// Adds an entry to those of a DATA object: the first in itself, the others in arrays of two.
    fn link(&mut self, data: usize, entry: usize) {
        let count = self.get(data + 56);
        self.put(data + 56, count + 1);
        if count == 0 {
            return self.put(data + 40, entry as u64);
        }
        let at = usize::try_from(count - 1).unwrap();
        let mut place = data + 48;
        for _ in 0..at / 2 {
            place = usize::try_from(self.get(place)).unwrap() + 16;
        }
        if at.is_multiple_of(2) {
            let array = self.array_of(2);
            self.put(place, array as u64);
        }
        let array = usize::try_from(self.get(place)).unwrap();
        self.item(array, at % 2, entry);
    }

    /// The DATA object of a field, made if it is new.
    fn data(&mut self, payload: &[u8]) -> usize {
        let hash = self.hash(payload);
        let bucket = usize::try_from(self.get(104)).unwrap() + usize::try_from(hash % DATA_BUCKETS as u64).unwrap() * 16;
        let mut at = usize::try_from(self.get(bucket)).unwrap();
        while at != 0 {
            if self.get(at + 16) == hash {
                return at;
            }
            at = usize::try_from(self.get(at + 24)).unwrap();
        }
        let (flags, packed) = self.pack(payload);
        let mut body = vec![0; if self.compact { 56 } else { 48 }];
        body[..8].copy_from_slice(&hash.to_le_bytes());
        body.extend_from_slice(&packed);
        let offset = self.object(1, flags, &body);
        self.chain(bucket, offset);
        let name = payload.split(|byte| *byte == b'=').next().unwrap();
        let field = self.field(name);
        let head = self.get(field + 32);
        self.put(offset + 32, head);
        self.put(field + 32, offset as u64);
        offset
    }

    fn field(&mut self, name: &[u8]) -> usize {
        let hash = self.hash(name);
        let bucket = usize::try_from(self.get(120)).unwrap() + usize::try_from(hash % FIELD_BUCKETS as u64).unwrap() * 16;
        let mut at = usize::try_from(self.get(bucket)).unwrap();
        while at != 0 {
            if self.get(at + 16) == hash {
                return at;
            }
            at = usize::try_from(self.get(at + 24)).unwrap();
        }
        let mut body = vec![0; 24];
        body[..8].copy_from_slice(&hash.to_le_bytes());
        body.extend_from_slice(name);
        let offset = self.object(2, 0, &body);
        self.chain(bucket, offset);
        offset
    }

    /// Hangs an object into its bucket of a hash table.
    fn chain(&mut self, bucket: usize, offset: usize) {
        let tail = usize::try_from(self.get(bucket + 8)).unwrap();
        self.put(if tail == 0 { bucket } else { tail + 24 }, offset as u64);
        self.put(bucket + 8, offset as u64);
    }

    fn pack(&self, payload: &[u8]) -> (u8, Vec<u8>) {
        if payload.len() < 64 {
            return (0, payload.to_vec());
        }
        match self.packing {
            Packing::None => (0, payload.to_vec()),
            Packing::Xz => {
                let mut out = Vec::new();
                lzma_rs::xz_compress(&mut &payload[..], &mut out).unwrap();
                (1, out)
            }
            Packing::Lz4 => {
                let mut out = (payload.len() as u64).to_le_bytes().to_vec();
                out.extend_from_slice(&lz4_flex::block::compress(payload));
                (2, out)
            }
            Packing::Zstd => (4, ruzstd::encoding::compress_to_vec(payload, ruzstd::encoding::CompressionLevel::Fastest)),
        }
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        if self.keyed { siphash24(bytes, &FILE_ID) } else { jenkins(bytes) }
    }

    fn object(&mut self, kind: u8, flags: u8, body: &[u8]) -> usize {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 0, 0, 0]);
        self.bytes.extend_from_slice(&(body.len() as u64 + 16).to_le_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.objects.push(offset);
        self.put(96, (self.bytes.len() - HEADER) as u64);
        self.put(136, offset as u64);
        let count = self.get(144);
        self.put(144, count + 1);
        offset
    }

    fn get(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn put(&mut self, at: usize, number: u64) {
        self.bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A file in memory with these bytes.
///
/// # Panics
/// Without memory.
#[must_use]
pub fn file(bytes: &[u8]) -> File {
    let fd: OwnedFd = memfd_create(c"journal", MFdFlags::MFD_CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// The variant that a byte chooses: compact, keyed, and how it is packed.
#[must_use]
pub fn variant(choice: u8) -> (bool, bool, Packing) {
    let packing = [Packing::None, Packing::Xz, Packing::Lz4, Packing::Zstd][usize::from(choice >> 2 & 3)];
    (choice & 1 != 0, choice & 2 != 0, packing)
}

/// Reads a file in every way there is; how many entries it has. What comes out may be anything, but not more than the file
/// can hold, and in order.
pub fn read(file: File) -> u64 {
    let size = file.metadata().unwrap().len();
    let mut reader = Reader::default();
    if reader.add(file, "fuzz.journal".to_owned()).is_err() {
        return 0;
    }
    let mut entries = 0;
    let field = |text: &str| Filter::Field(text.as_bytes().to_vec());
    let kubelet = Filter::Or(vec![field("_SYSTEMD_UNIT=kubelet.service"), Filter::And(vec![field("UNIT=kubelet.service"), field("_PID=1")])]);
    let filters = [Filter::All, field("_TRANSPORT=kernel"), Filter::And(vec![field(&format!("_BOOT_ID={BOOT}")), kubelet])];
    let mut places = Vec::new();
    for filter in &filters {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut walk = reader.walk(filter, direction);
            let (mut count, mut last) = (0, None);
            while let Some(file) = walk.next(&mut reader) {
                let head = walk.entry.head;
                let ordered = last.is_none_or(|last| (head.offset > last) == (direction == Direction::Forward) && head.offset != last);
                assert!(ordered, "{last:?} and then {}", head.offset);
                last = Some(head.offset);
                if count < 4 {
                    let mut out = Vec::new();
                    export::entry(&mut reader, file, &walk.entry, &mut out).unwrap();
                    assert!(out.len() < 200 << 20);
                    out.clear();
                    export::json(&mut reader, file, &walk.entry, &mut out).unwrap();
                    assert!(out.starts_with(b"{\"__CURSOR\":\"") && out.ends_with(b"}\n"));
                    let json = std::str::from_utf8(&out).map(serde_json::from_str::<serde::de::IgnoredAny>);
                    assert!(matches!(json, Ok(Ok(_))), "no JSON: {}", String::from_utf8_lossy(&out));
                    export::cat(&mut reader, file, &walk.entry, &mut out);
                    places.push(reader.cursor(file, &head));
                }
                let mut message = Vec::new();
                let _ = reader.value(file, &walk.entry, b"MESSAGE=", 256, &mut message);
                assert!(message.len() <= 256);
                count += 1;
                assert!(count <= size / 16, "more entries than there is room for");
                entries += u64::from(*filter == Filter::All && direction == Direction::Forward);
            }
        }
    }
    for filter in &filters {
        let tail = reader.tail(filter, 5);
        assert!(tail.len() <= 5 && tail.is_sorted(), "{tail:?}");
        for (file, offset) in tail {
            let mut entry = Entry::default();
            if reader.entry(file, offset, &mut entry).is_ok() {
                let _ = reader.first(file, &entry, b"MESSAGE=", 256, &mut Vec::new());
            }
        }
    }
    let boots = reader.boots();
    let boots = boots.iter().take(4).map(|boot| Place::Monotonic(boot.id, 5_000_000));
    let cursors = places.iter().take(8).flat_map(|cursor| [Place::Cursor(*cursor), Place::Realtime(cursor.realtime)]);
    for place in boots.chain(cursors) {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut walk = reader.walk(&filters[2], direction);
            walk.seek(&mut reader, &place);
            let _ = walk.next(&mut reader);
        }
    }
    entries
}

/// What a target begins with: writes it into the directory that `SEEDS` names.
///
/// # Panics
/// If it cannot.
pub fn seed(target: &str) {
    let Some(directory) = std::env::var_os("SEEDS") else { return };
    let write = |of: &str, name: String, bytes: &[u8]| {
        if of == target {
            std::fs::write(std::path::Path::new(&directory).join(name), bytes).expect("a file");
        }
    };
    for (number, packing) in [Packing::None, Packing::Xz, Packing::Lz4, Packing::Zstd].into_iter().enumerate() {
        for (compact, keyed) in [(false, false), (false, true), (true, false), (true, true)] {
            let variant = format!("compact{}-keyed{}-{packing:?}", u8::from(compact), u8::from(keyed));
            let journal = Journal::sample(compact, keyed, packing, 12);
            assert_eq!(read(file(journal.bytes())), 12, "{variant}: the seed itself is read whole");
            write("file", variant.clone(), journal.bytes());
            // The variant, the object, and what stands there.
            let choice = u8::from(compact) | u8::from(keyed) << 1 | u8::try_from(number).expect("four") << 2;
            for (at, offset) in journal.objects.iter().enumerate().step_by(5) {
                let end = journal.objects.get(at + 1).copied().unwrap_or(journal.bytes().len());
                let object = &journal.bytes()[*offset..end];
                write("object", format!("{variant}-{at}"), &[&[choice, u8::try_from(at).expect("few")], object].concat());
            }
            write("follow", variant, &[choice, 0, 4, 1, 0, 9, 2, 3, 200, 1, 0, 3, 1, 3, 9, 0, 2, 6, 6, 6]);
        }
    }
}
