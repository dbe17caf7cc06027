//! Prometheus metrics, for a scrape or for node_exporter's textfile collector.
//!
//! Series count: a healthy worker has under 150. What is a list on the node (findings, certificates, units) is one series
//! each; everything else is per domain or per signal, never per check.

use std::collections::BTreeMap;

use prometheus::{GaugeVec, IntCounter, Opts, Registry, TextEncoder};

use crate::diagnose::{Report, Verdict};
use crate::facts::certificates::{Certificate, Place};
use crate::facts::{Domain, Facts};
use crate::finding::Severity;

/// The content type of what [`render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Certificates told under x509-certificate-exporter's names at most, whatever the bundles hold.
const MOST_X509: usize = 500;

/// The exposition of a report and of the facts it was made of; with certificates under x509-certificate-exporter's names as well
/// if `x509_names`.
#[must_use]
pub fn render(report: &Report, facts: &Facts, x509_names: bool) -> String {
    let registry = Registry::new();
    agent(&registry);
    findings(&registry, report);
    observations(&registry, report);
    certificates(&registry, facts);
    if x509_names {
        x509(&registry, facts);
    }
    units(&registry, facts);
    eviction_signals(&registry, facts);
    journal(&registry, facts);
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default()
}

/// A gauge of the registry. Families without a series are not exposed.
fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    named(registry, format!("nodetriage_{name}"), help, labels)
}

/// As [`gauge`], under a name of somebody else's.
fn named(registry: &Registry, name: impl Into<String>, help: &str, labels: &[&str]) -> GaugeVec {
    let gauge = GaugeVec::new(Opts::new(name, help), labels).expect("names and labels are valid");
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

fn in_use(facts: &Facts) -> impl Iterator<Item = &Place> {
    facts.certificates.known().into_iter().flat_map(|certificates| &certificates.places).filter(|place| place.in_use)
}

/// The certificates in use; of two in one place the one that ends first.
fn certificates(registry: &Registry, facts: &Facts) {
    let mut first: BTreeMap<(&str, &str), &Certificate> = BTreeMap::new();
    for place in in_use(facts) {
        let Some(leaf) = place.leaf() else { continue };
        let ends = first.entry((place.path.as_str(), place.role.name())).or_insert(leaf);
        if leaf.not_after < ends.not_after {
            *ends = leaf;
        }
    }
    let labels = &["path", "role"];
    let not_after = gauge(registry, "certificate_not_after_timestamp_seconds", "When the certificate in use ends, since the epoch.", labels);
    let not_before = gauge(registry, "certificate_not_before_timestamp_seconds", "When the certificate in use begins, since the epoch.", labels);
    for ((path, role), certificate) in first {
        not_after.with_label_values(&[path, role]).set(seconds(certificate.not_after.unix_micros()));
        not_before.with_label_values(&[path, role]).set(seconds(certificate.not_before.unix_micros()));
    }
}

/// Every certificate in use as x509-certificate-exporter names and labels it, for the dashboards that are made for that
/// (its chart/grafana-dashboards, Grafana 13922). `embedded_kind` and `embedded_key` are a kubeconfig's.
fn x509(registry: &Registry, facts: &Facts) {
    let labels = &["filename", "filepath", "embedded_kind", "embedded_key", "subject_CN", "issuer_CN", "serial_number"];
    let not_after = named(registry, "x509_cert_not_after", "Unix timestamp of the certificate's NotAfter.", labels);
    let not_before = named(registry, "x509_cert_not_before", "Unix timestamp of the certificate's NotBefore.", labels);
    let expired = named(registry, "x509_cert_expired", "1 if the certificate is expired, 0 otherwise.", labels);
    let errors = named(registry, "x509_read_errors", "Number of files in use that hold no certificate that can be read.", &[]);
    errors.with_label_values::<&str>(&[]).set(number(in_use(facts).filter(|place| place.leaf().is_none()).count() as u64));
    let each = in_use(facts).flat_map(|place| place.certificates().iter().map(move |certificate| (place, certificate)));
    for (place, certificate) in each.take(MOST_X509) {
        let file = place.path.rsplit('/').next().unwrap_or_default();
        let (kind, key) = match &place.entry {
            Some(entry) if place.role.is_ca() => ("cluster", entry.of.as_str()),
            Some(entry) => ("user", entry.of.as_str()),
            None => ("", ""),
        };
        // The exporter prints serial numbers in decimal; as numbers of 20 bytes they are compared by nobody, and ours are hexadecimal.
        let values = [file, &place.path, kind, key, &certificate.common_name, &certificate.issuer_common_name, &certificate.serial];
        not_after.with_label_values(&values).set(seconds(certificate.not_after.unix_micros()));
        not_before.with_label_values(&values).set(seconds(certificate.not_before.unix_micros()));
        expired.with_label_values(&values).set(f64::from(u8::from(certificate.not_after < facts.certificates_at)));
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
