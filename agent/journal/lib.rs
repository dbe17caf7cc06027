//! systemd's journal files, read without a library, without mapping them, and without any program: written from the published
//! [Journal File Format](https://systemd.io/JOURNAL_FILE_FORMAT/). It knows nothing of Kubernetes, nor where the files lie.
//!
//! ```text
//! bytes ─→ cache: blocks ─→ file: objects, hash tables, chains of entries ─→ reader: entries of many files, in order ─→ export
//! ```
//! A crate of its own because it is compiled for speed, the rest for size; and what is fuzzed is built in seconds.
//! Any bytes get a bounded answer: offsets only grow, sizes are capped, a damaged object costs itself and is counted.

pub mod cache;
pub mod compress;
pub mod export;
pub mod field;
pub mod file;
pub mod format;
pub mod hash;
pub mod reader;
