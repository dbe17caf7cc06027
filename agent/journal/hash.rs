//! The two hash functions of the journal's hash tables.

/// Bob Jenkins' lookup3 `hashlittle2`, as the format uses it (files without `HEADER_INCOMPATIBLE_KEYED_HASH`, and every entry's `xor_hash`).
#[must_use]
pub fn jenkins(bytes: &[u8]) -> u64 {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let start = 0xdead_beef_u32.wrapping_add(length);
    let (mut a, mut b, mut c) = (start, start, start);
    let word = |chunk: &[u8], at: usize| {
        let mut bytes = [0; 4];
        for (to, from) in bytes.iter_mut().zip(chunk.iter().skip(at)) {
            *to = *from;
        }
        u32::from_le_bytes(bytes)
    };
    // The last 1 to 12 bytes are mixed differently; an empty text not at all.
    let blocks = bytes.len().saturating_sub(1) / 12;
    for chunk in bytes.chunks_exact(12).take(blocks) {
        a = a.wrapping_add(word(chunk, 0));
        b = b.wrapping_add(word(chunk, 4));
        c = c.wrapping_add(word(chunk, 8));
        mix(&mut a, &mut b, &mut c);
    }
    let rest = bytes.get(blocks * 12..).unwrap_or_default();
    if !rest.is_empty() {
        a = a.wrapping_add(word(rest, 0));
        b = b.wrapping_add(word(rest, 4));
        c = c.wrapping_add(word(rest, 8));
        finish(&mut a, &mut b, &mut c);
    }
    u64::from(c) << 32 | u64::from(b)
}

fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    for [x, y, z] in [[4, 6, 8], [16, 19, 4]] {
        *a = a.wrapping_sub(*c) ^ c.rotate_left(x);
        *c = c.wrapping_add(*b);
        *b = b.wrapping_sub(*a) ^ a.rotate_left(y);
        *a = a.wrapping_add(*c);
        *c = c.wrapping_sub(*b) ^ b.rotate_left(z);
        *b = b.wrapping_add(*a);
    }
}

fn finish(a: &mut u32, b: &mut u32, c: &mut u32) {
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(14));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(11));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(25));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(16));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(4));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(14));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(24));
}

/// SipHash-2-4, keyed with the file's id (`HEADER_INCOMPATIBLE_KEYED_HASH`, systemd 246 and later).
#[must_use]
pub fn siphash24(bytes: &[u8], key: &[u8; 16]) -> u64 {
    let [k0, k1] = [0, 8].map(|at| {
        let mut half = [0; 8];
        half.copy_from_slice(key.get(at..at + 8).unwrap_or(&[0; 8]));
        u64::from_le_bytes(half)
    });
    let mut v = [k0 ^ 0x736f_6d65_7073_6575, k1 ^ 0x646f_7261_6e64_6f6d, k0 ^ 0x6c79_6765_6e65_7261, k1 ^ 0x7465_6462_7974_6573];
    let mut chunks = bytes.chunks_exact(8);
    for chunk in chunks.by_ref() {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        absorb(&mut v, u64::from_le_bytes(word));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(chunks.remainder()) {
        *to = *from;
    }
    absorb(&mut v, u64::from_le_bytes(last) | (bytes.len() as u64 & 0xff) << 56);
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_gives_the_vectors_of_its_authors() {
        let key: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let text: Vec<u8> = (0..15).collect();
        assert_eq!(siphash24(&[], &key), 0x726f_db47_dd0e_0e31);
        assert_eq!(siphash24(&text, &key), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn lookup3_gives_the_vectors_of_its_author() {
        assert_eq!(jenkins(b""), 0xdead_beef_dead_beef);
        assert_eq!(jenkins(b"Four score and seven years ago"), 0x1777_0551_ce72_26e6);
    }
}
