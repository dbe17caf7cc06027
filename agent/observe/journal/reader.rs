//! Many journal files as one: filters through the indexes, and the order in which journalctl shows entries.

use std::cmp::Ordering;
use std::fs::File;

use super::cache::Cache;
use super::compress::Decompressor;
use super::file::{Chain, Direction, Entry, EntryHead, JournalFile};
use super::format::{Fault, Id};

/// A field's name and value are taken up to this many bytes, unless a caller asks for less.
pub const FIELD_MAX: usize = 64 << 20;

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
    pub(super) cache: Cache,
    pub(super) unpack: Decompressor,
    pub(super) files: Vec<JournalFile>,
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

    /// Takes a file for a journal that this reader's cache may be asked for.
    ///
    /// # Errors
    /// It is no journal, or one that must not be read.
    pub(super) fn open(&mut self, file: File, path: String) -> Result<JournalFile, Fault> {
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
            // What is written from now on is not part of this walk.
            let newest = self.newest_offset(index).unwrap_or(0);
            let bound = if direction == Direction::Forward { 0 } else { newest };
            heads.push(Head { plan, bound: Some(bound), newest, at: None });
        }
        Walk { direction, heads, entry: Entry::default() }
    }

    fn newest_offset(&mut self, index: usize) -> Option<u64> {
        let file = self.files.get(index)?;
        let chain = file.all(&mut self.cache).ok()?;
        // The last items of a file that was not closed may be missing.
        (0..chain.len()).rev().take(4096).find_map(|at| chain.get(file, &mut self.cache, at).ok().flatten())
    }

    fn plan(&mut self, index: usize, filter: &Filter) -> Result<Plan, Fault> {
        let Some(file) = self.files.get(index) else { return Ok(Plan::Never) };
        let parts = |reader: &mut Self, parts: &[Filter]| parts.iter().map(|part| reader.plan(index, part)).collect::<Result<Vec<_>, _>>();
        Ok(match filter {
            Filter::All => Plan::Chain(file.all(&mut self.cache)?),
            Filter::Field(payload) => match file.find_data(&mut self.cache, &mut self.unpack, payload)? {
                Some(offset) => Plan::Chain(file.having(&mut self.cache, offset)?),
                None => Plan::Never,
            },
            Filter::And(filters) => Plan::And(parts(self, filters)?),
            Filter::Or(filters) => Plan::Or(parts(self, filters)?),
        })
    }

    /// The payload of one field of an entry, `FIELD=value`, at most `limit` bytes.
    ///
    /// # Errors
    /// The object is damaged.
    pub fn data(&mut self, file: usize, offset: u64, limit: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let file = self.files.get(file).ok_or(Fault::Damaged("no such file"))?;
        file.data(&mut self.cache, &mut self.unpack, offset, limit, out)
    }

    /// The first value of a field, found from the entry's end, where what is its own lies; `FIELD=` is cut off.
    pub fn value(&mut self, file: usize, entry: &Entry, name: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        let Some(file) = self.files.get(file) else { return false };
        for offset in entry.items.iter().rev() {
            match file.data_if(&mut self.cache, &mut self.unpack, *offset, name, limit, out) {
                Ok(true) => {
                    out.drain(..name.len());
                    return true;
                }
                Ok(false) => {}
                Err(_) => self.damaged += 1,
            }
        }
        false
    }

    /// journalctl's cursor of that entry.
    #[must_use]
    pub fn cursor(&self, file: usize, head: &EntryHead) -> String {
        let seqnum_id = self.files.get(file).map_or(Id::default(), |file| file.header.seqnum_id);
        format!("s={seqnum_id};i={:x};b={};m={:x};t={:x};x={:x}", head.seqnum, head.boot_id, head.monotonic, head.realtime, head.xor_hash)
    }
}

#[derive(Debug)]
struct Head {
    plan: Plan,
    /// Where the search goes on; `None` when the file is done.
    bound: Option<u64>,
    /// The last entry that was there when the walk began.
    newest: u64,
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
    /// Goes to the next entry, in journalctl's order; its file's index, or `None` at the end. The entry is in [`Walk::entry`].
    pub fn next(&mut self, reader: &mut Reader) -> Option<usize> {
        loop {
            let index = self.nearest(reader)?;
            let head = self.heads.get_mut(index)?.at.take()?;
            self.skip_same(reader, index, &head);
            let file = reader.files.get(index)?;
            match file.entry(&mut reader.cache, head.offset, &mut self.entry) {
                Ok(()) => return Some(index),
                Err(_) => reader.damaged += 1,
            }
        }
    }

    /// The file whose next entry comes first.
    fn nearest(&mut self, reader: &mut Reader) -> Option<usize> {
        let mut best: Option<(usize, EntryHead)> = None;
        for index in 0..self.heads.len() {
            let Some(head) = self.fill(reader, index) else { continue };
            let first = match &best {
                None => true,
                Some((other, best)) => {
                    let order = compare(reader, (index, &head), (*other, best));
                    order == if self.direction == Direction::Forward { Ordering::Less } else { Ordering::Greater }
                }
            };
            if first {
                best = Some((index, head));
            }
        }
        best.map(|(index, _)| index)
    }

    /// The file's next entry, looked for if it is not known yet.
    fn fill(&mut self, reader: &mut Reader, index: usize) -> Option<EntryHead> {
        let (head, file) = (self.heads.get_mut(index)?, reader.files.get(index)?);
        while head.at.is_none() {
            let bound = head.bound?;
            let found = head.plan.seek(file, &mut reader.cache, bound, self.direction);
            let Ok(Some(offset)) = found else {
                reader.damaged += u64::from(found.is_err());
                head.bound = None;
                return None;
            };
            if offset > head.newest {
                head.bound = None;
                return None;
            }
            head.bound = if self.direction == Direction::Forward { offset.checked_add(1) } else { offset.checked_sub(1) };
            match file.head(&mut reader.cache, offset) {
                Ok(found) => head.at = Some(found),
                Err(_) => reader.damaged += 1,
            }
        }
        head.at
    }

    /// An entry that was copied to another file (as at a flush to disk) is shown once.
    fn skip_same(&mut self, reader: &Reader, index: usize, head: &EntryHead) {
        for other in 0..self.heads.len() {
            let same =
                other != index && self.heads.get(other).and_then(|o| o.at).is_some_and(|at| compare(reader, (other, &at), (index, head)) == Ordering::Equal);
            if same && let Some(other) = self.heads.get_mut(other) {
                other.at = None;
            }
        }
    }
}

/// `compare_locations()` of sd-journal: by sequence number where both come from the same counter, by the boot's clock
/// within one boot, else by time of day, at last by content.
fn compare(reader: &Reader, a: (usize, &EntryHead), b: (usize, &EntryHead)) -> Ordering {
    let counter = |index: usize| reader.files.get(index).map(|file| file.header.seqnum_id);
    let (a, b, same_counter) = (a.1, b.1, counter(a.0) == counter(b.0));
    let same_boot = a.boot_id == b.boot_id;
    if same_boot && a.monotonic == b.monotonic && a.realtime == b.realtime && a.xor_hash == b.xor_hash && (!same_counter || a.seqnum == b.seqnum) {
        return Ordering::Equal;
    }
    let by_counter = if same_counter { a.seqnum.cmp(&b.seqnum) } else { Ordering::Equal };
    let by_boot = if same_boot { a.monotonic.cmp(&b.monotonic) } else { Ordering::Equal };
    by_counter.then(by_boot).then(a.realtime.cmp(&b.realtime)).then(a.xor_hash.cmp(&b.xor_hash))
}
