//! Readers of a report, never of the node.

pub mod text;

use std::sync::Arc;

use tokio::sync::watch;

use crate::diagnose::Report;
use crate::facts::Facts;

/// One diagnosis with the facts it was made of. What is served is rendered from this and from nothing else.
#[derive(Debug)]
pub struct Snapshot {
    pub report: Report,
    pub facts: Facts,
}

/// The last diagnosis; `None` until the first round of observation is complete.
pub type Latest = watch::Receiver<Option<Arc<Snapshot>>>;

/// Why the agent itself (not the node) is unwell: an observer has died, or the loop hangs. `None`: it is well.
pub type Unwell = Arc<dyn Fn() -> Option<String> + Send + Sync>;
