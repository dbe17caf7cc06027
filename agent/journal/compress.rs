//! Payloads that journald compressed, unpacked up to a limit.

use std::io::{self, Read as _};

use ruzstd::decoding::FrameDecoder;

use crate::format::{Fault, OBJECT_LZ4, OBJECT_XZ, OBJECT_ZSTD};

/// journald compresses single fields: a larger window is damage, not data.
const WINDOW_MAX: u64 = 8 << 20;
/// The longest field that is unpacked as a whole, which LZ4 and xz must be even for their first bytes.
const WHOLE_MAX: usize = 64 << 20;

/// A decompressor that keeps its tables from one payload to the next.
pub struct Decompressor {
    zstd: FrameDecoder,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        let mut zstd = FrameDecoder::new();
        zstd.set_max_window_size(WINDOW_MAX);
        Self { zstd }
    }
}

impl Decompressor {
    /// Appends to `out` the first `limit` bytes of what `packed` holds, by the object's flags.
    ///
    /// # Errors
    /// Damaged, if the bytes are not what the flags say.
    pub fn unpack(&mut self, flags: u8, packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        match flags & (OBJECT_XZ | OBJECT_LZ4 | OBJECT_ZSTD) {
            0 => {
                out.extend_from_slice(packed.get(..limit).unwrap_or(packed));
                Ok(())
            }
            OBJECT_ZSTD => self.zstd(packed, limit, out),
            OBJECT_LZ4 => lz4(packed, limit, out),
            OBJECT_XZ => xz(packed, limit, out),
            _ => Err(Fault::Damaged("more than one compression at once")),
        }
    }

    fn zstd(&mut self, packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        const DAMAGED: Fault = Fault::Damaged("zstd data");
        let mut stream = ruzstd::decoding::StreamingDecoder::new_with_decoder(packed, &mut self.zstd).map_err(|_| DAMAGED)?;
        let wanted = out.len().saturating_add(limit);
        io::Read::take(&mut stream, limit as u64).read_to_end(out).map_err(|_| DAMAGED)?;
        debug_assert!(out.len() <= wanted);
        Ok(())
    }
}

/// The size as 8 bytes, then one LZ4 block. A prefix is read by unpacking all: the block format has no other way,
/// and its ratio (at most 255) bounds what a small input can ask for.
fn lz4(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    const DAMAGED: Fault = Fault::Damaged("lz4 data");
    let (size, block) = packed.split_at_checked(8).ok_or(DAMAGED)?;
    let size = crate::format::u64_at(size, 0).and_then(|size| usize::try_from(size).ok()).ok_or(DAMAGED)?;
    if size > block.len().saturating_mul(255).saturating_add(64) || size > WHOLE_MAX {
        return Err(DAMAGED);
    }
    let before = out.len();
    out.resize(before + size, 0);
    let unpacked = lz4_flex::block::decompress_into(block, out.get_mut(before..).unwrap_or_default());
    match unpacked {
        Ok(written) => out.truncate(before + written.min(limit)),
        Err(_) => out.truncate(before),
    }
    unpacked.map(drop).map_err(|_| DAMAGED)
}

fn xz(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    const DAMAGED: Fault = Fault::Damaged("xz data");
    let mut source = xz_block(packed).ok_or(DAMAGED)?;
    // The decoder keeps all that it unpacks until it is done: ask first how much that is.
    if lzma2_size(source).is_none_or(|size| size > WHOLE_MAX) {
        return Err(DAMAGED);
    }
    let mut sink = Sink { left: limit, out };
    match lzma_rs::lzma2_decompress(&mut source, &mut sink) {
        Ok(()) => Ok(()),
        // The sink stops the decoder when it has enough.
        Err(_) if sink.left == 0 => Ok(()),
        Err(_) => Err(DAMAGED),
    }
}

/// The LZMA2 data of the first block of an xz stream. journald writes one block, without a checksum (`compress_blob_xz()`):
/// the index and the footer behind it tell nothing more.
fn xz_block(packed: &[u8]) -> Option<&[u8]> {
    const STREAM_HEADER: usize = 12;
    const FILTERS: u8 = 3;
    let block = packed.strip_prefix(b"\xfd7zXZ\0").and_then(|_| packed.get(STREAM_HEADER..))?;
    let size = block.first().filter(|size| **size != 0)?;
    block.get(1).filter(|flags| **flags & FILTERS == 0)?;
    block.get((usize::from(*size) + 1) * 4..)
}

/// What LZMA2 data unpacks to, by the headers of its chunks.
fn lzma2_size(packed: &[u8]) -> Option<usize> {
    let (mut at, mut size) = (0_usize, 0_usize);
    let word = |at: usize| Some(usize::from(u16::from_be_bytes(packed.get(at..at + 2)?.try_into().ok()?)));
    loop {
        let control = *packed.get(at)?;
        at += match control {
            0 => return Some(size),
            1 | 2 => {
                size += word(at + 1)? + 1;
                3 + word(at + 1)? + 1
            }
            0x80.. => {
                size += (usize::from(control & 0x1f) << 16) + word(at + 1)? + 1;
                // From 0xc0 on a byte of new properties comes before the data.
                5 + usize::from(control >= 0xc0) + word(at + 3)? + 1
            }
            _ => return None,
        };
    }
}

struct Sink<'a> {
    left: usize,
    out: &'a mut Vec<u8>,
}

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 && !bytes.is_empty() {
            return Err(io::Error::other("enough"));
        }
        let taken = bytes.get(..self.left).unwrap_or(bytes);
        self.out.extend_from_slice(taken);
        self.left -= taken.len();
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
