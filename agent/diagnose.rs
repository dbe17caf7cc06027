//! Examine everything, say what explains what, and put the root causes first. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::checks;
use crate::config::Config;
use crate::facts::{Domain, Facts, Node, Observation, Timestamp};
use crate::finding::{Check, Component, Finding, Reference, Severity};

/// Version of the report's JSON form, `agent/publish/report.schema.json`.
pub const SCHEMA: u32 = 1;

/// The answer: what is wrong, why, and what to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: u32,
    pub node: Node,
    pub time: Timestamp,
    /// The instant certificates were judged at, where it was not `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates_at: Option<Timestamp>,
    pub verdict: Verdict,
    /// Root causes first, the most severe first; then what they explain.
    pub findings: Vec<Finding>,
    /// What could not be seen.
    pub unknown: Vec<Unknown>,
    pub observed: BTreeMap<Domain, Observation>,
}

/// The node in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything was seen, and nothing above info is wrong.
    Healthy,
    Warning,
    Critical,
    /// Nothing above info was found, but not everything could be seen.
    Unknown,
}

impl Verdict {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }
}

/// A part of the node that could not be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    pub domain: Domain,
    pub reason: String,
    /// What would let us see.
    pub grant: Option<String>,
}

/// Diagnoses a node from its facts.
#[must_use]
pub fn diagnose(facts: &Facts, config: &Config) -> Report {
    assemble(facts, examine_all(facts, config).findings)
}

/// What the checks say, before anything explains anything.
#[derive(Debug)]
pub struct Examined {
    /// In the order of the catalogue, and of each check.
    pub findings: Vec<Finding>,
    /// The codes of the checks that could not judge. Why, the facts tell as blind spots.
    pub blind: Vec<&'static str>,
}

/// Asks every check.
#[must_use]
pub fn examine_all(facts: &Facts, config: &Config) -> Examined {
    let mut examined = Examined { findings: Vec::new(), blind: Vec::new() };
    if facts.node.unseen.is_some() && !facts.is_kubernetes_node() {
        // Whether anything is missing here hangs on whether this is a node at all.
        examined.blind = checks::ALL.iter().map(|check| check.code).collect();
        return examined;
    }
    for check in checks::ALL {
        match (check.examine)(facts, config) {
            Ok(found) => examined.findings.extend(found.into_iter().map(|finding| signed(finding, check))),
            Err(_) => examined.blind.push(check.code),
        }
    }
    examined
}

/// With the check's name on it.
fn signed(finding: Finding, check: &Check) -> Finding {
    Finding { code: check.code.to_owned(), severity: check.severity, article: article(check), ..finding }
}

/// Where the article of a check lies in the repository.
#[must_use]
pub fn article(check: &Check) -> String {
    format!("agent/checks/{}.md", check.code.replace('-', "_"))
}

/// A report of these findings: causes attributed, sorted, with the verdict.
#[must_use]
pub fn assemble(facts: &Facts, mut findings: Vec<Finding>) -> Report {
    attribute(&mut findings);
    lower_expected(&mut findings);
    sort(&mut findings);
    let mut unknown: Vec<Unknown> = Vec::new();
    for (domain, blind) in facts.blind_spots() {
        let row = Unknown { domain, reason: blind.reason, grant: blind.grant };
        if !unknown.contains(&row) {
            unknown.push(row);
        }
    }
    Report {
        schema: SCHEMA,
        node: facts.node.clone(),
        time: facts.now,
        certificates_at: (facts.certificates_at != facts.now).then_some(facts.certificates_at),
        verdict: verdict(&findings, &unknown),
        findings,
        unknown,
        observed: facts.observed.clone(),
    }
}

fn verdict(findings: &[Finding], unknown: &[Unknown]) -> Verdict {
    match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Critical) => Verdict::Critical,
        Some(Severity::Warning) => Verdict::Warning,
        _ if unknown.is_empty() => Verdict::Healthy,
        _ => Verdict::Unknown,
    }
}

/// Fills in `explained_by`. A cause must be named by the effect's check, and be able to break the effect's component.
/// Where the effect's own evidence (a program's last words) names the subject of some of the causes, only those explain it.
fn attribute(findings: &mut [Finding]) {
    let explanations: Vec<Vec<Reference>> = findings
        .iter()
        .map(|effect| {
            let Some(check) = checks::get(&effect.code) else { return Vec::new() };
            let causes: Vec<&Finding> = findings.iter().filter(|cause| explains(cause, effect, check)).collect();
            let named: Vec<&Finding> = causes.iter().copied().filter(|cause| is_named_by(cause, effect)).collect();
            let mut causes: Vec<Reference> = if named.is_empty() { &causes } else { &named }.iter().map(|cause| cause.reference()).collect();
            causes.sort();
            causes.dedup();
            causes
        })
        .collect();
    for (finding, explanation) in findings.iter_mut().zip(explanations) {
        finding.explained_by = explanation;
    }
}

/// What is explained by nothing but infos is as it should be, and so an info itself: the kubelet of a node that nobody has joined
/// to a cluster restarts until somebody does.
fn lower_expected(findings: &mut [Finding]) {
    loop {
        let worse: HashSet<Reference> = findings.iter().filter(|finding| finding.severity > Severity::Info).map(Finding::reference).collect();
        let expected = |finding: &Finding| !finding.explained_by.is_empty() && !finding.explained_by.iter().any(|cause| worse.contains(cause));
        let Some(finding) = findings.iter_mut().find(|finding| finding.severity > Severity::Info && expected(finding)) else { return };
        finding.severity = Severity::Info;
    }
}

fn explains(cause: &Finding, effect: &Finding, check: &Check) -> bool {
    if effect.hangs_on.as_ref().is_some_and(|subjects| !subjects.contains(&cause.subject)) {
        return false;
    }
    let Some(causing) = check.explained_by.iter().find(|candidate| candidate.code == cause.code) else { return false };
    // Where each could explain the other (units that do not run), the deeper one is the cause, up to the kubelet: the runtime's
    // failure is the kubelet's, and what runs beside the kubelet stands by itself. Else both would have a cause, and neither be one.
    let mutual = causing.explained_by.iter().any(|candidate| candidate.code == effect.code);
    let deeper = cause.component < effect.component && effect.component <= Component::Kubelet;
    cause.reference() != effect.reference() && cause.component.can_break(effect.component) && (!mutual || deeper)
}

fn is_named_by(cause: &Finding, effect: &Finding) -> bool {
    let path = cause.subject.split(':').next().unwrap_or_default();
    path.starts_with('/') && effect.evidence.iter().any(|evidence| evidence.saw.contains(path))
}

/// How bad the worst is that `cause` explains, itself included.
fn gravity(findings: &[Finding], cause: &Finding) -> Severity {
    let mut worst = cause.severity;
    let mut seen = vec![cause.reference()];
    let mut next = 0;
    while let Some(reference) = seen.get(next).cloned() {
        for effect in findings.iter().filter(|finding| finding.explained_by.contains(&reference)) {
            worst = worst.max(effect.severity);
            if !seen.contains(&effect.reference()) {
                seen.push(effect.reference());
            }
        }
        next += 1;
    }
    worst
}

/// Roots before consequences, then the one that has the more severe consequences, then what explains more, then what lies deeper in the node;
/// equal ones stay in the order of the catalogue and of their check, so that a report is stable.
fn sort(findings: &mut [Finding]) {
    let mut explains: HashMap<Reference, usize> = HashMap::new();
    for cause in findings.iter().flat_map(|finding| &finding.explained_by) {
        *explains.entry(cause.clone()).or_default() += 1;
    }
    let gravities: HashMap<Reference, Severity> = findings.iter().map(|finding| (finding.reference(), gravity(findings, finding))).collect();
    findings.sort_by_cached_key(|finding| {
        let weight = explains.get(&finding.reference()).copied().unwrap_or_default();
        let place = checks::ALL.iter().position(|check| check.code == finding.code);
        (!finding.explained_by.is_empty(), Reverse(gravities.get(&finding.reference()).copied()), Reverse(weight), finding.component, place)
    });
}

impl Report {
    /// The findings nothing else explains.
    pub fn roots(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.explained_by.is_empty())
    }

    /// The findings that `cause` explains directly.
    pub fn explained_by<'a>(&'a self, cause: &'a Finding) -> impl Iterator<Item = &'a Finding> {
        let cause = cause.reference();
        self.findings.iter().filter(move |finding| finding.explained_by.contains(&cause))
    }

    /// How bad the worst is that `finding` explains, itself included.
    #[must_use]
    pub fn gravity(&self, finding: &Finding) -> Severity {
        gravity(&self.findings, finding)
    }

    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The process's exit status: 0 nothing above info, 1 warnings, 2 critical.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Healthy | Verdict::Unknown => 0,
            Verdict::Warning => 1,
            Verdict::Critical => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_check_is_explained_by_its_own_consequence() {
        fn visit<'a>(check: &'a Check, path: &mut Vec<&'a str>) {
            assert!(!path.contains(&check.code), "a cycle of causes: {} → {}", path.join(" → "), check.code);
            path.push(check.code);
            // Of two checks that explain each other, or themselves, the subjects' components decide.
            let one_way = |cause: &&&Check| cause.explained_by.iter().all(|mutual| mutual.code != check.code);
            check.explained_by.iter().filter(one_way).for_each(|cause| visit(cause, path));
            path.pop();
        }
        for check in checks::ALL {
            visit(check, &mut Vec::new());
        }
    }

    #[test]
    fn every_cause_that_a_check_names_is_in_the_catalogue() {
        for check in checks::ALL {
            for cause in check.explained_by {
                assert!(checks::get(cause.code).is_some(), "{} names {}, which is not in checks::ALL", check.code, cause.code);
            }
        }
    }
}
