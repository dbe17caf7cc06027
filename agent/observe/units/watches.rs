//! The units that are watched: those that are listed, those that a pattern finds, and those that one of these hangs on.

use crate::config::Config;
use crate::facts::Units;
use crate::facts::units::{NETWORK_ONLINE, Unit, UnitSource};

use super::properties::Memory;
use super::watched;

/// Most units that are watched besides those that are listed. A pattern may name all of a node, and each costs two questions
/// at every look and a rule on the bus, of which a connection may have 512 (`max_match_rules_per_connection` of dbus-daemon).
const MOST: usize = 128;

/// Why a unit is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is one of those known, or of those configured.
    Listed,
    /// A pattern of the configuration has found it.
    Pattern,
    /// A watched unit hangs on it.
    Dependency,
}

/// A watched unit, as it was last told.
#[derive(Debug)]
pub(super) struct Watched {
    /// The name we ask for.
    pub name: String,
    /// Its own name, where the one we ask for is an alias.
    pub id: String,
    pub why: Why,
    pub unit: Unit,
    pub memory: Memory,
}

/// The watched units, kept from one connection to the next.
#[derive(Debug)]
pub(super) struct Watches {
    pub all: Vec<Watched>,
    pub patterns: Vec<String>,
}

impl Watches {
    pub fn new(config: &Config) -> Self {
        let mut watches = Self { all: Vec::new(), patterns: config.units.patterns().map(str::to_owned).collect() };
        for name in watched(config) {
            watches.all.push(Watched::new(&name, Why::Listed));
        }
        watches
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Watched> {
        self.all.get_mut(index)
    }

    /// Watches one more; its index, if it was not watched before and there is room.
    pub fn add(&mut self, name: &str, why: Why) -> Option<usize> {
        if self.all.iter().any(|watched| watched.name == name || watched.id == name) {
            return None;
        }
        let others = self.all.iter().filter(|watched| watched.why != Why::Listed).count();
        if others >= MOST {
            tracing::warn!("{name} is not watched: {MOST} units besides those that are listed are the most");
            return None;
        }
        self.all.push(Watched::new(name, why));
        Some(self.all.len() - 1)
    }

    /// Forgets what was not listed and is there no longer. Before a connection is opened, for it knows the units by their place.
    pub fn tidy(&mut self) {
        self.all.retain(|watched| watched.why == Why::Listed || watched.unit.is_installed());
    }

    /// As facts; a unit that is watched by two of its names is told once, and one that was not listed is told as long as it is there.
    pub fn facts(&self) -> Units {
        let twice = |watched: &Watched| watched.id != watched.name && self.all.iter().any(|other| other.name == watched.id);
        let told = |watched: &&Watched| !twice(watched) && (watched.why == Why::Listed || watched.unit.is_installed());
        Units { source: UnitSource::Systemd, units: self.all.iter().filter(told).map(|watched| watched.unit.clone()).collect() }
    }
}

impl Watched {
    fn new(name: &str, why: Why) -> Self {
        let unit = Unit { name: name.to_owned(), ..Unit::default() };
        Self { name: name.to_owned(), id: name.to_owned(), why, unit, memory: Memory::default() }
    }

    /// The units without which it is not started. What a dependency hangs on counts only while that is not up, or the whole node
    /// would follow.
    pub fn hangs_on(&self) -> Vec<String> {
        let state = self.unit.active.as_ref().map_or("", |active| active.state.as_str());
        let is_dependency = self.why == Why::Dependency;
        if is_dependency && !matches!(state, "inactive" | "failed" | "activating") {
            return Vec::new();
        }
        let waits = is_dependency && self.unit.active.as_ref().is_some_and(|active| active.job.is_some());
        let after = self.unit.after.iter().filter(|name| waits || *name == NETWORK_ONLINE);
        self.unit.requires.iter().chain(after).cloned().collect()
    }
}
