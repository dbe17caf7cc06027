//! What the kubelet remembers of its thresholds, followed beside it (`pkg/kubelet/eviction/eviction_manager.go` `synchronize`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::past;
use crate::facts::kubelet::EvictionThreshold;
use crate::facts::pressure::{Crossed, Pressure, Signal};
use crate::facts::{Kubelet, Timestamp};

#[derive(Debug, Default)]
pub(super) struct Thresholds {
    /// By the signal's name.
    met: BTreeMap<String, Met>,
    /// Since when the kubelet has run that remembers them.
    kubelet_since: Option<Timestamp>,
}

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
    /// What an earlier process has followed; `now` and `clock` are the same moment.
    pub fn resume(crossed: &BTreeMap<String, past::Met>, kubelet_since: Option<Timestamp>, now: Instant, clock: Timestamp) -> Self {
        let at = |then: Timestamp| now.checked_sub(Duration::from_micros(clock.unix_micros().checked_sub(then.unix_micros())?.try_into().ok()?));
        let met = |met: &past::Met| {
            let soft_since = met.soft_since.and_then(at);
            Some(Met { last: (at(met.last)?, met.last), soft_since, hard_until: met.hard_until, soft_until: met.soft_until })
        };
        Self { met: crossed.iter().filter_map(|(name, kept)| Some((name.clone(), met(kept)?))).collect(), kubelet_since }
    }

    /// For [`Self::resume`].
    pub fn keep(&self, now: Instant, clock: Timestamp) -> (BTreeMap<String, past::Met>, Option<Timestamp>) {
        let at = |then: Instant| {
            Timestamp::from_unix_micros(clock.unix_micros().checked_sub(now.saturating_duration_since(then).as_micros().try_into().ok()?)?.try_into().ok()?)
        };
        let keep = |met: &Met| past::Met { last: met.last.1, soft_since: met.soft_since.and_then(at), hard_until: met.hard_until, soft_until: met.soft_until };
        (self.met.iter().map(|(name, met)| (name.clone(), keep(met))).collect(), self.kubelet_since)
    }

    /// Another kubelet has been started, if it is known since when it runs: it remembers nothing of the last one's
    /// (`nodeConditionsLastObservedAt` and `thresholdsFirstObservedAt` are in its memory).
    pub fn kubelet_runs_since(&mut self, since: Option<Timestamp>) {
        if let Some(since) = since
            && self.kubelet_since.replace(since).is_some_and(|before| before != since)
        {
            self.met.clear();
        }
    }

    /// Takes a measurement, and tells what was crossed within the transition period.
    pub fn take(&mut self, pressure: &Pressure, kubelet: &Kubelet, now: Instant, clock: Timestamp) -> Vec<Crossed> {
        let transition = Duration::from_secs(kubelet.eviction_pressure_transition_seconds.value);
        let mut told = Vec::new();
        for signal in pressure.signals() {
            let before = self.met.remove(signal.name);
            let Some(met) = met(&signal, pressure, kubelet, before, (now, clock)) else { continue };
            // The condition stays for a while.
            if now.saturating_duration_since(met.last.0) < transition {
                let reclaiming = met.hard_until.is_some() && pressure.hard(&signal, kubelet).is_none_or(|(_, limit)| signal.available >= limit);
                told.push(Crossed { signal: signal.name.to_owned(), last: met.last.1, reclaiming });
                self.met.insert(signal.name.to_owned(), met);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Blind, Observed};
    use crate::observe::host::Host;
    use crate::observe::kubelet;

    /// A kubelet with this in its configuration.
    fn configured(name: &str, config: &str) -> Kubelet {
        let root = std::env::temp_dir().join(format!("nodetriage-crossed-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("var/lib/kubelet")).unwrap();
        let config = format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{config}");
        std::fs::write(root.join("var/lib/kubelet/config.yaml"), config).unwrap();
        let kubelet = kubelet::observe(&Host::open(&root).unwrap(), &Observed::Unknown(Blind::new("no bus")));
        std::fs::remove_dir_all(&root).unwrap();
        kubelet
    }

    /// What is told of nodefs, of 1000 bytes, as the seconds pass: last crossed, and whether it still reclaims. A process that has
    /// measured all of it tells the same as ones that are replaced after each look.
    fn told(name: &str, config: &str, measured: &[(u64, u64)]) -> Vec<Option<(i64, bool)>> {
        let [told, by_many] = [false, true].map(|anew| told_by(&configured(name, config), measured, anew));
        assert_eq!(told, by_many);
        told
    }

    fn told_by(kubelet: &Kubelet, measured: &[(u64, u64)], anew: bool) -> Vec<Option<(i64, bool)>> {
        let mut thresholds = Thresholds::default();
        let (start, clock) = (Instant::now(), Timestamp::from_unix_seconds(1_000_000).unwrap());
        let look = |(second, available): &(u64, u64)| {
            let unknown = serde_json::json!({ "unknown": { "reason": "not here" } });
            let nodefs = serde_json::json!({ "known": { "path": "/x", "available": available, "capacity": 1000, "inodes_free": 0, "inodes": 0, "device": 1 } });
            let pressure = serde_json::json!({ "memory": unknown, "nodefs": nodefs, "imagefs": unknown, "pids": unknown, "mounts": unknown });
            let pressure: Pressure = serde_json::from_value(pressure).unwrap();
            let after = Duration::from_secs(*second);
            let crossed = thresholds.take(&pressure, kubelet, start + after, clock.plus(after));
            if anew {
                let kept = serde_json::to_string(&thresholds.keep(start + after, clock.plus(after))).unwrap();
                let (met, since) = serde_json::from_str(&kept).unwrap();
                thresholds = Thresholds::resume(&met, since, start + after, clock.plus(after));
            }
            crossed.first().map(|crossed| (crossed.last.seconds_since(clock), crossed.reclaiming))
        };
        measured.iter().map(look).collect()
    }

    /// `nodeConditionsObservedSince`: less than the period ago.
    #[test]
    fn a_condition_stays_for_the_transition_period_after_its_threshold_was_last_crossed() {
        let config = "evictionHard: { nodefs.available: 10% }\n";
        let default = told("default", config, &[(0, 500), (10, 99), (20, 99), (30, 100), (319, 500), (320, 500), (330, 99)]);
        assert_eq!(default, [None, Some((10, false)), Some((20, false)), Some((20, false)), Some((20, false)), None, Some((330, false))]);
        let short = told("short", &format!("{config}evictionPressureTransitionPeriod: 30s\n"), &[(0, 99), (29, 500), (30, 500)]);
        assert_eq!(short, [Some((0, false)), Some((0, false)), None]);
    }

    #[test]
    fn another_kubelet_remembers_nothing() {
        let (start, clock) = (Instant::now(), Timestamp::from_unix_seconds(1_000_000).unwrap());
        let met = past::Met { last: clock, soft_since: None, hard_until: None, soft_until: None };
        let mut thresholds = Thresholds::resume(&[("nodefs.available".to_owned(), met)].into(), Some(clock), start, clock.plus(Duration::from_secs(9)));
        for (since, remembered) in [(None, 1), (Some(clock), 1), (None, 1), (Some(clock.plus(Duration::from_secs(8))), 0)] {
            thresholds.kubelet_runs_since(since);
            assert_eq!(thresholds.met.len(), remembered, "{since:?}");
        }
    }

    /// `thresholdsMet(m.thresholdsMet, observations, true)`: the quantity and the minimum reclaim.
    #[test]
    fn once_crossed_it_is_crossed_until_the_minimum_reclaim_is_there() {
        let config = "evictionHard: { nodefs.available: 10% }\nevictionMinimumReclaim: { nodefs.available: 5% }\n";
        let seen = told("reclaim", config, &[(0, 120), (10, 99), (20, 120), (30, 149), (40, 150), (50, 149)]);
        assert_eq!(seen, [None, Some((10, false)), Some((20, true)), Some((30, true)), Some((30, false)), Some((30, false))]);
    }

    /// `nodeConditions(thresholds)` comes before `thresholdsMetGracePeriod`: a soft threshold sets the condition at once, and is
    /// acted on, with its reclaim, only after its grace period.
    #[test]
    fn a_soft_threshold_counts_at_once_and_reclaims_after_its_grace_period() {
        let config = "evictionHard: { nodefs.available: 1% }\nevictionSoft: { nodefs.available: 10% }\nevictionSoftGracePeriod: { nodefs.available: 30s }\n\
                      evictionMinimumReclaim: { nodefs.available: 5% }\n";
        let brief = told("brief", config, &[(0, 99), (20, 99), (29, 120), (30, 120)]);
        assert_eq!(brief, [Some((0, false)), Some((20, false)), Some((20, false)), Some((20, false))]);
        let long = told("long", config, &[(0, 99), (30, 99), (40, 120), (50, 150)]);
        assert_eq!(long, [Some((0, false)), Some((30, false)), Some((40, false)), Some((40, false))]);
    }
}
