use std::time::Duration;

use super::certificate::{self, Harm, Wrong};
use crate::config::Config;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "certificate-rotation-overdue",
    title: "the kubelet has not rotated its certificate in time",
    severity: Severity::Warning,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[Signal {
        from: LogSource::Unit("kubelet.service"),
        pattern: "Failed while requesting a signed certificate from the (control plane|master)|still unable to rotate certs|[Cc]ertificate request was not signed",
    }],
    article: include_str!("certificate_rotation_overdue.md"),
    examine,
};

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let soon = i64::from(config.certificates.expiring_soon_days) * 86_400;
    certificate::find(facts, Harm::Ahead, |place, certificate| {
        let left = certificate.not_after.seconds_since(facts.certificates_at);
        // Nearer to its end, certificate-expiring-soon tells of it.
        (certificate::is_overdue(facts, place, certificate) && left >= soon).then(|| not_rotated(facts, left))
    })
}

/// With what the kubelet's log says of it.
pub(super) fn not_rotated(facts: &Facts, left: i64) -> Wrong {
    let wrong = Wrong::new(format!("was not rotated in time and expires in {}", human_span(left)));
    let wrong = wrong.look_first("kubectl get csr --sort-by=.metadata.creationTimestamp  # Pending: kubectl certificate approve NAME");
    let log = facts.journal.known().and_then(|journal| journal.signals.get(CHECK.code));
    match log.and_then(|seen| Some((seen.count, seen.samples.last()?))) {
        Some((count, line)) => wrong.evidence(format!("kubelet.service, {count} times, last {}", line.time.clock()), line.said()),
        None => wrong,
    }
}
