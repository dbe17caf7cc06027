//! One journal file: objects, hash tables, and the chains of entry arrays.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use crate::cache::{Cache, Handle, read_at};
use crate::compress::Decompressor;
use crate::format::{Fault, HEADER_READ, Header, Id, Kind, OBJECT_HEADER, OBJECT_LZ4, OBJECT_MAX, OBJECT_XZ, OBJECT_ZSTD, id_at, u32_at, u64_at};
use crate::hash::{jenkins, siphash24};

/// Objects looked at in one bucket of a hash table; journald rotates a file whose chains grow beyond 100.
const BUCKET_MAX: usize = 16_384;
/// Arrays in one chain: journald doubles them, so that 60 hold more than any file can.
const ARRAYS_MAX: usize = 4096;
/// The largest entry taken for real: 1,024 fields are journald's own limit (`ENTRY_FIELD_COUNT_MAX`).
const ENTRY_MAX: u64 = 48 << 10;
/// Where an entry's list of fields begins.
const ENTRY_ITEMS: u64 = 64;
/// Compressed bytes of one field that are read.
const PACKED_MAX: u64 = 64 << 20;
/// Zstandard's largest block and its header, twice.
const ZSTD_BLOCKS: u64 = 260 << 10;
/// Where a FIELD object's name begins.
const FIELD_NAME: u64 = 40;
/// Where an array's items begin.
const ARRAY_ITEMS: u64 = 24;

/// An open journal file.
#[derive(Debug)]
pub struct JournalFile {
    /// As the node names it.
    pub path: String,
    pub header: Header,
    handle: Handle,
    size: u64,
}

/// An object's header, found plausible.
#[derive(Clone, Copy, Debug)]
struct Object {
    flags: u8,
    size: u64,
}

/// What an entry says besides its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryHead {
    pub offset: u64,
    pub seqnum: u64,
    /// Microseconds since 1970.
    pub realtime: u64,
    /// Microseconds since boot.
    pub monotonic: u64,
    pub boot_id: Id,
    pub xor_hash: u64,
    /// Bytes of its list of fields.
    items: u32,
}

/// An entry: its head, and where its fields lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub head: EntryHead,
    /// Offsets of DATA objects, ascending.
    pub items: Vec<u64>,
}

impl JournalFile {
    /// Takes an open file for a journal.
    ///
    /// # Errors
    /// If it is none, or must not be read.
    pub fn new(file: File, path: String, key: u32) -> Result<Self, Fault> {
        let mut handle = Handle::new(file, key);
        let (header, size) = read_header(&handle)?;
        handle.settle(header.tail_object_offset);
        Ok(Self { path, header, handle, size })
    }

    /// Reads the header again. True if there are more entries or another state than before.
    ///
    /// # Errors
    /// The file cannot be read any more, or was overwritten by something else.
    pub fn refresh(&mut self) -> Result<bool, Fault> {
        let (header, size) = read_header(&self.handle)?;
        if header.file_id != self.header.file_id {
            return Err(Fault::Damaged("another file's header stands in its place"));
        }
        let changed = header.n_entries != self.header.n_entries || header.state != self.header.state;
        if size != self.size || header.tail_object_offset != self.header.tail_object_offset || changed {
            self.handle.grown(header.tail_object_offset);
        }
        (self.header, self.size) = (header, size);
        Ok(changed)
    }

    /// The number of entries as it is now, by one small read.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn entries_now(&self) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        match read_at(self.handle.file(), &mut bytes, 152)? {
            8 => Ok(u64::from_le_bytes(bytes)),
            _ => Err(Fault::Damaged("the file was truncated")),
        }
    }

    /// Whether its name is gone from every directory.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.handle.file().metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Which of its cache's files it is.
    pub(crate) fn key(&self) -> u32 {
        self.handle.key()
    }

    fn object(&self, cache: &mut Cache, offset: u64, kind: Kind) -> Result<Object, Fault> {
        let header = cache.read(&self.handle, offset, 16)?;
        self.plausible(offset, kind, header)
    }

    /// The object that begins with these bytes at `offset`, if it can be one of that kind.
    fn plausible(&self, offset: u64, kind: Kind, header: &[u8]) -> Result<Object, Fault> {
        if !offset.is_multiple_of(8) || offset < self.header.header_size {
            return Err(Fault::Damaged("an offset that no object can have"));
        }
        let (found, flags) = (header.first().copied().unwrap_or(0), header.get(1).copied().unwrap_or(0));
        let size = u64_at(header, 8).unwrap_or(0);
        if found != kind as u8 {
            return Err(Fault::Damaged(match kind {
                Kind::Data => "no DATA object where one should be",
                Kind::Field => "no FIELD object where one should be",
                Kind::Entry => "no ENTRY object where one should be",
                Kind::EntryArray => "no ENTRY_ARRAY object where one should be",
            }));
        }
        if !(OBJECT_HEADER..=OBJECT_MAX).contains(&size) || offset.checked_add(size).is_none_or(|end| end > self.size) {
            return Err(Fault::Damaged("an object larger than its file"));
        }
        Ok(Object { flags, size })
    }

    /// The entry's head alone.
    ///
    /// # Errors
    /// There is no whole entry at `offset`.
    pub fn head(&self, cache: &mut Cache, offset: u64) -> Result<EntryHead, Fault> {
        let object = self.object(cache, offset, Kind::Entry)?;
        let items = object.size.checked_sub(ENTRY_ITEMS).and_then(|items| u32::try_from(items).ok()).ok_or_else(cut_short)?;
        let bytes = cache.read(&self.handle, offset, 64)?;
        let number = |at| u64_at(bytes, at);
        let head = (|| {
            Some(EntryHead {
                offset,
                seqnum: number(16)?,
                realtime: number(24)?,
                monotonic: number(32)?,
                boot_id: id_at(bytes, 40)?,
                xor_hash: number(56)?,
                items,
            })
        })();
        head.ok_or_else(cut_short)
    }

    /// Reads the entry at `offset` into `entry`.
    ///
    /// # Errors
    /// There is no whole entry.
    pub fn entry(&self, cache: &mut Cache, offset: u64, entry: &mut Entry) -> Result<(), Fault> {
        let head = self.head(cache, offset)?;
        self.items(cache, head, entry)
    }

    /// Reads the rest of an entry whose head is known.
    ///
    /// # Errors
    /// There is no whole entry.
    pub(crate) fn items(&self, cache: &mut Cache, head: EntryHead, entry: &mut Entry) -> Result<(), Fault> {
        entry.head = head;
        entry.items.clear();
        if u64::from(head.items) > ENTRY_MAX {
            return Err(Fault::Damaged("an entry with too many fields"));
        }
        let length = usize::try_from(head.items).unwrap_or(0);
        let bytes = cache.read(&self.handle, head.offset + ENTRY_ITEMS, length)?;
        // Deleted or never written items are zero.
        if self.header.is_compact() {
            entry.items.extend(bytes.as_chunks::<4>().0.iter().map(|item| u64::from(u32::from_le_bytes(*item))).filter(|item| *item != 0));
        } else {
            entry.items.extend(bytes.as_chunks::<16>().0.iter().filter_map(|item| u64_at(item, 0)).filter(|item| *item != 0));
        }
        Ok(())
    }

    fn payload_offset(&self) -> u64 {
        if self.header.is_compact() { 72 } else { 64 }
    }

    /// Whether the DATA object's payload begins with `prefix`; what was read of it goes into `out` when it does, at most `limit` bytes.
    ///
    /// # Errors
    /// There is no whole DATA object at `offset`.
    pub fn data_if(&self, cache: &mut Cache, unpack: &mut Decompressor, offset: u64, prefix: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<bool, Fault> {
        out.clear();
        let object = self.object(cache, offset, Kind::Data)?;
        let start = self.payload_offset();
        let length = object.size.checked_sub(start).ok_or_else(cut_short)?;
        if object.flags & (OBJECT_XZ | OBJECT_LZ4 | OBJECT_ZSTD) == 0 {
            if length < prefix.len() as u64 || !prefix.is_empty() && cache.read(&self.handle, offset + start, prefix.len())? != prefix {
                return Ok(false);
            }
            self.raw(cache, offset + start, length.min(limit as u64), out)?;
            return Ok(true);
        }
        // Zstandard gives the first bytes for the first blocks; the others must be unpacked as a whole.
        let needed = if object.flags & OBJECT_ZSTD == 0 { PACKED_MAX } else { limit as u64 + ZSTD_BLOCKS };
        let mut packed = Vec::new();
        self.raw(cache, offset + start, length.min(needed), &mut packed)?;
        unpack.unpack(object.flags, &packed, limit, out)?;
        Ok(out.starts_with(prefix))
    }

    /// The DATA object's payload, `FIELD=value`, unpacked, at most `limit` bytes.
    ///
    /// # Errors
    /// There is no whole DATA object at `offset`.
    pub fn data(&self, cache: &mut Cache, unpack: &mut Decompressor, offset: u64, limit: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.data_if(cache, unpack, offset, b"", limit, out).map(drop)
    }

    fn raw(&self, cache: &mut Cache, offset: u64, length: u64, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut at = offset;
        let end = offset.saturating_add(length);
        // Growing piece by piece, so that a lie about the size costs no more memory than the file has bytes.
        while at < end {
            let piece = usize::try_from((end - at).min(32 << 10)).unwrap_or(0);
            out.extend_from_slice(cache.read(&self.handle, at, piece)?);
            at += piece as u64;
        }
        Ok(())
    }

    /// The DATA object of `FIELD=value`, by the hash table.
    ///
    /// # Errors
    /// The chain it should be in is damaged.
    pub fn find_data(&self, cache: &mut Cache, unpack: &mut Decompressor, payload: &[u8]) -> Result<Option<u64>, Fault> {
        let hash = self.hash(payload);
        let buckets = self.header.data_hash_table_size / 16;
        let bucket = hash.checked_rem(buckets).ok_or(Fault::Incomplete)?;
        let item = self.header.data_hash_table_offset.checked_add(bucket * 16).ok_or(Fault::Damaged("hash table beyond the file"))?;
        let mut offset = u64_at(cache.links(&self.handle, item, 8)?, 0).unwrap_or(0);
        let mut found = Vec::new();
        for _ in 0..BUCKET_MAX {
            if offset == 0 {
                return Ok(None);
            }
            self.object(cache, offset, Kind::Data)?;
            let fields = cache.links(&self.handle, offset + 16, 16)?;
            let (its_hash, next) = (u64_at(fields, 0), u64_at(fields, 8).unwrap_or(0));
            if its_hash == Some(hash) && self.data_if(cache, unpack, offset, payload, payload.len() + 1, &mut found)? && found.len() == payload.len() {
                return Ok(Some(offset));
            }
            if next != 0 && next <= offset {
                return Err(Fault::Damaged("a hash chain that leads back"));
            }
            offset = next;
        }
        Err(Fault::Damaged("a hash chain without end"))
    }

    /// The DATA objects of a field, the newest first, at most `limit`.
    ///
    /// # Errors
    /// The list is damaged.
    pub fn values(&self, cache: &mut Cache, name: &[u8], limit: usize) -> Result<Vec<u64>, Fault> {
        let mut values = Vec::new();
        let mut next = self.find_field(cache, name)?.unwrap_or(0);
        while next != 0 && values.len() < limit {
            self.object(cache, next, Kind::Data)?;
            values.push(next);
            let older = u64_at(cache.links(&self.handle, next + 32, 8)?, 0).unwrap_or(0);
            if older >= next {
                return Err(Fault::Damaged("a list of values that leads back"));
            }
            next = older;
        }
        Ok(values)
    }

    /// The newest DATA object of a field, by the hash table of fields.
    fn find_field(&self, cache: &mut Cache, name: &[u8]) -> Result<Option<u64>, Fault> {
        let hash = self.hash(name);
        let Some(bucket) = hash.checked_rem(self.header.field_hash_table_size / 16) else { return Ok(None) };
        let item = self.header.field_hash_table_offset.checked_add(bucket * 16).ok_or(Fault::Damaged("hash table beyond the file"))?;
        let mut offset = u64_at(cache.links(&self.handle, item, 8)?, 0).unwrap_or(0);
        for _ in 0..BUCKET_MAX {
            if offset == 0 {
                return Ok(None);
            }
            let size = self.object(cache, offset, Kind::Field)?.size;
            let fields = cache.links(&self.handle, offset + 16, 24)?;
            let (its_hash, next, head) = (u64_at(fields, 0), u64_at(fields, 8).unwrap_or(0), u64_at(fields, 16));
            if its_hash == Some(hash) && size == FIELD_NAME + name.len() as u64 && cache.read(&self.handle, offset + FIELD_NAME, name.len())? == name {
                return Ok(head);
            }
            if next != 0 && next <= offset {
                return Err(Fault::Damaged("a hash chain that leads back"));
            }
            offset = next;
        }
        Err(Fault::Damaged("a hash chain without end"))
    }

    fn hash(&self, payload: &[u8]) -> u64 {
        if self.header.is_keyed() { siphash24(payload, &self.header.file_id.0) } else { jenkins(payload) }
    }

    /// All entries of the file, oldest first.
    ///
    /// # Errors
    /// The chain of arrays is damaged.
    pub fn all(&self, cache: &mut Cache) -> Result<Chain, Fault> {
        self.chain(cache, None, self.header.entry_array_offset, self.header.n_entries)
    }

    /// The entries that have the DATA object at `offset`, oldest first.
    ///
    /// # Errors
    /// The chain of arrays is damaged.
    pub fn having(&self, cache: &mut Cache, offset: u64) -> Result<Chain, Fault> {
        self.object(cache, offset, Kind::Data)?;
        let fields = cache.links(&self.handle, offset + 40, 24)?;
        let number = |at| u64_at(fields, at).unwrap_or(0);
        let (first, array, count) = (number(0), number(8), number(16));
        self.chain(cache, Some(first), array, count)
    }

    /// The entries of a chain; of a damaged one, those before the damage.
    fn chain(&self, cache: &mut Cache, inline: Option<u64>, first: u64, count: u64) -> Result<Chain, Fault> {
        let item = if self.header.is_compact() { 4 } else { 8 };
        let mut chain = Chain { inline, arrays: Vec::new(), len: u64::from(inline.is_some()).min(count), item, found: None, is_cut: false };
        match self.follow_arrays(cache, &mut chain, first, count) {
            Err(Fault::Damaged(_)) if chain.len > 0 => chain.is_cut = true,
            followed => followed?,
        }
        Ok(chain)
    }

    /// Adds to the chain of all entries those that were written since.
    ///
    /// # Errors
    /// The chain of arrays is damaged.
    pub fn extend(&self, cache: &mut Cache, chain: &mut Chain) -> Result<(), Fault> {
        // What was cut when it was opened stays so, and is no news.
        if chain.is_cut {
            return Ok(());
        }
        chain.found = None;
        // The last array may have got more items, and a successor.
        let first = chain.arrays.pop().map_or(self.header.entry_array_offset, |array| {
            chain.len = array.first;
            array.items - ARRAY_ITEMS
        });
        self.follow_arrays(cache, chain, first, self.header.n_entries)
    }

    fn follow_arrays(&self, cache: &mut Cache, chain: &mut Chain, first: u64, count: u64) -> Result<(), Fault> {
        let mut offset = first;
        while chain.len < count && offset != 0 {
            if chain.arrays.len() >= ARRAYS_MAX {
                return Err(Fault::Damaged("a chain of entry arrays without end"));
            }
            let mut head = [0; 24];
            let filled = cache.peek(&self.handle, offset, &mut head)?;
            let object = self.plausible(offset, Kind::EntryArray, head.get(..filled).unwrap_or_default())?;
            let next = u64_at(&head, 16).unwrap_or(0);
            let room = object.size.saturating_sub(ARRAY_ITEMS) / chain.item;
            let used = room.min(count - chain.len);
            chain.arrays.push(Array { items: offset + ARRAY_ITEMS, first: chain.len, count: used });
            chain.len += used;
            if next != 0 && next <= offset {
                return Err(Fault::Damaged("a chain of entry arrays that leads back"));
            }
            offset = next;
        }
        Ok(())
    }
}

fn cut_short() -> Fault {
    Fault::Damaged("an object cut short")
}

fn read_header(handle: &Handle) -> Result<(Header, u64), Fault> {
    let mut bytes = [0; HEADER_READ];
    let count = read_at(handle.file(), &mut bytes, 0)?;
    let header = Header::parse(bytes.get(..count).unwrap_or_default())?;
    Ok((header, handle.file().metadata()?.len()))
}

#[derive(Clone, Copy, Debug)]
struct Array {
    /// Where its first item lies in the file.
    items: u64,
    /// The index of its first item in the chain.
    first: u64,
    count: u64,
}

/// Entry offsets in ascending order, spread over a chain of arrays.
#[derive(Clone, Debug)]
pub struct Chain {
    /// A DATA object keeps its first entry in itself.
    inline: Option<u64>,
    arrays: Vec<Array>,
    len: u64,
    /// Bytes of one item.
    item: u64,
    /// What was looked for last.
    found: Option<Found>,
    /// What comes later cannot be read.
    is_cut: bool,
}

/// An entry that was looked for.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// From where on.
    bound: u64,
    index: u64,
    /// `None`: there is none.
    offset: Option<u64>,
}

impl Found {
    /// Whether it is the answer for another bound, too, since nothing lies between.
    fn answers(&self, bound: u64, direction: Direction) -> bool {
        match direction {
            Direction::Forward => bound >= self.bound && self.offset.is_none_or(|offset| bound <= offset),
            Direction::Backward => bound <= self.bound && self.offset.is_none_or(|offset| bound >= offset),
        }
    }
}

/// Which way to go through entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

impl Chain {
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there was more, which is damaged.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The offset of the entry with that index; `None` for one that was never written.
    ///
    /// # Errors
    /// The file cannot be read there.
    pub fn get(&self, file: &JournalFile, cache: &mut Cache, index: u64) -> Result<Option<u64>, Fault> {
        if index >= self.len {
            return Ok(None);
        }
        if let (0, Some(offset)) = (index, self.inline) {
            return Ok(Some(offset).filter(|offset| *offset != 0));
        }
        let at = self.arrays.partition_point(|array| array.first <= index);
        let Some(array) = at.checked_sub(1).and_then(|at| self.arrays.get(at)).filter(|array| index - array.first < array.count) else { return Ok(None) };
        let place = array.items + (index - array.first) * self.item;
        let length = usize::try_from(self.item).unwrap_or(8);
        let bytes = cache.links(&file.handle, place, length)?;
        let offset = if length == 4 { u32_at(bytes, 0).map(u64::from) } else { u64_at(bytes, 0) };
        Ok(offset.filter(|offset| *offset != 0))
    }

    /// The first entry at or after `bound` going forward, the last at or before it going backward.
    ///
    /// # Errors
    /// The file cannot be read there.
    pub fn seek(&mut self, file: &JournalFile, cache: &mut Cache, bound: u64, direction: Direction) -> Result<Option<u64>, Fault> {
        let forward = direction == Direction::Forward;
        if let Some(found) = self.found.filter(|found| found.answers(bound, direction)) {
            return Ok(found.offset);
        }
        // Items never written are like entries still to come.
        let past = |offset: Option<u64>| offset.is_none_or(|offset| if forward { offset >= bound } else { offset > bound });
        // All before `low` are not past, all from `high` on are; which offsets the two beside the border have.
        let (mut low, mut high) = (0, self.len);
        let (mut below, mut above) = (None, None);
        // What is looked for mostly lies near to what was found last: in steps that double, away from that.
        if let Some((index, offset)) = self.found.and_then(|found| Some((found.index, found.offset?))) {
            let mut step = 1;
            if past(Some(offset)) {
                (high, above) = (index, Some(offset));
                while let Some(at) = high.checked_sub(step) {
                    let offset = self.get(file, cache, at)?;
                    if !past(offset) {
                        (low, below) = (at + 1, offset);
                        break;
                    }
                    (high, above, step) = (at, offset, step * 2);
                }
            } else {
                (low, below) = (index + 1, Some(offset));
                while step <= high.saturating_sub(low) {
                    let at = low + step - 1;
                    let offset = self.get(file, cache, at)?;
                    if past(offset) {
                        (high, above) = (at, offset);
                        break;
                    }
                    (low, below, step) = (at + 1, offset, step * 2);
                }
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            let offset = self.get(file, cache, middle)?;
            if past(offset) { (high, above) = (middle, offset) } else { (low, below) = (middle + 1, offset) }
        }
        let (index, offset) = if forward { (low, above) } else { (low.saturating_sub(1), below) };
        self.found = Some(Found { bound, index, offset });
        Ok(offset)
    }

    /// The index of the first entry of which `reached` is true; it must be false of all before and true of all after.
    ///
    /// # Errors
    /// An entry on the way cannot be read.
    pub fn partition(&self, file: &JournalFile, cache: &mut Cache, reached: impl Fn(&EntryHead) -> bool) -> Result<u64, Fault> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            // Items never written are like entries still to come.
            let past = match self.get(file, cache, middle)? {
                Some(offset) => reached(&file.head(cache, offset)?),
                None => true,
            };
            if past { high = middle } else { low = middle + 1 }
        }
        Ok(low)
    }
}
