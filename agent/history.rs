//! fold(previous, facts, findings) → since, held down, kept while blind. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use crate::checks;
use crate::config::Config;
use crate::diagnose::{self, Report};
use crate::facts::{Domain, Facts, Timestamp};
use crate::finding::{Finding, Reference};

/// What the daemon remembers from one diagnosis to the next.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When each finding that is true now was first seen.
    first_seen: BTreeMap<Reference, Timestamp>,
    /// What was last reported, to be kept while its domain is blind.
    last: Vec<Finding>,
}

impl History {
    /// Diagnoses `facts` in the light of what was known before:
    /// a finding is reported once it has held for its check's `settle`;
    /// one whose domain has gone blind stays, marked stale; all others clear by themselves.
    pub fn diagnose(&mut self, facts: &Facts, config: &Config) -> Report {
        let mut current = diagnose::diagnose(facts, config).findings;
        current.extend(self.kept_while_blind(facts, &current));
        let now = facts.now;
        self.first_seen = current
            .iter()
            .map(|finding| {
                let reference = finding.reference();
                let since = self.first_seen.get(&reference).copied().unwrap_or(now);
                (reference, since)
            })
            .collect();
        current.retain(|finding| self.has_settled(finding, now));
        for finding in &mut current {
            finding.since = finding.since.or_else(|| self.first_seen.get(&finding.reference()).copied());
        }
        self.last.clone_from(&current);
        diagnose::assemble(facts, current)
    }

    fn has_settled(&self, finding: &Finding, now: Timestamp) -> bool {
        let Some(check) = checks::get(&finding.code) else { return true };
        let since = self.first_seen.get(&finding.reference()).copied().unwrap_or(now);
        now >= since.plus(check.settle)
    }

    fn kept_while_blind(&self, facts: &Facts, current: &[Finding]) -> Vec<Finding> {
        self.last
            .iter()
            .filter(|finding| checks::get(&finding.code).is_some_and(|check| is_blind(facts, check.domain)))
            .filter(|finding| !current.iter().any(|other| other.reference() == finding.reference()))
            .cloned()
            .map(|finding| Finding { stale: true, ..finding })
            .collect()
    }
}

fn is_blind(facts: &Facts, domain: Domain) -> bool {
    match domain {
        Domain::Node => false,
        Domain::Units => facts.units.known().is_none(),
        Domain::Journal => facts.journal.known().is_none(),
        Domain::Kubelet => facts.kubelet.known().is_none(),
        Domain::Certificates => facts.certificates.known().is_none(),
        Domain::Cni => facts.cni.known().is_none(),
        Domain::Pressure => facts.pressure.known().is_none(),
    }
}
