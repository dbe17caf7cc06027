//! Readers of a report, never of the node.

pub mod http;
pub mod metrics;
pub mod page;
pub mod text;
pub mod view;

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use crate::checks;
use crate::diagnose::Report;
use crate::facts::{Domain, Facts};
use crate::finding::{Check, Severity};

/// One diagnosis with the facts it was made of. What is served is rendered from this and from nothing else, each form once:
/// a hundred scrapes of one snapshot share the same bytes.
#[derive(Debug)]
pub struct Snapshot {
    pub report: Report,
    pub facts: Facts,
    x509_names: bool,
    json: OnceLock<Bytes>,
    facts_json: OnceLock<Bytes>,
    metrics: OnceLock<Bytes>,
    text: OnceLock<Bytes>,
    page: OnceLock<Bytes>,
}

impl Snapshot {
    #[must_use]
    pub fn new(report: Report, facts: Facts) -> Self {
        let never = OnceLock::new;
        Self { report, facts, x509_names: false, json: never(), facts_json: never(), metrics: never(), text: never(), page: never() }
    }

    /// The metrics have certificates under x509-certificate-exporter's names as well.
    #[must_use]
    pub fn with_x509_names(self, x509_names: bool) -> Self {
        Self { x509_names, ..self }
    }

    /// The report as JSON, as `--output json` prints it.
    pub fn json(&self) -> Bytes {
        self.json.get_or_init(|| json(&self.report)).clone()
    }

    /// The facts as JSON, as `nodetriage observe` prints them.
    pub fn facts_json(&self) -> Bytes {
        self.facts_json.get_or_init(|| json(&self.facts)).clone()
    }

    pub fn metrics(&self) -> Bytes {
        self.metrics.get_or_init(|| metrics::render(&self.report, &self.facts, self.x509_names).into()).clone()
    }

    pub fn text(&self) -> Bytes {
        self.text.get_or_init(|| text::render(&self.report, &self.facts, Severity::Info, text::Style::PLAIN).into()).clone()
    }

    pub fn page(&self) -> Bytes {
        self.page.get_or_init(|| page::render(&self.report, &self.facts).into()).clone()
    }
}

/// Indented, with a line feed at the end.
fn json(value: &impl Serialize) -> Bytes {
    // What is published are plain trees with text as keys: nothing in them that JSON could not say.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// The last diagnosis; `None` until the first round of observation is complete.
pub type Latest = watch::Receiver<Option<Arc<Snapshot>>>;

/// Why the agent itself (not the node) is unwell: an observer has died, or the loop hangs. `None`: it is well.
pub type Unwell = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The report without the findings below `least`, save those that explain one that is shown.
/// The verdict stays the whole node's.
#[must_use]
pub fn at_least(report: &Report, least: Severity) -> Report {
    let findings = report.findings.iter().filter(|finding| report.gravity(finding) >= least).cloned().collect();
    Report { findings, ..report.clone() }
}

/// A row of the catalogue.
#[derive(Debug, Serialize)]
pub struct CheckRow {
    pub code: &'static str,
    pub severity: Severity,
    pub title: &'static str,
    pub domain: Domain,
    /// The codes of the checks whose finding would explain this one.
    pub explained_by: Vec<&'static str>,
    /// How long it must hold before the daemon reports it.
    pub settle_seconds: u64,
    /// Where the article lies in the repository.
    pub article: String,
}

/// Every check there is.
#[must_use]
pub fn catalogue() -> Vec<CheckRow> {
    checks::ALL.iter().map(|check| row(check)).collect()
}

/// A check as lists show it.
#[must_use]
pub fn row(check: &Check) -> CheckRow {
    CheckRow {
        code: check.code,
        severity: check.severity,
        title: check.title,
        domain: check.domain,
        explained_by: check.explained_by.iter().map(|cause| cause.code).collect(),
        settle_seconds: check.settle.as_secs(),
        article: crate::diagnose::article(check),
    }
}
