//! The log lines that checks declare ([`Signal`]), compiled once for all of them.

use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::finding::{LogSource, Signal};

/// All patterns of one source, in one automaton.
#[derive(Debug)]
pub struct Set {
    source: LogSource,
    patterns: RegexSet,
    /// By pattern: the code of the check that declared it.
    codes: Vec<&'static str>,
}

/// Every check's signals, by who writes the lines.
#[derive(Debug)]
pub struct Signals {
    sets: Vec<Set>,
}

impl Signals {
    /// Compiles what the checks declare. Patterns that are no regular expressions match nothing; a test finds them.
    #[must_use]
    pub fn new(declared: &[(&'static str, &'static Signal)]) -> Self {
        let mut sources: Vec<LogSource> = Vec::new();
        for (_, signal) in declared {
            if !sources.contains(&signal.from) {
                sources.push(signal.from);
            }
        }
        let of = |source: LogSource| {
            let of_source = declared.iter().filter(|(_, signal)| signal.from == source);
            let (codes, patterns): (Vec<_>, Vec<_>) = of_source.map(|(code, signal)| (*code, signal.pattern)).unzip();
            Set { source, patterns: compile(&patterns).unwrap_or_default(), codes }
        };
        Self { sets: sources.into_iter().map(of).collect() }
    }

    /// The signals in the kernel's lines.
    #[must_use]
    pub fn kernel(&self) -> Option<&Set> {
        self.sets.iter().find(|set| set.source == LogSource::Kernel)
    }

    /// The signals in the lines of that unit, or of the container of that name: no unit's name is without a dot.
    #[must_use]
    pub fn unit(&self, name: &str) -> Option<&Set> {
        self.sets.iter().find(|set| matches!(set.source, LogSource::Unit(source) | LogSource::Container(source) if source == name))
    }
}

/// Of bytes: what a line holds need not be UTF-8, and `\d` means a digit of klog.
fn compile(patterns: &[&str]) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(patterns).unicode(false).build()
}

impl Set {
    /// The codes of the checks that count this line, each once.
    #[must_use]
    pub fn matching(&self, message: &[u8]) -> Vec<&'static str> {
        if !self.patterns.is_match(message) {
            return Vec::new();
        }
        let mut codes: Vec<_> = self.patterns.matches(message).into_iter().filter_map(|at| self.codes.get(at).copied()).collect();
        codes.dedup();
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks;

    #[test]
    fn every_pattern_is_a_regular_expression() {
        for (code, signal) in checks::signals() {
            assert!(compile(&[signal.pattern]).is_ok(), "{code}: {}", signal.pattern);
        }
    }

    #[test]
    fn a_line_counts_for_its_source_alone() {
        let signals = Signals::new(&checks::signals());
        let line = b"Memory cgroup out of memory: Killed process 17 (stress) total-vm:1kB";
        assert_eq!(signals.kernel().unwrap().matching(line), ["oom-kill"]);
        assert!(signals.unit("kubelet.service").unwrap().matching(line).is_empty());
        assert!(signals.unit("sshd.service").is_none());
    }
}
