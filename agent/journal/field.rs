//! Fields as they lie in DATA objects, and those read lately: most lines say again what others said before.

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
    fn numbered(number: u8) -> Self {
        [Self::Text, Self::Binary, Self::Boot].into_iter().find(|form| *form as u8 == number).unwrap_or_default()
    }

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
    /// `NAME=value` and a newline.
    pub line: &'a [u8],
    pub form: Form,
    /// The length of its name.
    pub name: usize,
}

impl<'a> Field<'a> {
    /// Of `NAME=value` and a newline.
    #[must_use]
    pub fn of(line: &'a [u8]) -> Self {
        let (form, name) = Form::of(line.split_last().map_or(line, |(_, payload)| payload));
        Self { line, form, name }
    }

    /// Name and value; `None` where there is no name.
    #[must_use]
    pub fn split(&self) -> Option<(&'a [u8], &'a [u8])> {
        let (_, payload) = self.line.split_last()?;
        let (name, value) = payload.split_at_checked(self.name)?;
        Some((name, value.get(1..)?)).filter(|_| self.form != Form::Nameless)
    }
}

/// The fields read lately. One is kept only when it is read for the second time: what only one line says takes nobody's place.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Which field is kept: its offset and its file's number, and its cell. (Numbers alone, so that memory is taken as it is used.)
    slots: Vec<(u64, u32, u32)>,
    /// Fields read once, by the slot they would take.
    once: Vec<(u64, u32)>,
    /// As many cells as there are fields kept: form, lengths of name and line, line.
    cells: Vec<[u8; CELL]>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { slots: vec![(0, 0, 0); SLOTS], once: vec![(0, 0); SLOTS], cells: Vec::new() }
    }
}

impl Recent {
    fn place(file: u32, offset: u64) -> usize {
        let mixed = (offset >> 3 ^ u64::from(file) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> 32).unwrap_or(0) % SLOTS
    }

    /// The cell that holds the field.
    pub fn find(&self, file: u32, offset: u64) -> Option<usize> {
        let slot = self.slots.get(Self::place(file, offset))?;
        if (slot.0, slot.1) == (offset, file) { usize::try_from(slot.2).ok() } else { None }
    }

    /// The line of a field that is one of text, if it is kept.
    pub fn text(&self, file: u32, offset: u64) -> Option<&[u8]> {
        let [form, _, len, line @ ..] = self.cells.get(self.find(file, offset)?)?;
        if *form == Form::Text as u8 { line.get(..usize::from(*len)) } else { None }
    }

    pub fn get(&self, cell: usize) -> Option<Field<'_>> {
        let [form, name, len, line @ ..] = self.cells.get(cell)?;
        Some(Field { line: line.get(..usize::from(*len))?, form: Form::numbered(*form), name: usize::from(*name) })
    }

    /// Takes note of a field that was read.
    pub fn note(&mut self, file: u32, offset: u64, field: Field<'_>) {
        let place = Self::place(file, offset);
        let (Some(slot), Some(once)) = (self.slots.get_mut(place), self.once.get_mut(place)) else { return };
        let of = (offset, file);
        if std::mem::replace(once, of) != of || field.line.len() > CELL - 3 {
            return;
        }
        if slot.1 == 0 {
            slot.2 = u32::try_from(self.cells.len()).unwrap_or(0);
            self.cells.push([0; CELL]);
        }
        let cell = usize::try_from(slot.2).ok().and_then(|cell| self.cells.get_mut(cell));
        if let (Some([form, name, len, line @ ..]), Ok(its_name), Ok(its_len)) = (cell, u8::try_from(field.name), u8::try_from(field.line.len())) {
            (*form, *name, *len) = (field.form as u8, its_name, its_len);
            line.iter_mut().zip(field.line).for_each(|(to, from)| *to = *from);
            (slot.0, slot.1) = of;
        }
    }
}

/// `utf8_is_printable_newline()` of systemd's `src/basic/utf8.c`: valid characters, no control but the tab and, where it is
/// allowed, the newline.
#[must_use]
pub fn printable(bytes: &[u8], newline: bool) -> bool {
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
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    let odd = words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, |odd, word| {
        let low = word.wrapping_sub(ONES * 0x20) & !word;
        let other = word ^ (ONES * 0x7f);
        let delete = other.wrapping_sub(ONES) & !other;
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
        let form = |payload: &[u8]| Field::of(&[payload, b"\n"].concat()).form;
        assert_eq!(form(b"MESSAGE=x"), Form::Text);
        assert_eq!(form(b"MESSAGE=x\ny"), Form::Binary);
        assert_eq!(form(b"_BOOT_ID=x"), Form::Boot);
        for nameless in [&b""[..], b"=x", b"1A=x", b"a=x", b"NOTHING", &[b'A'; 70]] {
            assert_eq!(form(nameless), Form::Nameless, "{nameless:?}");
        }
    }
}
