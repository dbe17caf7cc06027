//! A journal in which one object is replaced by any bytes; and any bytes unpacked.
#![no_main]
#![allow(clippy::disallowed_types)] // of the macro

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use nodetriage_fuzz::journal::compress::Decompressor;
use nodetriage_fuzz::{Journal, file, read, seed, variant};

static SAMPLES: [OnceLock<Journal>; 16] = [const { OnceLock::new() }; 16];

fuzz_target!(init: seed("object"), |input: &[u8]| {
    let Some(([choice, at], object)) = input.split_first_chunk() else { return };
    let (compact, keyed, packing) = variant(*choice);
    let journal = SAMPLES[usize::from(*choice & 15)].get_or_init(|| Journal::sample(compact, keyed, packing, 12));
    let offset = journal.objects[usize::from(*at) % journal.objects.len()];
    let mut bytes = journal.bytes().to_vec();
    let end = bytes.len().min(offset + object.len());
    bytes[offset..end].copy_from_slice(&object[..end - offset]);
    read(file(&bytes));

    let mut out = Vec::new();
    let limit = usize::from(*at) << 8;
    let _ = Decompressor::default().unpack(choice & 7, object, limit, &mut out);
    assert!(out.len() <= limit);
});
