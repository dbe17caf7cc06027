//! Which journal files are open, and which could not be.

use std::collections::BTreeMap;

use super::file::JournalFile;
use super::find;
use super::format::Fault;
use super::reader::Reader;
use crate::facts::Blind;
use crate::observe::host::Host;

/// The node's open journal.
#[derive(Debug, Default)]
pub struct Opened {
    pub reader: Reader,
    /// Directories read, as the node names them.
    pub directories: Vec<String>,
    /// Files that could not be read, by path.
    pub unreadable: BTreeMap<String, Blind>,
}

impl Opened {
    /// Opens every file of these directories.
    ///
    /// # Errors
    /// Blind, if there is no journal, or none that can be read.
    pub fn all(host: &Host, directories: Vec<String>) -> Result<Self, Blind> {
        let mut opened = Self { directories, ..Self::default() };
        for directory in opened.directories.clone() {
            for name in find::names(host, &directory)? {
                // A file that journald has only begun is found again by who follows.
                if let Some(file) = opened.open(host, &format!("{directory}/{name}"), &mut false) {
                    opened.reader.files.push(file);
                }
            }
        }
        opened.require_one()?;
        Ok(opened)
    }

    /// Opens a file; `None` if it is gone, or refused, or not completely written yet: then it is `young`.
    pub fn open(&mut self, host: &Host, path: &str, young: &mut bool) -> Option<JournalFile> {
        let opened = find::open(host, path).and_then(|file| match file.map(|file| self.reader.open(file, path.to_owned())) {
            None => Ok(None),
            Some(Ok(file)) => Ok(Some(file)),
            Some(Err(Fault::Incomplete)) => {
                *young = true;
                Ok(None)
            }
            Some(Err(fault)) => Err(refusal(path, &fault)),
        });
        match opened {
            Ok(file) => {
                self.unreadable.remove(path);
                file
            }
            Err(blind) => {
                self.unreadable.insert(path.to_owned(), blind);
                None
            }
        }
    }

    /// # Errors
    /// Blind, if no file is open: there is no journal, or none that can be read.
    fn require_one(&self) -> Result<(), Blind> {
        if !self.reader.files.is_empty() {
            return Ok(());
        }
        Err(self.unreadable.values().next().cloned().unwrap_or_else(|| {
            let [disk, memory] = find::ROOTS;
            Blind::new(format!("no journal in {disk} or {memory}")).grant(format!("mount {disk} and {memory} below the root, or start systemd-journald"))
        }))
    }
}

fn refusal(path: &str, fault: &Fault) -> Blind {
    let blind = Blind::new(format!("{path}: {fault}"));
    match fault {
        Fault::Unsupported(_) => blind.grant("a newer nodetriage; until then journalctl on the node reads it"),
        Fault::Damaged(_) => blind.grant(format!("journalctl --verify --file {path}")),
        Fault::Io(_) | Fault::Incomplete => blind,
    }
}
