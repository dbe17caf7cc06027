//! What must survive a restart: one small JSON file, replaced whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::history::Since;
use crate::observe::journal::Kept;
use crate::observe::pressure::Past;

/// The version of the file's form; one of another version is not read.
const SCHEMA: u32 = 1;
/// A node has some dozens of findings, and what is kept of its journal is bounded; a file larger than this is not ours.
const LIMIT: u64 = 8 << 20;

/// What one process leaves to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub schema: u32,
    pub findings: Vec<Since>,
    /// The boot in which this was written.
    pub boot_id: Option<String>,
    /// The process ended because it was asked to, as it is at a shutdown.
    pub stopped: bool,
    pub journal: Option<Kept>,
    pub pressure: Option<Past>,
}

/// The file, in a directory of the agent's own (not the node's).
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    written: Option<State>,
}

impl StateFile {
    /// `state.json` in `directory`, and what it holds. Without the file, or with one that cannot be read, it starts empty;
    /// why it could not be read is told, for the log.
    #[must_use]
    pub fn open(directory: &Path) -> (Self, State, Option<io::Error>) {
        let path = directory.join("state.json");
        let (state, error) = match read(&path) {
            Ok(state) => (state, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (State::default(), None),
            Err(error) => (State::default(), Some(error)),
        };
        (Self { path, written: None }, state, error)
    }

    /// Replaces the file, if `state` says anything else than what was written last.
    ///
    /// # Errors
    /// The file system's. The old file is whole then.
    pub fn write(&mut self, mut state: State) -> io::Result<()> {
        state.schema = SCHEMA;
        if self.written.as_ref() == Some(&state) {
            return Ok(());
        }
        let new = self.path.with_extension("json.new");
        let mut file = File::create(&new)?;
        file.write_all(serde_json::to_string(&state)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        self.written = Some(state);
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<State> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file, or too long to be ours"));
    }
    let state: State = serde_json::from_slice(&fs::read(path)?)?;
    if state.schema != SCHEMA {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("its schema is {}, not {SCHEMA}", state.schema)));
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Timestamp;
    use crate::finding::Reference;

    #[test]
    fn what_is_written_is_read_by_the_next_and_garbage_starts_empty() {
        let directory = std::env::temp_dir().join(format!("nodetriage-state-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let since = Timestamp::from_unix_seconds(1_800_000_000).unwrap();
        let findings = vec![Since { finding: Reference { code: "unit-masked".to_owned(), subject: "kubelet.service".to_owned() }, since }];
        let (mut file, empty, error) = StateFile::open(&directory);
        assert!(error.is_none() && empty == State::default());
        file.write(State { findings: findings.clone(), ..State::default() }).unwrap();
        let (_, read, error) = StateFile::open(&directory);
        assert!(error.is_none());
        assert_eq!(read.findings, findings);
        for garbage in ["", "[]", "{\"schema\":7}"] {
            fs::write(directory.join("state.json"), garbage).unwrap();
            let (_, read, error) = StateFile::open(&directory);
            assert_eq!(read, State::default());
            assert!(error.is_some(), "{garbage:?}");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
