//! The systemd journal, read from its files: no library, no mapping, no program started.
//!
//! ```text
//! host ─→ find: which files ─→ reader: their entries in order ─→ look: which lines matter ─→ tally: what is kept ─→ facts
//! ```
//! [`reader`], [`file`](mod@file), [`cache`], [`format`](mod@format), [`compress`], [`hash`] know the file format and nothing of Kubernetes;
//! [`klog`], [`container`], [`tally`] know lines and nothing of files.

mod beside;
pub mod cache;
pub mod compress;
pub mod container;
pub mod export;
pub mod field;
pub mod file;
mod find;
pub mod follow;
pub mod format;
pub mod hash;
pub mod klog;
mod kmsg;
pub mod logs;
mod look;
pub mod opened;
mod past;
pub mod reader;
pub mod show;
mod tail;
pub mod tally;
mod watch;

pub use look::observe;
pub use watch::{Earlier, Kept, watch};
