//! Prometheus metrics, for a scrape or for node_exporter's textfile collector.
//!
//! Series count: a healthy worker has under 150. What is a list on the node (findings, certificates, units) is one series
//! each; everything else is per domain or per signal, never per check.

use std::collections::BTreeMap;

use prometheus::{GaugeVec, IntCounter, Opts, Registry, TextEncoder};

use crate::diagnose::{Report, Verdict};
use crate::facts::{Domain, Facts};
use crate::finding::Severity;

/// The content type of what [`render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The exposition of a report and of the facts it was made of.
#[must_use]
pub fn render(report: &Report, facts: &Facts) -> String {
    let registry = Registry::new();
    agent(&registry);
    findings(&registry, report);
    observations(&registry, report);
    certificates(&registry, facts);
    units(&registry, facts);
    eviction_signals(&registry, facts);
    journal(&registry, facts);
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default()
}

/// A gauge of the registry. Families without a series are not exposed.
fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    let gauge = GaugeVec::new(Opts::new(format!("nodetriage_{name}"), help), labels).expect("names and labels are valid");
    registry.register(Box::new(gauge.clone())).expect("names differ");
    gauge
}

#[allow(clippy::cast_precision_loss)] // Prometheus knows f64 only
fn number(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_precision_loss)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

fn agent(registry: &Registry) {
    gauge(registry, "build_info", "1, labelled with the version of nodetriage.", &["version"]).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
}

fn findings(registry: &Registry, report: &Report) {
    let each = gauge(registry, "finding", "1 for each finding, root causes and what they explain.", &["code", "severity", "subject"]);
    for finding in &report.findings {
        each.with_label_values(&[finding.code.as_str(), finding.severity.name(), &finding.subject]).set(1.0);
    }
    let counts = gauge(registry, "findings", "Number of findings, root causes and what they explain.", &["severity"]);
    for severity in Severity::ALL {
        counts.with_label_values(&[severity.name()]).set(number(report.count(severity) as u64));
    }
    let verdict = gauge(registry, "verdict", "1 for the node's verdict, 0 for the others. Unknown: nothing is wrong as far as can be seen.", &["verdict"]);
    for one in [Verdict::Healthy, Verdict::Warning, Verdict::Critical, Verdict::Unknown] {
        verdict.with_label_values(&[one.name()]).set(f64::from(u8::from(one == report.verdict)));
    }
}

fn observations(registry: &Registry, report: &Report) {
    let success = gauge(registry, "observation_success", "1 if everything of the domain could be seen.", &["domain"]);
    let took = gauge(registry, "observation_duration_seconds", "How long the last look at the domain took.", &["domain"]);
    let at = gauge(registry, "observation_timestamp_seconds", "When the domain was last looked at, since the epoch.", &["domain"]);
    for domain in Domain::ALL {
        let seen = !report.unknown.iter().any(|unknown| unknown.domain == domain);
        success.with_label_values(&[domain.name()]).set(f64::from(u8::from(seen)));
        if let Some(observation) = report.observed.get(&domain) {
            took.with_label_values(&[domain.name()]).set(observation.took_ms / 1000.0);
            at.with_label_values(&[domain.name()]).set(seconds(observation.at.unix_micros()));
        }
    }
}

/// The certificates in use; of two in one place the one that ends first.
fn certificates(registry: &Registry, facts: &Facts) {
    let mut ends: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for place in facts.certificates.known().map_or(&[][..], |certificates| &certificates.places).iter().filter(|place| place.in_use) {
        let Some(leaf) = place.leaf() else { continue };
        let end = ends.entry((place.path.as_str(), place.role.name())).or_insert(i64::MAX);
        *end = (*end).min(leaf.not_after.unix_micros());
    }
    let not_after = gauge(registry, "certificate_not_after_timestamp_seconds", "When the certificate in use ends, since the epoch.", &["path", "role"]);
    for ((path, role), end) in ends {
        not_after.with_label_values(&[path, role]).set(seconds(end));
    }
}

/// Units that systemd has; where systemd was not asked, none.
fn units(registry: &Registry, facts: &Facts) {
    let active = gauge(registry, "unit_active", "1 if the installed unit's ActiveState is active.", &["unit"]);
    for unit in facts.units.known().map_or(&[][..], |units| &units.units).iter().filter(|unit| unit.is_installed()) {
        let Some(state) = &unit.active else { continue };
        active.with_label_values(&[unit.name.as_str()]).set(f64::from(u8::from(state.state == "active")));
    }
}

/// The signals have the kubelet's names, and so each its own unit, which the name of one metric cannot tell.
fn eviction_signals(registry: &Registry, facts: &Facts) {
    let available = gauge(
        registry,
        "eviction_signal_available",
        "What is left by the kubelet's arithmetic: bytes, inodes for inodesFree, threads for pid.available.",
        &["signal"],
    );
    let threshold = gauge(registry, "eviction_signal_threshold", "The kubelet's effective hard eviction threshold, in the unit of the signal.", &["signal"]);
    let Some(pressure) = facts.pressure.known() else { return };
    for signal in pressure.signals() {
        available.with_label_values(&[signal.name]).set(number(signal.available));
        if let Some(limit) = facts.kubelet.known().and_then(|kubelet| kubelet.eviction_threshold(signal.name)) {
            threshold.with_label_values(&[signal.name]).set(number(limit.value.of(signal.capacity)));
        }
    }
}

/// How the reading of the journal goes.
fn journal(registry: &Registry, facts: &Facts) {
    let Some(journal) = facts.journal.known() else { return };
    let reading = journal.reading;
    #[allow(clippy::cast_precision_loss)] // milliseconds of a lag
    let behind = reading.behind_ms as f64 / 1000.0;
    gauge(registry, "journal_behind_seconds", "How far the reading of the journal is behind what is written.", &[]).with_label_values::<&str>(&[]).set(behind);
    gauge(registry, "journal_unreadable_files", "Journal files that cannot be read.", &[])
        .with_label_values::<&str>(&[])
        .set(number(journal.unreadable.len() as u64));
    for (name, help, value) in [
        ("journal_entries_total", "Journal entries taken in since the agent started.", reading.entries),
        ("journal_damaged_objects_total", "Damaged objects of journal files that were passed over.", reading.damaged),
        ("journal_lost_entries_total", "Journal entries that were gone before they could be read.", reading.lost),
    ] {
        let counter = IntCounter::new(format!("nodetriage_{name}"), help).expect("names are valid");
        counter.inc_by(value);
        registry.register(Box::new(counter)).expect("names differ");
    }
}
