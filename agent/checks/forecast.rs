//! When a threshold will be crossed, at the rate of the last hours; said only when it is firm.

use std::time::Duration;

use super::pressure::limit_of;
use crate::facts::pressure::{Point, Signal};
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Facts};

/// A signal on its way to its limit.
#[derive(Clone, Debug)]
pub(super) struct Forecast {
    pub(super) signal: Signal,
    pub(super) limit: u64,
    /// Where the limit was set; `None`: it is when nothing is left.
    pub(super) source: Option<String>,
    /// Seconds until then, at the steeper and at the shallower of the likely rates.
    pub(super) soonest: i64,
    pub(super) latest: i64,
    /// Units an hour.
    pub(super) rate: u64,
    /// Seconds that were looked at.
    pub(super) seen: i64,
    /// What was available at their beginning.
    pub(super) from: u64,
}

impl Forecast {
    /// `in 95 min to 2 h`
    pub(super) fn when(&self) -> String {
        let (soonest, latest) = (human_span(self.soonest), human_span(self.latest));
        if soonest == latest { format!("in about {soonest}") } else { format!("in {soonest} to {latest}") }
    }
}

/// The signals, of those `wanted`, that cross their limit within `horizon`.
pub(super) fn crossing(facts: &Facts, horizon: Duration, wanted: fn(&str) -> bool) -> Result<Vec<Forecast>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let (pressure, kubelet) = (facts.pressure.ok()?, facts.kubelet.ok()?);
    let signals = pressure.signals().into_iter().filter(|signal| wanted(signal.name));
    Ok(signals
        .filter_map(|signal| {
            let (limit, threshold) = limit_of(&signal, pressure, kubelet);
            let series = |points: &[Point]| -> Vec<(f64, f64)> { points.iter().filter_map(|point| sample(point, signal.name, facts)).collect() };
            let fit = fit(&series(&pressure.history), signal.available.checked_sub(limit)?, horizon)?;
            if has_come_back(&series(&pressure.hours), signal.available, limit) {
                return None;
            }
            let source = threshold.map(|threshold| if threshold.source == "default" { "the kubelet's default".to_owned() } else { threshold.source.clone() });
            Some(Forecast { limit, source, soonest: fit.soonest, latest: fit.latest, rate: fit.rate, seen: fit.seen, from: fit.from, signal })
        })
        .collect())
}

/// Seconds (negative: ago) and value.
#[allow(clippy::cast_precision_loss)] // a rate needs no 53 bits
fn sample(point: &Point, name: &str, facts: &Facts) -> Option<(f64, f64)> {
    Some((point.at.seconds_since(facts.now) as f64, *point.available.get(name)? as f64))
}

#[derive(Clone, Copy, Debug)]
struct Fit {
    soonest: i64,
    latest: i64,
    rate: u64,
    seen: i64,
    from: u64,
}

/// Points without which nothing is said: an hour of them.
const LEAST: usize = 12;
/// The spans that are looked at, in points, the longest that is firm counts: two hours, one, half of one.
const WINDOWS: [usize; 3] = [24, 12, 6];
/// It is not said further ahead than four times what was seen.
const AHEAD: f64 = 4.0;
/// Most of what went has to stay gone: a log that is rotated comes back.
const BACK: f64 = 0.25;
/// How far points may lie from the line, as a share of the whole decline.
const SCATTER: f64 = 0.15;
/// The likely rates may differ by so much.
const SPREAD: f64 = 2.5;

/// A robust line (Theil and Sen: the median of the slopes between all pairs) through the last points, if it is firm.
fn fit(series: &[(f64, f64)], left: u64, horizon: Duration) -> Option<Fit> {
    if series.len() < LEAST || comes_back(series) {
        return None;
    }
    WINDOWS.iter().filter_map(|&window| series.get(series.len().checked_sub(window)?..)).find_map(|recent| firm(recent, left, horizon))
}

/// Whether the whole series rises as well as it falls: a saw-tooth, a burst that was cleaned up.
fn comes_back(series: &[(f64, f64)]) -> bool {
    let steps: Vec<f64> = series.windows(2).filter_map(|pair| Some(pair.last()?.1 - pair.first()?.1)).collect();
    let up: f64 = steps.iter().filter(|step| **step > 0.0).sum();
    let down: f64 = -steps.iter().filter(|step| **step < 0.0).sum::<f64>();
    up > BACK * down
}

/// How much deeper than before it may go, as a share of how deep that was.
const DEEPER: f64 = 0.05;
/// How much of it must have come back.
const CAME_BACK: f64 = 0.5;

/// In the last days it was as low as this already, above the limit, and came back by itself: what is rotated or cleaned once a day.
#[allow(clippy::cast_precision_loss)] // to compare only
fn has_come_back(hours: &[(f64, f64)], available: u64, limit: u64) -> bool {
    let mut highest = f64::MIN;
    hours.iter().enumerate().any(|(index, (_, low))| {
        highest = highest.max(*low);
        let fell = highest - low;
        let later = hours.iter().skip(index).map(|(_, value)| *value).fold(f64::MIN, f64::max);
        fell > 0.0 && later - low >= CAME_BACK * fell && *low > limit as f64 && available as f64 >= low - DEEPER * fell
    })
}

fn firm(recent: &[(f64, f64)], left: u64, horizon: Duration) -> Option<Fit> {
    let slopes = slopes(recent);
    let (steep, slope, shallow) = (quantile(&slopes, 0.25)?, quantile(&slopes, 0.5)?, quantile(&slopes, 0.75)?);
    let (first, last) = (recent.first()?, recent.last()?);
    let span = last.0 - first.0;
    // What levels off has stopped, or will; and what has just begun may be over soon.
    let (older, newer) = recent.split_at(recent.len() / 2);
    let keeps_on = [older, newer].iter().all(|half| quantile(&self::slopes(half), 0.5).is_some_and(|half| half < slope * 0.5));
    if shallow >= 0.0 || !keeps_on || steep / shallow > SPREAD || scatter(recent, slope)? > SCATTER * -slope * span {
        return None;
    }
    #[allow(clippy::cast_precision_loss)] // a time of hours needs no 53 bits
    let seconds = |slope: f64| left as f64 / -slope;
    if seconds(slope) > horizon.as_secs_f64() || seconds(slope) > AHEAD * span {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded by the horizon; rates and values are not negative here
    Some(Fit { soonest: seconds(steep) as i64, latest: seconds(shallow) as i64, rate: (-slope * 3600.0) as u64, seen: span as i64, from: first.1 as u64 })
}

fn slopes(points: &[(f64, f64)]) -> Vec<f64> {
    let pairs = points.iter().enumerate().flat_map(|(index, a)| points.iter().skip(index + 1).map(move |b| (a, b)));
    let mut slopes: Vec<f64> = pairs.filter(|(a, b)| b.0 > a.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect();
    slopes.sort_unstable_by(f64::total_cmp);
    slopes
}

/// The typical distance of the points from the line of that slope.
fn scatter(points: &[(f64, f64)], slope: f64) -> Option<f64> {
    let mut offsets: Vec<f64> = points.iter().map(|(time, value)| value - slope * time).collect();
    offsets.sort_unstable_by(f64::total_cmp);
    let offset = quantile(&offsets, 0.5)?;
    let mut distances: Vec<f64> = offsets.iter().map(|other| (other - offset).abs()).collect();
    distances.sort_unstable_by(f64::total_cmp);
    quantile(&distances, 0.5)
}

fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // an index of at most some hundred
    let index = (sorted.len().checked_sub(1)? as f64 * share).round() as usize;
    sorted.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HORIZON: Duration = Duration::from_hours(4);

    /// A series with a value for each minute, as the history makes points of it.
    #[allow(clippy::cast_precision_loss)] // small numbers
    fn points(minutes: &[u64]) -> Vec<(f64, f64)> {
        let chunks: Vec<_> = minutes.rchunks_exact(5).collect();
        let median = |chunk: &[u64]| {
            let mut chunk = chunk.to_vec();
            chunk.sort_unstable();
            chunk[chunk.len() / 2]
        };
        chunks.iter().rev().enumerate().map(|(index, chunk)| (index as f64 * 300.0, median(chunk) as f64)).collect()
    }

    fn recorded(text: &str) -> Vec<u64> {
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// The minutes at which it is said that the limit is crossed within four hours, looking at every minute at the two hours before.
    fn told(minutes: &[u64], limit: u64) -> Vec<(usize, Fit)> {
        let looks = (1..=minutes.len()).filter_map(|now| {
            let seen = &minutes[now.saturating_sub(120)..now];
            Some((now, fit(&points(seen), seen.last()?.checked_sub(limit)?, HORIZON)?))
        });
        looks.collect()
    }

    /// Recorded on a real file system beside real writers (tests/data/pressure/record.sh); the limit lies just below all of them.
    #[test]
    fn a_saw_tooth_a_step_and_a_burst_raise_nothing() {
        for (name, text) in [
            ("sawtooth", include_str!("../../tests/data/pressure/sawtooth.txt")),
            ("step", include_str!("../../tests/data/pressure/step.txt")),
            ("burst", include_str!("../../tests/data/pressure/burst.txt")),
        ] {
            let series = recorded(text);
            let lowest = *series.iter().min().unwrap();
            for limit in [lowest / 2, lowest - lowest / 20, lowest - 1] {
                assert!(told(&series, limit).is_empty(), "{name}: {:?}", told(&series, limit).first());
            }
        }
    }

    #[test]
    fn a_slow_leak_is_told_after_an_hour_and_the_time_comes_true() {
        let series = recorded(include_str!("../../tests/data/pressure/leak.txt"));
        let limit = *series.last().unwrap();
        let told = told(&series, limit);
        let minutes: Vec<_> = told.iter().map(|(now, _)| *now).collect();
        assert_eq!(minutes.first(), Some(&60));
        assert!(minutes.len() > 50, "once it is told it stays: {minutes:?}");
        for (now, fit) in told.iter().filter(|(now, _)| *now <= 100) {
            // It is crossed at the last minute of the record.
            let left = i64::try_from(series.len() - now).unwrap() * 60;
            assert!(fit.soonest <= left + left / 3 && fit.latest >= left - left / 3, "at minute {now}: {left} s left, {fit:?}");
        }
    }

    /// The least of each hour until then, as the history keeps it.
    fn hours(minutes: &[u64]) -> Vec<(f64, f64)> {
        let points = points(minutes);
        points.chunks(12).map(|hour| (hour[hour.len() - 1].0, hour.iter().map(|point| point.1).fold(f64::MAX, f64::min))).collect()
    }

    /// As [`told`], with the days before in mind, or not; a look every ten minutes.
    fn told_with_days(minutes: &[u64], limit: u64, remembers: bool) -> Vec<usize> {
        let looks = (120..=minutes.len()).step_by(10).filter(|&now| {
            let Some(left) = minutes[now - 1].checked_sub(limit) else { return false };
            let is_told = fit(&points(&minutes[now - 120..now]), left, HORIZON).is_some();
            is_told && !(remembers && has_come_back(&hours(&minutes[..now]), minutes[now - 1], limit))
        });
        looks.collect()
    }

    /// 7200 samples of five days: files that are removed at midnight, and on the fourth day are not.
    #[test]
    fn what_is_removed_every_day_is_no_alarm_once_it_was_seen_and_is_one_when_nobody_removes_it() {
        const DAY: usize = 1440;
        let series = recorded(include_str!("../../tests/data/pressure/days.txt"));
        assert_eq!(series.len(), 5 * DAY);
        // Just below the lowest of the first four days: the rate of any evening leads there.
        let below = series[..4 * DAY].iter().min().unwrap() - 3_000_000;
        let forgetful = told_with_days(&series[..4 * DAY], below, false);
        assert!((0..4).all(|day| forgetful.iter().any(|minute| minute / DAY == day)), "each evening looks like the end: {forgetful:?}");
        let told = told_with_days(&series[..4 * DAY], below, true);
        assert!(told.iter().all(|minute| *minute <= DAY), "told once, on the first evening: {told:?}");

        let limit = 140_000_000;
        let crossed = series.iter().position(|available| *available < limit).unwrap();
        let told = told_with_days(&series[..crossed], limit, true);
        let first = told.iter().find(|minute| **minute > 4 * DAY).expect("it is told when it goes deeper");
        assert!(crossed - first > 120, "told at minute {first}, crossed at {crossed}");
        let keeps_on = told.iter().filter(|minute| *minute >= first).count();
        assert!(keeps_on * 10 > (crossed - first) * 8 / 10, "and stays told: {keeps_on} looks of {}", (crossed - first) / 10);
    }

    #[test]
    fn a_fill_that_begins_after_a_quiet_time_is_told_within_the_half_hour() {
        let series: Vec<u64> = (0..240_u64).map(|minute| 1_000_000 - minute.saturating_sub(180) * 1000).collect();
        let told = told(&series, 900_000);
        let first = told.first().expect("it is told").0;
        assert!((195..=212).contains(&first), "at minute {first}");
    }

    #[test]
    fn little_data_odd_data_and_no_data_are_no_forecast() {
        let falling: Vec<u64> = (0..59_u64).map(|minute| 100_000 - minute * 100).collect();
        assert!(told(&falling, 90_000).is_empty(), "less than an hour");
        assert!(fit(&[], 1, HORIZON).is_none());
        assert!(fit(&[(0.0, 5.0); 24], 1, HORIZON).is_none(), "all at one instant");
        assert!(fit(&vec![(f64::NAN, f64::NAN); 24], 1, HORIZON).is_none());
        let flat = vec![500_u64; 240];
        assert!(told(&flat, 499).is_empty());
        let rising: Vec<u64> = (0..240).collect();
        assert!(told(&rising, 0).is_empty());
        let slow: Vec<u64> = (0..240_u64).map(|minute| 1_000_000 - minute).collect();
        assert!(told(&slow, 500_000).is_empty(), "months away");
    }
}
