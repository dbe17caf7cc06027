//! What the signals have been, in few numbers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::facts::Timestamp;
use crate::facts::pressure::{Point, Signal};

/// Measurements kept of one point at most, should they come faster than they are meant to.
const SAMPLES: usize = 600;
/// The clock was set, or the machine slept: what lies before cannot be laid beside what follows.
const JUMP: Duration = Duration::from_mins(1);

/// Makes points of measurements.
#[derive(Debug, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    /// The point that is being measured.
    current: BTreeMap<&'static str, Vec<u64>>,
    since: Option<(Instant, SystemTime)>,
    /// The least of each hour.
    hours: VecDeque<Point>,
    /// The points that the current hour has had.
    in_hour: usize,
    told: (Arc<Vec<Point>>, Arc<Vec<Point>>),
}

/// Points of an hour.
const HOUR: usize = 12;
const HOUR_SECONDS: i64 = 3600;

impl History {
    /// Adds a measurement, made at that instant, which the node's clock calls `clock`.
    pub fn take(&mut self, signals: &[Signal], now: Instant, clock: SystemTime) {
        let (begun, begun_clock) = *self.since.get_or_insert((now, clock));
        let elapsed = now.saturating_duration_since(begun);
        let by_clock = clock.duration_since(begun_clock);
        if by_clock.is_err() || by_clock.is_ok_and(|by_clock| by_clock.abs_diff(elapsed) > JUMP) {
            *self = Self::default();
            self.since = Some((now, clock));
        } else if elapsed >= Point::SPAN {
            self.close(clock);
            self.since = Some((now, clock));
        }
        for signal in signals {
            let samples = self.current.entry(signal.name).or_default();
            if samples.len() < SAMPLES {
                samples.push(signal.available);
            }
        }
    }

    fn close(&mut self, clock: SystemTime) {
        let median = |mut samples: Vec<u64>| {
            samples.sort_unstable();
            samples.get(samples.len() / 2).copied()
        };
        let available = std::mem::take(&mut self.current).into_iter().filter_map(|(name, samples)| Some((name.to_owned(), median(samples)?)));
        let point = Point { at: Timestamp::from(clock), available: available.collect() };
        self.count_in_hour(&point);
        self.points.push_back(point);
        while self.points.len() > Point::MOST {
            self.points.pop_front();
        }
        self.tell();
    }

    fn count_in_hour(&mut self, point: &Point) {
        let Some(hour) = self.hours.back_mut().filter(|_| self.in_hour < HOUR) else {
            self.in_hour = 1;
            self.hours.push_back(point.clone());
            while self.hours.len() > Point::MOST_HOURS {
                self.hours.pop_front();
            }
            return;
        };
        self.in_hour += 1;
        hour.at = point.at;
        for (name, available) in &point.available {
            let least = hour.available.entry(name.clone()).or_insert(*available);
            *least = (*least).min(*available);
        }
    }

    /// What an earlier process has measured, as far as it is not too old by now.
    pub fn resume(points: &[Point], hours: &[Point], in_hour: usize, clock: SystemTime) -> Self {
        let now = Timestamp::from(clock);
        let lately = |all: &[Point], most: usize, span: i64| -> VecDeque<Point> {
            let limit = span.saturating_mul(i64::try_from(most).unwrap_or(i64::MAX));
            let last = all.iter().skip(all.len().saturating_sub(most));
            last.filter(|point| (0..=limit).contains(&now.seconds_since(point.at))).cloned().collect()
        };
        let span = Point::SPAN.as_secs().cast_signed();
        let mut history = Self { points: lately(points, Point::MOST, span), hours: lately(hours, Point::MOST_HOURS, HOUR_SECONDS), ..Self::default() };
        // An hour that has ended meanwhile is not gone on with.
        let goes_on = history.hours.back().is_some_and(|hour| now.seconds_since(hour.at) < HOUR_SECONDS);
        history.in_hour = if goes_on { in_hour } else { HOUR };
        history.tell();
        history
    }

    /// The points that the last hour has had.
    pub fn in_hour(&self) -> usize {
        self.in_hour
    }

    fn tell(&mut self) {
        self.told = (Arc::new(self.points.iter().cloned().collect()), Arc::new(self.hours.iter().cloned().collect()));
    }

    /// The last hours in points, and the last days in hours.
    pub fn told(&self) -> (Arc<Vec<Point>>, Arc<Vec<Point>>) {
        self.told.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(available: u64) -> Vec<Signal> {
        vec![Signal { name: "nodefs.available", available, capacity: 1000 }]
    }

    #[test]
    fn a_point_is_the_median_of_five_minutes_and_there_are_two_hours_of_them() {
        let (start, clock) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_hours(1));
        let mut history = History::default();
        for round in 0..1000_u64 {
            let after = Duration::from_secs(round * 10);
            // An outlier in every point.
            let available = if round % 30 == 7 { 0 } else { 10_000 - round };
            history.take(&signal(available), start + after, clock + after);
        }
        let points = history.told().0;
        assert_eq!(points.len(), Point::MOST);
        assert!(points.iter().all(|point| point.available["nodefs.available"] > 9000));
        let apart: Vec<_> = points.windows(2).map(|pair| pair[1].at.seconds_since(pair[0].at)).collect();
        assert!(apart.iter().all(|seconds| *seconds == 300), "{apart:?}");
    }

    /// Four days, every 10 s: the days are kept in hours, each with its least, and no more than three of them.
    #[test]
    fn the_days_before_are_the_least_of_each_hour() {
        let (start, clock) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_hours(1));
        let mut history = History::default();
        for round in 0..4 * 24 * 360_u64 {
            let after = Duration::from_secs(round * 10);
            history.take(&signal(1_000_000 - round % 8640), start + after, clock + after);
        }
        let hours = history.told().1;
        assert_eq!(hours.len(), Point::MOST_HOURS);
        let apart: Vec<_> = hours.windows(2).map(|pair| pair[1].at.seconds_since(pair[0].at)).collect();
        assert!(apart.iter().rev().skip(1).all(|seconds| *seconds == 3600), "{apart:?}");
        let least = hours.iter().map(|hour| hour.available["nodefs.available"]).min().unwrap();
        assert!((1_000_000 - 8640..1_000_000 - 8600).contains(&least), "{least}");
        assert_eq!(history.told().0.len(), Point::MOST);
    }

    /// Four minutes later, as after an update: as if nothing had been. Three hours later only the days are of use.
    #[test]
    fn another_process_goes_on_where_the_last_one_ended() {
        let (start, clock) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_hours(1000));
        let mut history = History::default();
        for round in 0..5 * 360_u64 {
            let after = Duration::from_secs(round * 10);
            history.take(&signal(1_000_000 - round), start + after, clock + after);
        }
        let (points, hours) = history.told();
        let ended = clock + Duration::from_hours(5);
        let resumed = |later: Duration| History::resume(&points, &hours, history.in_hour(), ended + later);
        let told = resumed(Duration::from_mins(4)).told();
        assert_eq!(told.1, hours);
        assert!(points.ends_with(&told.0) && told.0.len() >= Point::MOST - 1, "{}", told.0.len());
        let mut later = resumed(Duration::from_hours(3));
        assert!(later.told().0.is_empty() && later.told().1 == hours);
        let again = ended + Duration::from_hours(3);
        later.take(&signal(7), start, again);
        later.take(&signal(7), start + Point::SPAN, again + Point::SPAN);
        assert_eq!(later.told().1.len(), hours.len() + 1, "another hour has begun");
        for past in [History::resume(&points, &hours, 0, clock - Duration::from_hours(1)), resumed(Duration::from_hours(100))] {
            assert!(past.told().0.is_empty() && past.told().1.is_empty());
        }
    }

    #[test]
    fn a_clock_that_is_set_begins_a_new_history() {
        let (start, clock) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_hours(1000));
        for jump in [Duration::from_hours(48), Duration::ZERO] {
            let mut history = History::default();
            for round in 0..100_u64 {
                history.take(&signal(1), start + Duration::from_secs(round * 10), clock + Duration::from_secs(round * 10));
            }
            assert_eq!(history.told().0.len(), 3);
            let set = if jump.is_zero() { clock - Duration::from_hours(1) } else { clock + jump };
            history.take(&signal(1), start + Duration::from_secs(1000), set);
            assert!(history.told().0.is_empty() && history.told().1.is_empty());
        }
    }
}
