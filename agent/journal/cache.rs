//! One bounded cache of file blocks, shared by all journal files.
//!
//! Files are read with `pread`, never mapped: a file that is truncated while it is read gives an error instead of SIGBUS.
//! What such a call costs is mostly what it copies, so that of a block only what lies around the wanted bytes is read at first;
//! the whole block when it is asked for again, and several at once when the one before was read whole.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use crate::format::Fault;

const BLOCK: usize = 4096;
/// 512 KiB in all.
const BLOCKS: usize = 128;
/// Blocks read at once by who reads on and on.
const AHEAD: usize = 4;
/// Bytes read before and after the beginning of what is wanted: an entry lies behind those of its fields that are its own.
const AROUND: usize = 640;
/// The longest piece that goes through the cache.
const PIECE_MAX: usize = 64 << 10;

/// An open file, as the cache knows it.
#[derive(Debug)]
pub struct Handle {
    file: File,
    /// Different for every file of a cache.
    key: u32,
    /// Another whenever the file has grown.
    generation: u32,
    /// What objects are and say is final up to here.
    settled: u64,
}

impl Handle {
    #[must_use]
    pub fn new(file: File, key: u32) -> Self {
        Self { file, key, generation: 0, settled: 0 }
    }

    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    #[must_use]
    pub fn key(&self) -> u32 {
        self.key
    }

    /// Takes note of where the last object begins, which may still be written: all before it is final, but for its links.
    pub fn settle(&mut self, last_object: u64) {
        self.settled = last_object;
    }

    /// The file has grown: what is not final is read again.
    pub fn grown(&mut self, last_object: u64) {
        self.generation = self.generation.wrapping_add(1);
        self.settle(last_object);
    }
}

/// What is here of a block.
#[derive(Clone, Copy, Default)]
struct Slot {
    block: u64,
    /// The file's key plus one; 0 is an empty slot.
    file: u32,
    generation: u32,
    /// Where it lies among the cache's blocks, counted from 1; 0 until it is first used.
    place: u16,
    /// The bytes of the block that are here, and up to where they are final.
    from: u16,
    to: u16,
    settled: u16,
}

impl Slot {
    fn is(&self, handle: &Handle, block: u64) -> bool {
        self.file == handle.key.wrapping_add(1) && self.block == block
    }

    /// Whether it has these bytes of the file, as they are now.
    fn has(&self, handle: &Handle, block: u64, wanted: &Range<usize>, part: Part) -> bool {
        let current = self.generation == handle.generation || part == Part::Content && wanted.end <= usize::from(self.settled);
        self.is(handle, block) && current && usize::from(self.from) <= wanted.start && wanted.end <= usize::from(self.to)
    }

    fn is_whole(&self) -> bool {
        self.from == 0 && usize::from(self.to) == BLOCK
    }

    /// Where the block begins in the cache.
    fn start(&self) -> usize {
        usize::from(self.place.saturating_sub(1)) * BLOCK
    }
}

/// What is read of a file that may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What an object is and says: once another follows it, it stays.
    Content,
    /// Its links to others.
    Links,
}

/// Two slots for every hash of (file, block): of the two the one used less recently is replaced.
pub struct Cache {
    /// Used from its beginning on, so that who reads little takes little memory.
    bytes: Vec<u8>,
    places: u16,
    slots: Vec<[Slot; 2]>,
    recent: Vec<u8>,
    piece: Vec<u8>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cache of {BLOCKS} blocks")
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { bytes: vec![0; BLOCK * BLOCKS], places: 0, slots: vec![[Slot::default(); 2]; BLOCKS / 2], recent: vec![0; BLOCKS / 2], piece: Vec::new() }
    }
}

impl Cache {
    /// Exactly `len` bytes at `offset`, of what objects are and say.
    ///
    /// # Errors
    /// The file ends before, or cannot be read.
    pub fn read(&mut self, handle: &Handle, offset: u64, len: usize) -> Result<&[u8], Fault> {
        self.get(handle, offset, len, Part::Content)
    }

    /// Exactly `len` bytes at `offset`, of what leads from one object to others.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn links(&mut self, handle: &Handle, offset: u64, len: usize) -> Result<&[u8], Fault> {
        self.get(handle, offset, len, Part::Links)
    }

    fn get(&mut self, handle: &Handle, offset: u64, len: usize, part: Part) -> Result<&[u8], Fault> {
        let within = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
        if within + len <= BLOCK {
            return self.within(handle, offset / BLOCK as u64, within..within + len, part);
        }
        if len > PIECE_MAX {
            return Err(Fault::Damaged("an object too large for its kind"));
        }
        let mut piece = std::mem::take(&mut self.piece);
        piece.clear();
        while piece.len() < len {
            let at = offset.checked_add(piece.len() as u64).ok_or_else(beyond)?;
            let within = usize::try_from(at % BLOCK as u64).unwrap_or(0);
            let end = within + (len - piece.len()).min(BLOCK - within);
            piece.extend_from_slice(self.within(handle, at / BLOCK as u64, within..end, part)?);
        }
        self.piece = piece;
        Ok(&self.piece)
    }

    /// Fills `buffer` from `offset` on as far as the file has bytes; how many these are. For links that lie alone: what is not
    /// here is not kept.
    ///
    /// # Errors
    /// The kernel's.
    pub fn peek(&self, handle: &Handle, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        let (block, within) = (offset / BLOCK as u64, usize::try_from(offset % BLOCK as u64).unwrap_or(0));
        let wanted = within..within + buffer.len();
        let slot = self.slots.get(Self::set(handle, block)).and_then(|slots| slots.iter().find(|slot| slot.has(handle, block, &wanted, Part::Links)));
        match slot.and_then(|slot| self.bytes.get(slot.start() + wanted.start..slot.start() + wanted.end)) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(buffer.len())
            }
            None => read_at(&handle.file, buffer, offset),
        }
    }

    fn set(handle: &Handle, block: u64) -> usize {
        let mixed = (block ^ u64::from(handle.key) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> 32).unwrap_or(0) % (BLOCKS / 2)
    }

    /// These bytes of a block.
    fn within(&mut self, handle: &Handle, block: u64, wanted: Range<usize>, part: Part) -> Result<&[u8], Fault> {
        let start = if let Some(start) = self.find(handle, block, &wanted, part) {
            start
        } else {
            self.fetch(handle, block, &wanted)?;
            self.find(handle, block, &wanted, part).ok_or(Fault::Damaged("the file ends before the object does"))?
        };
        Ok(self.bytes.get(start + wanted.start..start + wanted.end).unwrap_or_default())
    }

    /// Where the block that has these bytes begins.
    fn find(&mut self, handle: &Handle, block: u64, wanted: &Range<usize>, part: Part) -> Option<usize> {
        let set = Self::set(handle, block);
        let slots = self.slots.get(set)?;
        let way = slots.iter().position(|slot| slot.has(handle, block, wanted, part))?;
        *self.recent.get_mut(set)? = u8::from(way == 1);
        slots.get(way).map(Slot::start)
    }

    /// What is here of the block.
    fn here(&self, handle: &Handle, block: u64) -> Option<&Slot> {
        let slots = self.slots.get(Self::set(handle, block))?;
        slots.iter().find(|slot| slot.is(handle, block) && slot.generation == handle.generation)
    }

    /// Reads what is wanted, and with it what will be.
    fn fetch(&mut self, handle: &Handle, block: u64, wanted: &Range<usize>) -> Result<(), Fault> {
        let is_again = self.here(handle, block).is_some();
        let before = block.checked_sub(1).and_then(|before| self.here(handle, before));
        if !is_again && before.is_some_and(Slot::is_whole) && self.fetch_row(handle, block)? {
            return Ok(());
        }
        let range = if is_again { 0..BLOCK } else { wanted.start.saturating_sub(AROUND)..wanted.end.max(wanted.start + AROUND).min(BLOCK) };
        let offset = block.checked_mul(BLOCK as u64).and_then(|offset| offset.checked_add(range.start as u64)).ok_or_else(beyond)?;
        let Some(start) = self.empty(handle, block).map(|slot| slot.start()) else { return Ok(()) };
        let filled = read_at(&handle.file, self.bytes.get_mut(start + range.start..start + range.end).unwrap_or_default(), offset)?;
        self.fill(handle, block, range.start, range.start + filled);
        Ok(())
    }

    /// Reads this block and those after it by one call; false if they cannot lie beside each other in the cache.
    fn fetch_row(&mut self, handle: &Handle, first: u64) -> Result<bool, Fault> {
        let mut places = [usize::MAX; AHEAD];
        for (place, block) in places.iter_mut().zip(first..) {
            *place = self.empty(handle, block).map_or(usize::MAX, |slot| slot.start() / BLOCK);
        }
        let Ok(blocks) = self.bytes.as_chunks_mut::<BLOCK>().0.get_disjoint_mut(places) else { return Ok(false) };
        let mut blocks = blocks.map(|block| IoSliceMut::new(block));
        let offset = first.checked_mul(BLOCK as u64).ok_or_else(beyond)?;
        let mut filled = rustix::io::preadv(&handle.file, &mut blocks, offset).map_err(std::io::Error::from)?;
        for block in (first..).take(AHEAD) {
            self.fill(handle, block, 0, filled.min(BLOCK));
            filled = filled.saturating_sub(BLOCK);
        }
        Ok(true)
    }

    /// The slot for a block that is to be read, with a place, but empty.
    fn empty(&mut self, handle: &Handle, block: u64) -> Option<&mut Slot> {
        let set = Self::set(handle, block);
        let (slots, recent) = (self.slots.get_mut(set)?, self.recent.get_mut(set)?);
        let way = slots.iter().position(|slot| slot.is(handle, block)).unwrap_or(usize::from(*recent == 0));
        *recent = u8::from(way == 1);
        let slot = slots.get_mut(way)?;
        if slot.place == 0 {
            self.places += 1;
            slot.place = self.places;
        }
        *slot = Slot { place: slot.place, block, file: handle.key.wrapping_add(1), generation: handle.generation, ..Slot::default() };
        Some(slot)
    }

    /// Takes note of which bytes of a block are here.
    fn fill(&mut self, handle: &Handle, block: u64, from: usize, to: usize) {
        let slots = self.slots.get_mut(Self::set(handle, block));
        let Some(slot) = slots.and_then(|slots| slots.iter_mut().find(|slot| slot.is(handle, block))) else { return };
        let (Ok(from), Ok(to)) = (u16::try_from(from), u16::try_from(to)) else { return };
        let settled = handle.settled.saturating_sub(block.saturating_mul(BLOCK as u64));
        (slot.from, slot.to, slot.settled) = (from, to, u16::try_from(settled).unwrap_or(u16::MAX));
    }
}

fn beyond() -> Fault {
    Fault::Damaged("an offset beyond any file")
}

/// Reads until the buffer is full or the file ends.
///
/// # Errors
/// The kernel's.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Fault> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let Some(at) = offset.checked_add(filled as u64).filter(|at| i64::try_from(*at).is_ok()) else { return Ok(filled) };
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
