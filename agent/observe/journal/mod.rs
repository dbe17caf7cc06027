//! The systemd journal, read from its files: no library, no mapping, no program started.

pub mod cache;
pub mod compress;
pub mod export;
pub mod file;
pub mod format;
pub mod hash;
pub mod reader;
