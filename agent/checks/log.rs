//! What the checks of log lines share.

use crate::facts::journal::{LogLine, SignalSeen};
use crate::facts::{Blind, Facts, Timestamp};
use crate::finding::Finding;

/// What was counted for the check of that code.
pub(super) fn seen<'a>(facts: &'a Facts, code: &str) -> Result<Option<&'a SignalSeen>, Blind> {
    Ok(facts.journal.ok()?.signals.get(code))
}

/// How many seconds ago that was: by the node's clock, or on the disk of a dead node by its last line.
pub(super) fn age(facts: &Facts, time: Timestamp) -> i64 {
    let until = facts.journal.known().and_then(|journal| journal.until).filter(|_| !facts.node.live);
    until.unwrap_or(facts.now).seconds_since(time)
}

/// The line as evidence.
pub(super) fn evidence(finding: Finding, line: &LogLine) -> Finding {
    finding.evidence(format!("{}, last {}", line.source, line.time.clock()), line.message.clone())
}
