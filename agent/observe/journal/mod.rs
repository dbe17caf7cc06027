//! The systemd journal, read from its files: no library, no mapping, no program started.
//!
//! ```text
//! host ─→ find: which files ─→ reader: their entries in order ─→ look: which lines matter ─→ tally: what is kept ─→ facts
//! ```
//! What knows the file format, and nothing of Kubernetes, is the crate `nodetriage-journal`; [`klog`], [`container`], [`tally`] know lines and nothing of files.

mod beside;
pub mod container;
mod find;
pub mod follow;
pub mod klog;
mod kmsg;
pub mod logs;
mod look;
pub mod opened;
mod past;
pub mod show;
mod tail;
pub mod tally;
mod watch;

pub use look::observe;
pub use nodetriage_journal::{cache, compress, export, field, file, format, hash, reader};
pub use watch::{Earlier, Kept, watch};
