//! Where observers put what they learned, and the diagnosis takes it from.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::facts::{Domain, Facts, Observation, Timestamp};

/// The node's current facts, shared by the daemon's observers. Every observer writes its own domain only.
#[derive(Debug)]
pub struct Board {
    facts: Mutex<Facts>,
    /// Counts what was put, so that whoever depends on another domain can wait for news.
    version: watch::Sender<u64>,
    /// The same with every measurement.
    measured: watch::Sender<u64>,
}

impl Board {
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self { facts: Mutex::new(facts), version: watch::Sender::new(0), measured: watch::Sender::new(0) }
    }

    /// Records an observation of `domain` that took `took`, and wakes who waits if it says anything new.
    pub fn put(&self, domain: Domain, took: Duration, update: impl FnOnce(&mut Facts)) {
        let mut facts = self.lock();
        update(&mut facts);
        let at = Timestamp::from(SystemTime::now());
        facts.observed.insert(domain, Observation { at, took_ms: took.as_secs_f64() * 1000.0 });
        drop(facts);
        // It is measured all the time, and nobody looks elsewhere because of what was measured.
        self.wake(domain != Domain::Pressure);
    }

    fn wake(&self, observers: bool) {
        if observers {
            self.version.send_modify(|version| *version += 1);
        }
        self.measured.send_modify(|version| *version += 1);
    }

    /// Records what is no news by itself: nobody is woken, and it is published with the next news.
    pub fn note(&self, update: impl FnOnce(&mut Facts)) {
        update(&mut self.lock());
    }

    /// Adds to what an observer of the domain has put, and wakes who waits.
    pub fn add(&self, update: impl FnOnce(&mut Facts)) {
        update(&mut self.lock());
        self.wake(true);
    }

    /// Records that `domain` was looked at and is as it was; whoever waits sleeps on.
    pub fn confirm(&self, domain: Domain, took: Duration) {
        let at = Timestamp::from(SystemTime::now());
        self.lock().observed.insert(domain, Observation { at, took_ms: took.as_secs_f64() * 1000.0 });
    }

    /// The facts as of now: a copy that nobody changes any more.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let mut facts = self.lock().clone();
        facts.now = Timestamp::from(SystemTime::now());
        facts.certificates_at = facts.now;
        facts
    }

    /// A part of the facts, without copying the rest.
    pub fn read<T>(&self, part: impl FnOnce(&Facts) -> T) -> T {
        part(&self.lock())
    }

    /// Wakes at each later [`Self::put`]: for who judges.
    #[must_use]
    pub fn all_news(&self) -> watch::Receiver<u64> {
        self.measured.subscribe()
    }

    /// Wakes at each later [`Self::put`], but not of the pressure that is measured: for observers.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        // An observer that panicked while it wrote has left complete values: each field is assigned whole.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
