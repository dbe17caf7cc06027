//! The log lines that checks declare ([`crate::finding::Signal`]), compiled once for all of them.

use regex::bytes::RegexSet;

use crate::checks;
use crate::finding::LogSource;

/// All patterns of one source, in one automaton.
#[derive(Debug)]
struct Set {
    source: LogSource,
    patterns: RegexSet,
    /// By pattern: the code of the check that declared it.
    codes: Vec<&'static str>,
}

/// Every check's signals.
#[derive(Debug)]
pub struct Signals {
    sets: Vec<Set>,
}

impl Default for Signals {
    /// Compiles the signals of [`checks::ALL`]. A pattern that is no regular expression matches nothing; a test finds it.
    fn default() -> Self {
        let mut sources: Vec<LogSource> = Vec::new();
        for signal in checks::ALL.iter().flat_map(|check| check.signals) {
            if !sources.contains(&signal.from) {
                sources.push(signal.from);
            }
        }
        let of = |source: LogSource| {
            let declared = checks::ALL.iter().flat_map(move |check| check.signals.iter().map(move |signal| (check.code, signal)));
            let (codes, patterns): (Vec<_>, Vec<_>) = declared.filter(|(_, signal)| signal.from == source).map(|(code, signal)| (code, signal.pattern)).unzip();
            let patterns = RegexSet::new(patterns).unwrap_or_default();
            Set { source, patterns, codes }
        };
        Self { sets: sources.into_iter().map(of).collect() }
    }
}

impl Signals {
    /// The codes of the checks that count this line, each once.
    #[must_use]
    pub fn matching(&self, source: LogSource, message: &[u8]) -> Vec<&'static str> {
        let Some(set) = self.sets.iter().find(|set| set.source == source) else { return Vec::new() };
        if !set.patterns.is_match(message) {
            return Vec::new();
        }
        let mut codes: Vec<_> = set.patterns.matches(message).into_iter().filter_map(|at| set.codes.get(at).copied()).collect();
        codes.dedup();
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_a_regular_expression() {
        for signal in checks::ALL.iter().flat_map(|check| check.signals) {
            assert!(regex::bytes::Regex::new(signal.pattern).is_ok(), "{}", signal.pattern);
        }
    }
}
