//! What the three checks of stalls share.

use crate::facts::pressure::{Stall, Stalls};
use crate::facts::{Blind, Facts};
use crate::finding::{Component, Finding};

/// A stall that is longer than `limit` percent of the time, as measured over the last minute.
pub(super) struct Over<'a> {
    /// `cpu`, `memory`, `io`: the file in /proc/pressure, and the finding's subject.
    pub(super) resource: &'a str,
    pub(super) stall: fn(&Stalls) -> Option<Stall>,
    /// Which of the two averages counts.
    pub(super) full: bool,
    pub(super) limit: u32,
}

#[allow(clippy::cast_precision_loss)] // a percentage
pub(super) fn finding(facts: &Facts, over: &Over, says: fn(f32) -> String) -> Result<Option<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(None);
    }
    let Some(stall) = (over.stall)(facts.pressure.ok()?.stalls.ok()?) else { return Ok(None) };
    let (name, avg10, avg60) = if over.full { ("full", stall.full_avg10, stall.full_avg60) } else { ("some", stall.some_avg10, stall.some_avg60) };
    let limit = over.limit as f32;
    // Both, so that one that has ended is not told for another minute.
    let long = avg60 >= limit && avg10 >= limit / 2.0;
    let evidence = format!("{name} avg10={avg10:.1} avg60={avg60:.1}: the limit is {limit:.0} % of a minute");
    Ok(long.then(|| Finding::new(Component::Workloads, over.resource, says(avg60)).evidence(format!("/proc/pressure/{}", over.resource), evidence)))
}
