//! One bounded cache of file blocks, shared by all journal files.
//!
//! Files are read with `pread`, never mapped: a file that is truncated while it is read gives an error instead of SIGBUS.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::Fault;

/// Small, because lookups through hash tables touch a few bytes here and there.
const BLOCK: usize = 2048;
/// 512 KiB in all.
const BLOCKS: usize = 256;
/// Blocks read at once by who reads on and on.
const AHEAD: usize = 8;
/// Blocks in a row before somebody reads on and on.
const ROW: u64 = 3;
/// The longest piece that goes through the cache.
const PIECE_MAX: usize = 64 << 10;

/// An open file, as the cache knows it.
#[derive(Debug)]
pub struct Handle {
    file: File,
    /// Different for every file of a cache.
    key: u32,
    /// Grows when the file has, so that blocks read before are not used again.
    generation: u32,
    /// The block that comes after the one fetched last, times 256, and how many were fetched in a row before it.
    next: AtomicU64,
}

impl Handle {
    #[must_use]
    pub fn new(file: File, key: u32) -> Self {
        Self { file, key, generation: 0, next: AtomicU64::new(0) }
    }

    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    #[must_use]
    pub fn key(&self) -> u32 {
        self.key
    }

    /// Forgets every block of this file.
    pub fn invalidate(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Whether this block, which must be fetched, comes after others that were fetched in a row.
    fn is_in_a_row(&self, block: u64) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let row = if next >> 8 == block { (next & 0xff).saturating_add(1).min(ROW) } else { 0 };
        self.next.store(block.saturating_add(1) << 8 | row, Ordering::Relaxed);
        row >= ROW
    }

    fn tag(&self) -> u64 {
        u64::from(self.key) << 32 | u64::from(self.generation)
    }
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// The file's tag plus one; 0 is an empty slot.
    tag: u64,
    block: u64,
    len: usize,
}

/// Two slots for every hash of (file, block): of the two the one used less recently is replaced.
pub struct Cache {
    bytes: Vec<u8>,
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
        Self { bytes: vec![0; BLOCK * BLOCKS], slots: vec![[Slot::default(); 2]; BLOCKS / 2], recent: vec![0; BLOCKS / 2], piece: Vec::new() }
    }
}

impl Cache {
    /// Exactly `len` bytes at `offset`.
    ///
    /// # Errors
    /// The file ends before, or cannot be read.
    pub fn read(&mut self, handle: &Handle, offset: u64, len: usize) -> Result<&[u8], Fault> {
        let within = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
        if within + len <= BLOCK {
            let (start, filled) = self.block(handle, offset / BLOCK as u64)?;
            if within + len > filled {
                return Err(ends_early());
            }
            return self.bytes.get(start + within..start + within + len).ok_or_else(ends_early);
        }
        if len > PIECE_MAX {
            return Err(Fault::Damaged("an object too large for its kind"));
        }
        let mut piece = std::mem::take(&mut self.piece);
        piece.clear();
        while piece.len() < len {
            let at = offset.checked_add(piece.len() as u64).ok_or_else(beyond)?;
            let within = usize::try_from(at % BLOCK as u64).unwrap_or(0);
            let (start, filled) = self.block(handle, at / BLOCK as u64)?;
            let wanted = (len - piece.len()).min(BLOCK - within);
            if within + wanted > filled {
                return Err(ends_early());
            }
            piece.extend_from_slice(self.bytes.get(start + within..start + within + wanted).unwrap_or_default());
        }
        self.piece = piece;
        Ok(&self.piece)
    }

    /// Fills `buffer` from `offset` on as far as the file has bytes; how many these are. For what lies alone: a block that is
    /// not here is not fetched.
    ///
    /// # Errors
    /// The kernel's.
    pub fn peek(&self, handle: &Handle, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        let (block, within) = (offset / BLOCK as u64, usize::try_from(offset % BLOCK as u64).unwrap_or(0));
        let set = Self::set(handle, block);
        let here = self.slots.get(set).and_then(|slots| slots.iter().position(|slot| slot.tag == handle.tag() + 1 && slot.block == block && slot.len == BLOCK));
        let start = here.map(|way| (set * 2 + way) * BLOCK + within).filter(|_| within + buffer.len() <= BLOCK);
        if let Some(bytes) = start.and_then(|start| self.bytes.get(start..start + buffer.len())) {
            buffer.copy_from_slice(bytes);
            return Ok(buffer.len());
        }
        read_at(&handle.file, buffer, offset)
    }

    fn set(handle: &Handle, block: u64) -> usize {
        let mixed = (block ^ u64::from(handle.key) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> 32).unwrap_or(0) % (BLOCKS / 2)
    }

    /// Where the block lies in `bytes`, and how many bytes of it the file has.
    fn block(&mut self, handle: &Handle, block: u64) -> Result<(usize, usize), Fault> {
        let tag = handle.tag() + 1;
        let set = Self::set(handle, block);
        let (Some(slots), Some(recent)) = (self.slots.get_mut(set), self.recent.get_mut(set)) else { return Err(Fault::Damaged("no cache")) };
        for (way, slot) in slots.iter().enumerate() {
            if slot.tag == tag && slot.block == block {
                *recent = u8::from(way == 1);
                return Ok(((set * 2 + way) * BLOCK, slot.len));
            }
        }
        let way = usize::from(*recent == 0);
        if handle.is_in_a_row(block) && self.fetch_row(handle, block)? {
            return self.block(handle, block);
        }
        let start = (set * 2 + way) * BLOCK;
        let offset = block.checked_mul(BLOCK as u64).ok_or_else(beyond)?;
        let (Some(slots), Some(recent)) = (self.slots.get_mut(set), self.recent.get_mut(set)) else { return Err(Fault::Damaged("no cache")) };
        let [first, second] = slots;
        let slot = if way == 0 { first } else { second };
        *slot = Slot::default();
        let bytes = self.bytes.get_mut(start..start + BLOCK).unwrap_or_default();
        let len = read_at(&handle.file, bytes, offset)?;
        *slot = Slot { tag, block, len };
        *recent = u8::from(way == 1);
        Ok((start, len))
    }

    /// Fetches this block and those after it with one call; false if they have no places beside each other.
    fn fetch_row(&mut self, handle: &Handle, block: u64) -> Result<bool, Fault> {
        let mut places = [0; AHEAD];
        for (place, block) in places.iter_mut().zip(block..) {
            let set = Self::set(handle, block);
            let way = usize::from(self.recent.get(set) == Some(&0));
            *place = set * 2 + way;
        }
        let Ok(blocks) = self.bytes.as_chunks_mut::<BLOCK>().0.get_disjoint_mut(places) else { return Ok(false) };
        let mut blocks = blocks.map(|block| IoSliceMut::new(block));
        for place in places {
            self.slots.get_mut(place / 2).and_then(|slots| slots.get_mut(place % 2)).map(std::mem::take);
        }
        let offset = block.checked_mul(BLOCK as u64).ok_or_else(beyond)?;
        let filled = rustix::io::preadv(&handle.file, &mut blocks, offset).map_err(std::io::Error::from)?;
        // What is not whole is fetched again, when it is asked for.
        let whole = filled / BLOCK;
        for (place, block) in places.into_iter().zip(block..).take(whole) {
            if let (Some(slot), Some(recent)) = (self.slots.get_mut(place / 2).and_then(|slots| slots.get_mut(place % 2)), self.recent.get_mut(place / 2)) {
                *slot = Slot { tag: handle.tag() + 1, block, len: BLOCK };
                *recent = u8::from(place % 2 == 1);
            }
        }
        handle.next.store((block + whole as u64) << 8 | ROW, Ordering::Relaxed);
        Ok(whole > 0)
    }
}

fn ends_early() -> Fault {
    Fault::Damaged("the file ends before the object does")
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
