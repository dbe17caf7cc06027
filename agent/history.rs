//! fold(previous, facts) → since, held down, kept while blind. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checks;
use crate::config::Config;
use crate::diagnose::{self, Report};
use crate::facts::{Facts, Timestamp};
use crate::finding::{Finding, Reference};

/// What the daemon remembers from one diagnosis to the next.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When each finding that is true now was first seen.
    first_seen: BTreeMap<Reference, Timestamp>,
    /// What was last reported, to be kept while its domain is blind.
    last: Vec<Finding>,
}

/// Since when a finding has been true, as it is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    #[serde(flatten)]
    pub finding: Reference,
    pub since: Timestamp,
}

impl History {
    /// Takes up what an earlier process remembered: a finding that is still true keeps its age.
    #[must_use]
    pub fn resume(remembered: Vec<Since>) -> Self {
        Self { first_seen: remembered.into_iter().map(|row| (row.finding, row.since)).collect(), last: Vec::new() }
    }

    /// What a later process needs to know.
    #[must_use]
    pub fn remember(&self) -> Vec<Since> {
        self.first_seen.iter().map(|(finding, since)| Since { finding: finding.clone(), since: *since }).collect()
    }

    /// Diagnoses `facts` in the light of what was known before:
    /// a finding is reported once it has held for its check's `settle`;
    /// one that its check has become blind to stays, marked stale; all others clear by themselves.
    pub fn diagnose(&mut self, facts: &Facts, config: &Config) -> Report {
        let examined = diagnose::examine_all(facts, config);
        let mut current = examined.findings;
        let kept: Vec<_> = self.last.iter().filter(|last| examined.blind.contains(&last.code.as_str()) || is_out_of_sight(facts, last)).cloned().collect();
        for last in kept {
            if !current.iter().any(|finding| finding.reference() == last.reference()) {
                current.push(Finding { stale: true, ..last });
            }
        }
        let now = facts.now;
        let first_seen = |finding: &Finding| {
            let reference = finding.reference();
            // A clock that was set back must not give a finding that began in the future.
            let since = self.first_seen.get(&reference).copied().unwrap_or(now).min(now);
            (reference, since)
        };
        self.first_seen = current.iter().map(first_seen).collect();
        current.retain(|finding| self.has_settled(finding, now));
        for finding in &mut current {
            finding.since = finding.since.or_else(|| self.first_seen.get(&finding.reference()).copied());
        }
        self.last.clone_from(&current);
        diagnose::assemble(facts, current)
    }

    fn has_settled(&self, finding: &Finding, now: Timestamp) -> bool {
        let since = self.first_seen.get(&finding.reference()).copied().unwrap_or(now);
        checks::get(&finding.code).is_none_or(|check| now >= since.plus(check.settle))
    }

    /// Until the next finding that holds now has held for long enough; `None`: all have.
    #[must_use]
    pub fn settles_in(&self, now: Timestamp) -> Option<Duration> {
        let ends = self.first_seen.iter().filter_map(|(finding, since)| Some(since.plus(checks::get(&finding.code)?.settle)));
        let left = ends.filter(|end| *end > now).min()?.unix_micros().saturating_sub(now.unix_micros());
        u64::try_from(left).ok().map(Duration::from_micros)
    }
}

/// The check still sees its domain, but no longer the very file that the finding is about.
fn is_out_of_sight(facts: &Facts, finding: &Finding) -> bool {
    let path = finding.subject.split_whitespace().last().unwrap_or_default();
    path.starts_with('/') && facts.blind_spots().iter().any(|(_, blind)| blind.reason.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cni::RuntimeFile;
    use crate::facts::{Blind, Cni, Node, Observed, Sourced};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000 + seconds).unwrap()
    }

    /// A node without CNI configuration, if `broken`.
    fn facts(seconds: i64, broken: bool) -> Facts {
        let node = Node { signs: vec!["/etc/kubernetes/kubelet.conf".to_owned()], ..Node::default() };
        let mut facts = Facts::unobserved(at(seconds), node);
        let cni: serde_json::Value = serde_json::json!({
            "runtime": "containerd", "max_conf_num": Sourced::default_value(1), "conf_dir": Sourced::default_value("/etc/cni/net.d"), "bin_dirs": [], "conf_dir_exists": !broken,
            "files": if broken { serde_json::json!([]) } else { serde_json::json!([{ "name": "10-a.conflist", "state": { "network":
                { "name": "a", "cni_version": "1.0.0", "plugins": [], "provider": "a" } } }]) },
            "binaries": {}, "installed": {},
        });
        facts.cni = Observed::Known(serde_json::from_value::<Cni>(cni).unwrap());
        facts
    }

    fn cni_missing(report: &Report) -> Option<&Finding> {
        report.findings.iter().find(|finding| finding.code == "cni-config-missing")
    }

    #[test]
    fn a_finding_keeps_its_age_and_clears_by_itself() {
        let mut history = History::default();
        history.diagnose(&facts(0, true), &Config::default());
        let later = history.diagnose(&facts(600, true), &Config::default());
        assert_eq!(cni_missing(&later).unwrap().since, Some(at(0)));
        let mended = history.diagnose(&facts(601, false), &Config::default());
        assert!(cni_missing(&mended).is_none());
        let again = history.diagnose(&facts(700, true), &Config::default());
        assert_eq!(cni_missing(&again).unwrap().since, Some(at(700)));
    }

    #[test]
    fn it_says_when_the_next_finding_will_have_settled() {
        let mut history = History::default();
        let without_its_file = |second: i64| {
            let mut facts = facts(second, false);
            let Observed::Known(cni) = &mut facts.cni else { panic!("it is known") };
            cni.runtime_files = vec![RuntimeFile { provider: "a".to_owned(), path: "/run/a".to_owned(), exists: false }];
            facts
        };
        let mut at_second = |second: i64| {
            let report = history.diagnose(&without_its_file(second), &Config::default());
            (report.findings.iter().any(|finding| finding.code == "cni-runtime-file-missing"), history.settles_in(at(second)).map(|left| left.as_secs()))
        };
        assert_eq!(at_second(0), (false, Some(60)));
        assert_eq!(at_second(45), (false, Some(15)));
        assert_eq!(at_second(60), (true, None));
    }

    #[test]
    fn blindness_neither_clears_a_finding_nor_makes_one() {
        let mut history = History::default();
        history.diagnose(&facts(0, true), &Config::default());
        let mut blind = facts(60, false);
        blind.cni = Observed::Unknown(Blind::new("permission denied"));
        let report = history.diagnose(&blind, &Config::default());
        let kept = cni_missing(&report).unwrap();
        assert!(kept.stale);
        assert_eq!(kept.since, Some(at(0)));
        assert_eq!(history.diagnose(&facts(120, true), &Config::default()).findings.iter().filter(|f| f.stale).count(), 0);
        let mut fresh = History::default();
        assert!(cni_missing(&fresh.diagnose(&blind, &Config::default())).is_none());
    }

    #[test]
    fn not_to_see_whether_it_is_a_node_says_nothing_and_clears_nothing() {
        let mut history = History::default();
        history.diagnose(&facts(0, true), &Config::default());
        let mut blind = facts(60, true);
        blind.node.signs.clear();
        blind.node.unseen = Some(Blind::new("/etc/kubernetes: permission denied"));
        assert!(cni_missing(&history.diagnose(&blind, &Config::default())).unwrap().stale);
        let fresh = History::default().diagnose(&blind, &Config::default());
        assert_eq!(fresh.findings, []);
        assert!(fresh.unknown.iter().any(|unknown| unknown.reason.starts_with("/etc/kubernetes")));
    }

    #[test]
    fn the_age_survives_a_restart_but_not_a_clock_set_back() {
        let mut history = History::default();
        history.diagnose(&facts(0, true), &Config::default());
        let mut resumed = History::resume(history.remember());
        assert_eq!(cni_missing(&resumed.diagnose(&facts(60, true), &Config::default())).unwrap().since, Some(at(0)));
        let back = resumed.diagnose(&facts(-3600, true), &Config::default());
        assert_eq!(cni_missing(&back).unwrap().since, Some(at(-3600)));
    }
}
