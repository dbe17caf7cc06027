//! What the kubelet remembers of its thresholds, followed beside it (`pkg/kubelet/eviction/eviction_manager.go` `synchronize`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::facts::kubelet::EvictionThreshold;
use crate::facts::pressure::{Crossed, Pressure, Signal};
use crate::facts::{Kubelet, Timestamp};

/// By the signal's name.
#[derive(Debug, Default)]
pub(super) struct Thresholds(BTreeMap<&'static str, Met>);

#[derive(Clone, Copy, Debug)]
struct Met {
    last: (Instant, Timestamp),
    /// Since when the soft threshold has been crossed, if it is.
    soft_since: Option<Instant>,
    /// The kubelet acts because the hard threshold was crossed, until so much is available.
    hard_until: Option<u64>,
    /// The same of the soft one, once it was crossed for its grace period.
    soft_until: Option<u64>,
}

impl Thresholds {
    /// Takes a measurement, and tells what was crossed within the transition period.
    pub fn take(&mut self, pressure: &Pressure, kubelet: &Kubelet, now: Instant, clock: Timestamp) -> Vec<Crossed> {
        let transition = Duration::from_secs(kubelet.eviction_pressure_transition_seconds.value);
        let mut told = Vec::new();
        for signal in pressure.signals() {
            let before = self.0.remove(signal.name);
            let Some(met) = met(&signal, pressure, kubelet, before, (now, clock)) else { continue };
            // The condition stays for a while.
            if now.saturating_duration_since(met.last.0) < transition {
                let reclaiming = met.hard_until.is_some() && pressure.hard(&signal, kubelet).is_none_or(|(_, limit)| signal.available >= limit);
                told.push(Crossed { signal: signal.name.to_owned(), last: met.last.1, reclaiming });
                self.0.insert(signal.name, met);
            }
        }
        told
    }
}

fn met(signal: &Signal, pressure: &Pressure, kubelet: &Kubelet, before: Option<Met>, now: (Instant, Timestamp)) -> Option<Met> {
    let reclaim = pressure.minimum_reclaim(signal, kubelet).map_or(0, |(_, reclaim)| reclaim);
    let short = |limit: &u64| signal.available < *limit;
    let hard = pressure.hard(signal, kubelet).map(|(_, limit)| limit).filter(short);
    let soft = pressure.soft(signal, kubelet).filter(|(_, limit)| short(limit));
    let soft_since = soft.map(|_| before.and_then(|met| met.soft_since).unwrap_or(now.0));
    let acts = |threshold: &EvictionThreshold| {
        let grace = Duration::from_secs(threshold.grace_seconds.unwrap_or(0));
        soft_since.is_some_and(|since| now.0.saturating_duration_since(since) >= grace)
    };
    let until = |limit: u64| limit.saturating_add(reclaim);
    let hard_until = hard.map(until).or_else(|| before?.hard_until.filter(short));
    let soft_until = soft.filter(|(threshold, _)| acts(threshold)).map(|(_, limit)| until(limit)).or_else(|| before?.soft_until.filter(short));
    let crossed = hard.is_some() || soft.is_some() || hard_until.is_some() || soft_until.is_some();
    let last = if crossed { now } else { before?.last };
    Some(Met { last, soft_since, hard_until, soft_until })
}
