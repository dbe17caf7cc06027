use std::time::Duration;

use super::certificate;
use crate::config::Config;
use crate::facts::certificates::{KeyState, Role};
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "certificate-key-exposed",
    title: "others than root can read a private key",
    severity: Severity::Warning,
    domain: Domain::Certificates,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("certificate_key_exposed.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let mut findings: Vec<Finding> = Vec::new();
    for place in facts.certificates.ok()?.places.iter().filter(|place| place.in_use) {
        // A kubelet's kubeconfig with its key inline is kubelet-config-exposed's business.
        let Some(key) = place.key.as_ref().filter(|_| place.entry.is_none() || place.role != Role::KubeletClient) else { continue };
        let KeyState::Found { mode, gid, .. } = key.state else { continue };
        let who = match (mode & 0o007, mode & 0o070) {
            (0, 0) => continue,
            (0, _) if gid == 0 => continue,
            (0, _) => format!("the group {gid}"),
            _ => "everybody on this node".to_owned(),
        };
        if findings.iter().any(|finding| finding.subject == key.path) {
            continue;
        }
        let summary = format!("the private key of {} is open to {who}", certificate::name(place));
        findings.push(
            Finding::new(certificate::component(place.role), key.path.clone(), summary)
                .evidence(key.path.clone(), format!("mode {mode:04o}"))
                .remedy(format!("chmod 600 {}", quote(&key.path))),
        );
    }
    Ok(findings)
}
