//! Files of the kernel's that are read again and again.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use nix::fcntl::OFlag;

use crate::observe::host::{Host, ReadError};

/// A file below /proc or /sys that is kept open: opening it costs most of reading it. At offset 0 the kernel makes it anew.
#[derive(Debug)]
pub(super) struct Kept {
    path: &'static str,
    file: Option<File>,
}

impl Kept {
    pub fn new(path: &'static str) -> Self {
        Self { path, file: None }
    }

    pub fn path(&self) -> &'static str {
        self.path
    }

    /// The text, of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Host::read`].
    pub fn text(&mut self, host: &Host, limit: u64) -> Result<String, ReadError> {
        if self.file.is_none() {
            self.file = host.open_at(self.path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).ok().map(File::from);
        }
        if let Some(text) = self.file.as_ref().and_then(|file| whole(file, limit)) {
            return Ok(text);
        }
        // What is wrong, its plain reading tells; and the next time it is opened again.
        self.file = None;
        host.read_text(self.path, limit)
    }

    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }
}

const SHORT: usize = 2048;

fn whole(file: &File, limit: u64) -> Option<String> {
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        let read = file.read_at(bytes.get_mut(length..)?, length as u64).ok()?;
        length += read;
        // What is short comes whole (seq_file fills a page); what is longer may come in pieces.
        if read == 0 || length < SHORT {
            break;
        }
        if length as u64 > limit {
            return None;
        }
        if length == bytes.len() {
            bytes.resize(length * 2, 0);
        }
    }
    bytes.truncate(length);
    Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
