//! What one process leaves of its measurements to the next, so that a forecast and a condition's end survive an update of ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::facts::Timestamp;
use crate::facts::pressure::{Point, shared};

/// While a threshold is crossed, when it was last seen so is kept no more often than this: each look would write the file.
const AGAIN: Duration = Duration::from_mins(1);
/// Between two processes of one boot the node's clock was not set, if it tells the same time of the boot to within this.
const SET: Duration = Duration::from_mins(1);

/// The measurements of one boot, as far as the next process needs them: at most 100 points and a line for each signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// When this was so.
    pub(super) at: Timestamp,
    /// When the machine was started, by its clock at that time.
    pub(super) booted: Timestamp,
    #[serde(with = "shared")]
    pub(super) points: Arc<Vec<Point>>,
    #[serde(with = "shared")]
    pub(super) hours: Arc<Vec<Point>>,
    /// The points that the last of the hours has had.
    pub(super) in_hour: usize,
    /// Since when the kubelet has run whose thresholds these are.
    pub(super) kubelet_since: Option<Timestamp>,
    /// By the signal's name.
    pub(super) crossed: BTreeMap<String, Met>,
}

/// A threshold that was crossed, and what the kubelet does about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Met {
    pub last: Timestamp,
    pub soft_since: Option<Timestamp>,
    pub hard_until: Option<u64>,
    pub soft_until: Option<u64>,
}

impl Past {
    /// Whether it is worth writing after `before` was written.
    pub(super) fn is_news(&self, before: &Self) -> bool {
        let acts = |met: &Met| (met.soft_since.is_some(), met.hard_until, met.soft_until);
        let same = |(name, met): (&String, &Met)| {
            let Some(before) = before.crossed.get(name) else { return false };
            let goes_on = met.last == self.at && met.last < before.last.plus(AGAIN);
            acts(met) == acts(before) && (met.last == before.last || goes_on)
        };
        let measured = self.points == before.points && self.kubelet_since == before.kubelet_since;
        !measured || self.crossed.len() != before.crossed.len() || !self.crossed.iter().all(same)
    }

    /// Whether the node's clock goes on as it did then.
    pub(super) fn is_of(&self, clock: SystemTime) -> bool {
        let (booted, now) = (booted(clock), Timestamp::from(clock));
        booted.seconds_since(self.booted).unsigned_abs() <= SET.as_secs() && self.at <= now
    }
}

/// When the machine was started, by its present clock.
pub(super) fn booted(clock: SystemTime) -> Timestamp {
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    Timestamp::from(clock.checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000 + second).unwrap()
    }

    fn past(at: i64, last: &[i64]) -> Past {
        let met = |last: &i64| Met { last: second(*last), soft_since: None, hard_until: Some(7), soft_until: None };
        let crossed = last.iter().enumerate().map(|(index, last)| (index.to_string(), met(last))).collect();
        Past { at: second(at), booted: second(0), points: Arc::default(), hours: Arc::default(), in_hour: 0, kubelet_since: None, crossed }
    }

    /// A node under pressure is not written to at each look; but what has ended is kept to the second.
    #[test]
    fn it_is_written_when_something_begins_or_ends_and_else_once_a_minute() {
        let written = past(100, &[100]);
        for (now, is_news) in [
            (past(110, &[100]), false),
            (past(110, &[110]), false),
            (past(159, &[159]), false),
            (past(160, &[160]), true),
            (past(120, &[110]), true),
            (past(110, &[110, 110]), true),
            (past(110, &[]), true),
        ] {
            assert_eq!(now.is_news(&written), is_news, "{now:?}");
        }
        let restarted = Past { kubelet_since: Some(second(90)), ..past(110, &[100]) };
        assert!(restarted.is_news(&written));
    }

    #[test]
    fn a_clock_that_was_set_meanwhile_tells_another_time_of_the_boot() {
        let clock = SystemTime::now();
        let past = Past { at: Timestamp::from(clock), booted: booted(clock), ..past(0, &[]) };
        assert!(past.is_of(clock) && past.is_of(clock + Duration::from_secs(30)));
        for hours in [1, 48] {
            assert!(!past.is_of(clock + Duration::from_hours(hours)));
            assert!(!past.is_of(clock - Duration::from_hours(hours)));
        }
    }
}
