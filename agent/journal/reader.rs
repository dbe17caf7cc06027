//! Many journal files as one: filters through the indexes, and the order in which journalctl shows entries.

use std::cmp::Ordering;
use std::fmt;
use std::fs::File;

use crate::cache::Cache;
use crate::compress::Decompressor;
use crate::field::{Field, Recent};
use crate::file::{Chain, Direction, Entry, EntryHead, JournalFile};
use crate::format::{Fault, Id, hex_digits};

/// A field's name and value are taken up to this many bytes, unless a caller asks for less.
pub const FIELD_MAX: usize = 64 << 20;

/// What is kept of the room that a long field took.
const BUFFER_MAX: usize = 64 << 10;

/// Which entries are wanted. Fields are looked up in the files' hash tables, so that what does not match is never read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every entry.
    All,
    /// `FIELD=value`, byte for byte.
    Field(Vec<u8>),
    And(Vec<Filter>),
    Or(Vec<Filter>),
}

impl Filter {
    /// Entries that have this field with this value.
    #[must_use]
    pub fn field(name: &str, value: &str) -> Self {
        Self::Field(format!("{name}={value}").into_bytes())
    }
}

/// A filter resolved in one file.
#[derive(Clone, Debug)]
enum Plan {
    Never,
    Chain(Chain),
    And(Vec<Plan>),
    Or(Vec<Plan>),
}

impl Plan {
    /// What has all of these; what lies in the fewest entries is looked for first.
    fn all_of(mut parts: Vec<Self>) -> Self {
        if parts.iter().any(|part| matches!(part, Self::Never)) {
            return Self::Never;
        }
        parts.sort_by_key(Self::most);
        if parts.len() == 1 { parts.remove(0) } else { Self::And(parts) }
    }

    /// What has any of these.
    fn any_of(mut parts: Vec<Self>) -> Self {
        parts.retain(|part| !matches!(part, Self::Never));
        match parts.len() {
            0 => Self::Never,
            1 => parts.remove(0),
            _ => Self::Or(parts),
        }
    }

    /// No more entries than these match.
    fn most(&self) -> u64 {
        match self {
            Self::Never => 0,
            Self::Chain(chain) => chain.len(),
            Self::And(parts) => parts.iter().map(Self::most).min().unwrap_or(0),
            Self::Or(parts) => parts.iter().map(Self::most).fold(0, u64::saturating_add),
        }
    }

    /// The nearest entry at or beyond `bound` that matches.
    fn seek(&mut self, file: &JournalFile, cache: &mut Cache, bound: u64, direction: Direction) -> Result<Option<u64>, Fault> {
        match self {
            Self::Never => Ok(None),
            Self::Chain(chain) => chain.seek(file, cache, bound, direction),
            Self::Or(parts) => {
                let mut nearest = None;
                for part in parts {
                    let found = part.seek(file, cache, bound, direction)?;
                    nearest = match (nearest, found) {
                        (Some(a), Some(b)) if (direction == Direction::Forward) == (b < a) => Some(b),
                        (None, found) => found,
                        (nearest, _) => nearest,
                    };
                }
                Ok(nearest)
            }
            Self::And(parts) => {
                let mut bound = bound;
                // Each turn moves the bound strictly further, or all parts agree.
                'again: loop {
                    let mut agreed = None;
                    for part in parts.iter_mut() {
                        let Some(found) = part.seek(file, cache, bound, direction)? else { return Ok(None) };
                        if agreed.is_some_and(|agreed| agreed != found) {
                            bound = found;
                            continue 'again;
                        }
                        if agreed.is_none() {
                            agreed = Some(found);
                            bound = found;
                        }
                    }
                    return Ok(agreed);
                }
            }
        }
    }
}

/// Open journal files, read through one cache.
#[derive(Debug, Default)]
pub struct Reader {
    /// What reads the files.
    pub cache: Cache,
    pub unpack: Decompressor,
    /// A file's index here is how it is called everywhere else.
    pub files: Vec<JournalFile>,
    recent: Recent,
    /// Ids written lately: a counter's and a boot's.
    digits: [Option<(Id, [u8; 32])>; 2],
    /// The field read last, if it is not a recent one.
    buffer: Vec<u8>,
    opened: u32,
    /// Objects that could not be read and were passed over.
    pub damaged: u64,
}

impl Reader {
    /// Adds a file.
    ///
    /// # Errors
    /// It is no journal, or one that must not be read.
    pub fn add(&mut self, file: File, path: String) -> Result<(), Fault> {
        let file = self.open(file, path)?;
        self.files.push(file);
        Ok(())
    }

    /// Forgets the blocks that were read: half a megabyte, of which who follows needs a little.
    pub fn rest(&mut self) {
        self.cache = Cache::default();
    }

    /// Takes a file for a journal that this reader's cache may be asked for.
    ///
    /// # Errors
    /// It is no journal, or one that must not be read.
    pub fn open(&mut self, file: File, path: String) -> Result<JournalFile, Fault> {
        self.opened = self.opened.wrapping_add(1);
        JournalFile::new(file, path, self.opened)
    }

    #[must_use]
    pub fn files(&self) -> &[JournalFile] {
        &self.files
    }

    /// The boot of the newest entry of all.
    #[must_use]
    pub fn newest_boot(&mut self) -> Option<Id> {
        let mut walk = self.walk(&Filter::All, Direction::Backward);
        walk.next(self).map(|_| walk.entry.head.boot_id)
    }

    /// Begins to go through the entries that match, as the files are now.
    #[must_use]
    pub fn walk(&mut self, filter: &Filter, direction: Direction) -> Walk {
        let mut heads = Vec::with_capacity(self.files.len());
        for index in 0..self.files.len() {
            let plan = self.plan(index, filter).unwrap_or_else(|_| {
                self.damaged += 1;
                Plan::Never
            });
            // What is written from now on is not part of this walk: its chains end where they end now.
            let bound = if direction == Direction::Forward { 0 } else { u64::MAX };
            heads.push(Head { plan, bound: Some(bound), at: None });
        }
        Walk { direction, heads, entry: Entry::default() }
    }

    /// Where the last `count` entries that match lie, oldest first: file and offset, for [`Self::entry`].
    #[must_use]
    pub fn tail(&mut self, filter: &Filter, count: usize) -> Vec<(usize, u64)> {
        let mut walk = self.walk(filter, Direction::Backward);
        let mut found = Vec::new();
        while found.len() < count
            && let Some((file, head)) = walk.next_head(self)
        {
            found.push((file, head.offset));
        }
        found.reverse();
        found
    }

    /// Reads the entry at `offset` of a file into `entry`.
    ///
    /// # Errors
    /// There is no whole entry.
    pub fn entry(&mut self, file: usize, offset: u64, entry: &mut Entry) -> Result<(), Fault> {
        self.files.get(file).ok_or_else(no_file)?.entry(&mut self.cache, offset, entry)
    }

    fn plan(&mut self, index: usize, filter: &Filter) -> Result<Plan, Fault> {
        let Some(file) = self.files.get(index) else { return Ok(Plan::Never) };
        let parts = |reader: &mut Self, parts: &[Filter]| parts.iter().map(|part| reader.plan(index, part)).collect::<Result<Vec<_>, _>>();
        Ok(match filter {
            Filter::All => Plan::Chain(counted(file.all(&mut self.cache)?, &mut self.damaged)),
            Filter::Field(payload) => match file.find_data(&mut self.cache, &mut self.unpack, payload)? {
                Some(offset) => Plan::Chain(counted(file.having(&mut self.cache, offset)?, &mut self.damaged)),
                None => Plan::Never,
            },
            Filter::And(filters) => Plan::all_of(parts(self, filters)?),
            Filter::Or(filters) => Plan::any_of(parts(self, filters)?),
        })
    }

    /// The payload of one field of an entry, `FIELD=value`, at most `limit` bytes.
    ///
    /// # Errors
    /// The object is damaged.
    pub fn data(&mut self, file: usize, offset: u64, limit: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let file = self.files.get(file).ok_or_else(no_file)?;
        file.data(&mut self.cache, &mut self.unpack, offset, limit, out)
    }

    /// The digits of an id: as a rule the same as before.
    pub(crate) fn digits(&mut self, place: usize, id: Id) -> [u8; 32] {
        match self.digits.get_mut(place) {
            Some(Some((kept, digits))) if *kept == id => *digits,
            kept => {
                let digits = id.digits();
                if let Some(kept) = kept {
                    *kept = Some((id, digits));
                }
                digits
            }
        }
    }

    /// The line of a field that is one of text, if it was read lately.
    pub(crate) fn text(&self, file: usize, offset: u64) -> Option<&[u8]> {
        self.recent.text(self.files.get(file)?.key(), offset)
    }

    /// The payload of one field, if it begins with `prefix`, at most `limit` bytes.
    ///
    /// # Errors
    /// The object is damaged.
    pub fn data_if(&mut self, file: usize, offset: u64, prefix: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<bool, Fault> {
        let file = self.files.get(file).ok_or(Fault::Damaged("no such file"))?;
        file.data_if(&mut self.cache, &mut self.unpack, offset, prefix, limit, out)
    }

    /// One field of an entry, at most `limit` bytes of it.
    ///
    /// # Errors
    /// The object is damaged.
    pub fn field(&mut self, file: usize, offset: u64, limit: usize) -> Result<Field<'_>, Fault> {
        let file = self.files.get(file).ok_or_else(no_file)?;
        if let Some(place) = self.recent.find(file.key(), offset) {
            return self.recent.get(place).ok_or_else(no_file);
        }
        self.buffer.shrink_to(BUFFER_MAX);
        file.data(&mut self.cache, &mut self.unpack, offset, limit, &mut self.buffer)?;
        let whole = self.buffer.len() < limit;
        self.buffer.push(b'\n');
        let field = Field::of(&self.buffer);
        if whole {
            self.recent.note(file.key(), offset, field);
        }
        Ok(field)
    }

    /// The first value of a field, as `sd_journal_get_data()` gives it; `FIELD=` is cut off.
    pub fn first(&mut self, file: usize, entry: &Entry, name: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        entry.items.iter().any(|offset| self.value_at(file, *offset, name, limit, out))
    }

    /// The last value of a field, which is sooner found: what is an entry's own lies at its end. `FIELD=` is cut off.
    pub fn value(&mut self, file: usize, entry: &Entry, name: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        entry.items.iter().rev().any(|offset| self.value_at(file, *offset, name, limit, out))
    }

    fn value_at(&mut self, file: usize, offset: u64, name: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        let Some(file) = self.files.get(file) else { return false };
        let found = file.data_if(&mut self.cache, &mut self.unpack, offset, name, limit.saturating_add(name.len()), out);
        self.damaged += u64::from(found.is_err());
        if matches!(found, Ok(true)) {
            out.drain(..name.len());
            return true;
        }
        false
    }

    /// The entry's place, which journalctl knows by the same text.
    #[must_use]
    pub fn cursor(&self, file: usize, head: &EntryHead) -> Cursor {
        let seqnum_id = self.files.get(file).map_or(Id::default(), |file| file.header.seqnum_id);
        let EntryHead { seqnum, boot_id, monotonic, realtime, xor_hash, .. } = *head;
        Cursor { seqnum_id, seqnum, boot_id, monotonic, realtime, xor_hash }
    }

    /// The boots that left entries, oldest first, as `journalctl --list-boots` has them.
    #[must_use]
    pub fn boots(&mut self) -> Vec<Boot> {
        let mut boots: Vec<Boot> = Vec::new();
        for index in 0..self.files.len() {
            match self.boots_of(index) {
                Ok(found) => found.into_iter().for_each(|boot| match boots.iter_mut().find(|other| other.id == boot.id) {
                    Some(other) => (other.first, other.last) = (other.first.min(boot.first), other.last.max(boot.last)),
                    None => boots.push(boot),
                }),
                Err(_) => self.damaged += 1,
            }
        }
        boots.sort_by_key(|boot| (boot.first, boot.id));
        boots
    }

    fn boots_of(&mut self, index: usize) -> Result<Vec<Boot>, Fault> {
        let Some(file) = self.files.get(index) else { return Ok(Vec::new()) };
        let mut boots = Vec::new();
        let mut payload = Vec::new();
        for offset in file.values(&mut self.cache, b"_BOOT_ID", BOOTS_MAX)? {
            file.data(&mut self.cache, &mut self.unpack, offset, 64, &mut payload)?;
            let Some(id) = std::str::from_utf8(&payload).ok().and_then(|text| Id::parse(text.strip_prefix("_BOOT_ID=")?)) else { continue };
            let chain = file.having(&mut self.cache, offset)?;
            let Some(last) = chain.len().checked_sub(1) else { continue };
            let mut time = |at| -> Result<Option<u64>, Fault> {
                let Some(offset) = chain.get(file, &mut self.cache, at)? else { return Ok(None) };
                Ok(Some(file.head(&mut self.cache, offset)?.realtime))
            };
            if let (Some(first), Some(last)) = (time(0)?, time(last)?) {
                boots.push(Boot { id, first, last });
            }
        }
        Ok(boots)
    }
}

fn counted(chain: Chain, damaged: &mut u64) -> Chain {
    *damaged += u64::from(chain.is_cut());
    chain
}

/// Boots listed of one file.
const BOOTS_MAX: usize = 10_000;

/// A boot, and when its first and last entries were written, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    pub id: Id,
    pub first: u64,
    pub last: u64,
}

/// An entry's place in any copy of its journal: `s=…;i=…;b=…;m=…;t=…;x=…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub seqnum_id: Id,
    pub seqnum: u64,
    pub boot_id: Id,
    /// Microseconds since boot.
    pub monotonic: u64,
    /// Microseconds since 1970.
    pub realtime: u64,
    pub xor_hash: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(160);
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Cursor {
    /// Appends journalctl's text.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.write_with(&self.seqnum_id.digits(), &self.boot_id.digits(), out);
    }

    /// As [`Self::write`], with the digits of both ids.
    pub(crate) fn write_with(&self, seqnum_id: &[u8; 32], boot_id: &[u8; 32], out: &mut Vec<u8>) {
        out.extend_from_slice(b"s=");
        out.extend_from_slice(seqnum_id);
        hex(*b";i=", self.seqnum, out);
        out.extend_from_slice(b";b=");
        out.extend_from_slice(boot_id);
        hex(*b";m=", self.monotonic, out);
        hex(*b";t=", self.realtime, out);
        hex(*b";x=", self.xor_hash, out);
    }

    /// From journalctl's text; `None` unless it has all six parts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let part = |name: &str| text.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| u64::from_str_radix(part(name)?, 16).ok();
        Some(Self {
            seqnum_id: Id::parse(part("s")?)?,
            seqnum: number("i")?,
            boot_id: Id::parse(part("b")?)?,
            monotonic: number("m")?,
            realtime: number("t")?,
            xor_hash: number("x")?,
        })
    }
}

fn no_file() -> Fault {
    Fault::Damaged("no such file")
}

fn hex(before: [u8; 3], number: u64, out: &mut Vec<u8>) {
    let mut text = [b'0'; 16];
    for (digits, half) in text.as_chunks_mut::<8>().0.iter_mut().zip(number.to_be_bytes().as_chunks::<4>().0) {
        *digits = hex_digits(u32::from_be_bytes(*half));
    }
    let zeros = usize::try_from(number.leading_zeros() / 4).unwrap_or(0).min(text.len() - 1);
    out.extend_from_slice(&before);
    out.extend_from_slice(text.get(zeros..).unwrap_or_default());
}

/// Where a walk shall go on: at the first entry there or later going forward, the last there or earlier going backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Microseconds since 1970.
    Realtime(u64),
    /// Microseconds since that boot. Files without entries of it are left out.
    Monotonic(Id, u64),
    Cursor(Cursor),
}

#[derive(Debug)]
struct Head {
    plan: Plan,
    /// Where the search goes on; `None` when the file is done.
    bound: Option<u64>,
    at: Option<EntryHead>,
}

/// A position among the matching entries of all files.
#[derive(Debug)]
pub struct Walk {
    direction: Direction,
    heads: Vec<Head>,
    /// The entry reached last.
    pub entry: Entry,
}

impl Walk {
    /// Moves to a place.
    pub fn seek(&mut self, reader: &mut Reader, place: &Place) {
        for index in 0..self.heads.len() {
            let bound = self.bound(reader, index, place).unwrap_or_else(|_| {
                reader.damaged += 1;
                None
            });
            if let Some(head) = self.heads.get_mut(index) {
                (head.bound, head.at) = (bound, None);
            }
        }
    }

    /// The offset of the entry in that file from which the search goes on.
    fn bound(&self, reader: &mut Reader, index: usize, place: &Place) -> Result<Option<u64>, Fault> {
        let Reader { cache, unpack, files, .. } = reader;
        let Some(file) = files.get(index) else { return Ok(None) };
        let boot = |cache: &mut Cache, unpack: &mut Decompressor, id: Id| -> Result<Option<Chain>, Fault> {
            let found = file.find_data(cache, unpack, format!("_BOOT_ID={id}").as_bytes())?;
            found.map(|offset| file.having(cache, offset)).transpose()
        };
        // Backward the entry before the first beyond is wanted.
        let beyond = self.direction == Direction::Backward;
        let reached = |value: u64, wanted: u64| if beyond { value > wanted } else { value >= wanted };
        let (chain, at) = match place {
            Place::Cursor(cursor) if cursor.seqnum_id == file.header.seqnum_id => {
                let all = file.all(cache)?;
                let at = all.partition(file, cache, |head| reached(head.seqnum, cursor.seqnum))?;
                (all, at)
            }
            Place::Monotonic(id, micros) | Place::Cursor(Cursor { boot_id: id, monotonic: micros, .. }) if let Some(chain) = boot(cache, unpack, *id)? => {
                let at = chain.partition(file, cache, |head| reached(head.monotonic, *micros))?;
                // After the boot's last entry those of the next boot follow, in the order of time.
                (chain, at)
            }
            Place::Monotonic(..) => return Ok(None),
            Place::Realtime(micros) | Place::Cursor(Cursor { realtime: micros, .. }) => {
                let all = file.all(cache)?;
                let at = all.partition(file, cache, |head| reached(head.realtime, *micros))?;
                (all, at)
            }
        };
        let found = if beyond { at.checked_sub(1) } else { Some(at) };
        let offset = found.map_or(Ok(None), |at| chain.get(file, cache, at))?;
        // Beyond the last entry of a boot lies whatever was written after it.
        Ok(match (offset, beyond) {
            (None, false) if at >= chain.len() && !chain.is_empty() => chain.get(file, cache, chain.len() - 1)?.and_then(|last| last.checked_add(1)),
            (offset, _) => offset,
        })
    }

    /// Goes to the next entry, in journalctl's order; its file's index, or `None` at the end. The entry is in [`Walk::entry`].
    pub fn next(&mut self, reader: &mut Reader) -> Option<usize> {
        loop {
            let (index, head) = self.next_head(reader)?;
            let file = reader.files.get(index)?;
            match file.items(&mut reader.cache, head, &mut self.entry) {
                Ok(()) => return Some(index),
                Err(_) => reader.damaged += 1,
            }
        }
    }

    /// As [`Self::next`], without reading which fields the entry has.
    fn next_head(&mut self, reader: &mut Reader) -> Option<(usize, EntryHead)> {
        let index = self.nearest(reader)?;
        let head = self.heads.get_mut(index)?.at.take()?;
        // An entry that was copied to another file (as at a flush to disk) is shown once.
        for (other, same) in self.heads.iter_mut().enumerate() {
            let is_same = |at: &EntryHead| at.xor_hash == head.xor_hash && compare(reader, (other, at), (index, &head)).is_eq();
            if same.at.as_ref().is_some_and(is_same) {
                same.at = None;
            }
        }
        Some((index, head))
    }

    /// The file whose next entry comes first.
    fn nearest(&mut self, reader: &mut Reader) -> Option<usize> {
        for index in 0..self.heads.len() {
            self.fill(reader, index);
        }
        let before = if self.direction == Direction::Forward { Ordering::Less } else { Ordering::Greater };
        let mut best: Option<(usize, &EntryHead)> = None;
        for (index, head) in self.heads.iter().enumerate() {
            if let Some(head) = &head.at
                && best.is_none_or(|best| compare(reader, (index, head), best) == before)
            {
                best = Some((index, head));
            }
        }
        best.map(|(index, _)| index)
    }

    /// Looks for the file's next entry, if it is not known yet.
    fn fill(&mut self, reader: &mut Reader, index: usize) {
        let (Some(head), Some(file)) = (self.heads.get_mut(index), reader.files.get(index)) else { return };
        while head.at.is_none()
            && let Some(bound) = head.bound
        {
            let found = head.plan.seek(file, &mut reader.cache, bound, self.direction);
            let Ok(Some(offset)) = found else {
                reader.damaged += u64::from(found.is_err());
                head.bound = None;
                return;
            };
            head.bound = if self.direction == Direction::Forward { offset.checked_add(1) } else { offset.checked_sub(1) };
            match file.head(&mut reader.cache, offset) {
                Ok(found) => head.at = Some(found),
                Err(_) => reader.damaged += 1,
            }
        }
    }
}

/// `compare_locations()` of sd-journal: by sequence number where both come from the same counter, by the boot's clock
/// within one boot, else by time of day, at last by content.
#[must_use]
pub fn compare(reader: &Reader, a: (usize, &EntryHead), b: (usize, &EntryHead)) -> Ordering {
    let counter = |index: usize| reader.files.get(index).map(|file| file.header.seqnum_id);
    let (a, b, same_counter) = (a.1, b.1, counter(a.0) == counter(b.0));
    if same_counter && a.seqnum != b.seqnum {
        return a.seqnum.cmp(&b.seqnum);
    }
    let same_boot = a.boot_id == b.boot_id;
    if same_boot && a.monotonic == b.monotonic && a.realtime == b.realtime && a.xor_hash == b.xor_hash {
        return Ordering::Equal;
    }
    let by_boot = if same_boot { a.monotonic.cmp(&b.monotonic) } else { Ordering::Equal };
    by_boot.then(a.realtime.cmp(&b.realtime)).then(a.xor_hash.cmp(&b.xor_hash))
}
