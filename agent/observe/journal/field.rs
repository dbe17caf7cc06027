//! Fields as they lie in DATA objects, and those read lately: most lines say again what others said before.

use std::ops::Range;

/// The longest name of a field (`journal_field_valid()` of systemd's `journal-file.c`).
const NAME_MAX: usize = 64;
/// Fields kept, and the bytes of the longest that is.
const SLOTS: usize = 2048;
const CELL: usize = 128;

/// What a payload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A name and a value that is one line of text.
    Text,
    /// A name and any value.
    Binary,
    /// `_BOOT_ID=`, which every entry's head says already.
    Boot,
    /// No name that a field can have: damage.
    #[default]
    Nameless,
}

impl Form {
    fn of(payload: &[u8]) -> (Self, usize) {
        let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let name = payload.iter().take(NAME_MAX + 1).position(|byte| !allowed(*byte)).unwrap_or(0);
        let form = match payload.first() {
            Some(b'0'..=b'9') => Self::Nameless,
            _ if name == 0 || payload.get(name) != Some(&b'=') => Self::Nameless,
            _ if payload.starts_with(b"_BOOT_ID=") => Self::Boot,
            _ if printable(payload, false) => Self::Text,
            _ => Self::Binary,
        };
        (form, name)
    }
}

/// A field of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// `NAME=value`.
    pub payload: &'a [u8],
    pub form: Form,
    /// The length of its name.
    pub name: usize,
}

impl<'a> Field<'a> {
    #[must_use]
    pub fn of(payload: &'a [u8]) -> Self {
        let (form, name) = Form::of(payload);
        Self { payload, form, name }
    }

    /// Name and value; `None` where there is no name.
    #[must_use]
    pub fn split(&self) -> Option<(&'a [u8], &'a [u8])> {
        let (name, value) = self.payload.split_at_checked(self.name)?;
        Some((name, value.get(1..)?)).filter(|_| self.form != Form::Nameless)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The offset of the DATA object.
    offset: u64,
    /// The file's number, of which there is no 0.
    file: u32,
    len: u8,
    name: u8,
    form: Form,
}

/// The fields read lately. One is kept only when it is read for the second time: what only one line says takes nobody's place.
#[derive(Debug)]
pub(super) struct Recent {
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    /// Fields read once, by the slot they would take.
    once: Vec<(u32, u64)>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); SLOTS], bytes: vec![0; SLOTS * CELL], once: vec![(0, 0); SLOTS] }
    }
}

impl Recent {
    fn place(file: u32, offset: u64) -> usize {
        let mixed = (offset >> 3 ^ u64::from(file) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> 32).unwrap_or(0) % SLOTS
    }

    fn cell(place: usize, len: usize) -> Range<usize> {
        place * CELL..place * CELL + len
    }

    /// Where the field is kept.
    pub fn find(&self, file: u32, offset: u64) -> Option<usize> {
        let place = Self::place(file, offset);
        self.slots.get(place).filter(|slot| slot.offset == offset && slot.file == file).map(|_| place)
    }

    pub fn get(&self, place: usize) -> Option<Field<'_>> {
        let slot = self.slots.get(place)?;
        Some(Field { payload: self.bytes.get(Self::cell(place, slot.len.into()))?, form: slot.form, name: slot.name.into() })
    }

    /// Takes note of a field that was read.
    pub fn note(&mut self, file: u32, offset: u64, field: Field<'_>) {
        let place = Self::place(file, offset);
        let (Some(slot), Some(once)) = (self.slots.get_mut(place), self.once.get_mut(place)) else { return };
        if std::mem::replace(once, (file, offset)) != (file, offset) || field.payload.len() > CELL {
            return;
        }
        let (Ok(len), Ok(name)) = (u8::try_from(field.payload.len()), u8::try_from(field.name)) else { return };
        if let Some(cell) = self.bytes.get_mut(Self::cell(place, len.into())) {
            cell.copy_from_slice(field.payload);
            *slot = Slot { offset, file, len, name, form: field.form };
        }
    }
}

/// `utf8_is_printable_newline()` of systemd's `src/basic/utf8.c`: valid characters, no control but the tab and, where it is
/// allowed, the newline.
pub(super) fn printable(bytes: &[u8], newline: bool) -> bool {
    if is_plain(bytes) {
        return true;
    }
    let plain = |c: char| {
        let code = u32::from(c);
        let control = c < ' ' && c != '\t' && !(newline && c == '\n') || (0x7f..=0x9f).contains(&code);
        !(control || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe)
    };
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(plain))
}

/// Whether there is nothing but visible ASCII and spaces, looked at eight bytes at a time.
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    let odd = words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, |odd, word| {
        let low = word.wrapping_sub(ONES * 0x20) & !word;
        let delete = (word ^ (ONES * 0x7f)).wrapping_sub(ONES) & !(word ^ (ONES * 0x7f));
        odd | (low | delete | word) & HIGH
    });
    odd == 0 && rest.iter().all(|byte| (b' '..0x7f).contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_told_from_the_rest_byte_by_byte() {
        for byte in 0..=255 {
            for at in 0..17 {
                let mut text = *b"MESSAGE=some text";
                text[at] = byte;
                assert_eq!(is_plain(&text), (b' '..0x7f).contains(&byte), "{byte:#x} at {at}");
            }
        }
        assert!(printable("\ttab and é".as_bytes(), false));
        assert!(!printable(b"two\nlines", false) && printable(b"two\nlines", true));
        assert!(!printable("\u{85}".as_bytes(), true) && !printable("\u{fffe}".as_bytes(), true) && !printable(b"\xff", true));
    }

    #[test]
    fn a_field_has_a_name() {
        let form = |payload: &[u8]| Field::of(payload).form;
        assert_eq!(form(b"MESSAGE=x"), Form::Text);
        assert_eq!(form(b"MESSAGE=x\ny"), Form::Binary);
        assert_eq!(form(b"_BOOT_ID=x"), Form::Boot);
        for nameless in [&b""[..], b"=x", b"1A=x", b"a=x", b"NOTHING", &[b'A'; 70]] {
            assert_eq!(form(nameless), Form::Nameless, "{nameless:?}");
        }
    }
}
