use std::time::Duration;

use super::health::{self, NOT_READY, kubelet_says};
use super::kubelet::place;
use crate::config::Config;
use crate::facts::health::Reach;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "api-server-untrusted",
    title: "the kubelet's kubeconfig does not trust the API server's certificate",
    severity: Severity::Critical,
    domain: Domain::Health,
    settle: Duration::ZERO,
    explained_by: &[
        &super::api_server_endpoint_mismatch::CHECK,
        &super::certificate_expired::CHECK,
        &super::certificate_not_yet_valid::CHECK,
        &super::certificate_untrusted_issuer::CHECK,
        &super::certificate_address_missing::CHECK,
        &super::certificate_wrong_usage::CHECK,
    ],
    signals: &[kubelet_says!("x509: ")],
    article: include_str!("api_server_untrusted.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let seen = |reach: &Reach| match reach {
        Reach::Untrusted { address, error, issuer } if issuer.is_empty() => Some((format!("the certificate of {address}"), error.clone())),
        Reach::Untrusted { address, error, issuer } => Some((format!("the certificate of {address}"), format!("{error}; issuer {issuer}"))),
        _ => None,
    };
    // A connection that stands may be somebody else's, with another kubeconfig.
    let decides = |reach: &Reach| !matches!(reach, Reach::Connected);
    let found = health::of_api_server(facts, CHECK.code, seen, decides, |host| {
        format!("the certificate that {host} presents is not trusted by the kubelet's kubeconfig, and {NOT_READY}")
    })?;
    let remedies = |(finding, host): (Finding, String)| {
        let shown = format!(
            "openssl s_client -connect {} -showcerts </dev/null 2>/dev/null | openssl x509 -noout -subject -issuer -dates -ext subjectAltName",
            quote(&host)
        );
        let kubeconfig = finding.evidence.last().and_then(|evidence| Some(place(&evidence.source)?.0.to_owned()));
        let kubeconfig = quote(kubeconfig.as_deref().unwrap_or("/etc/kubernetes/kubelet.conf")).clone();
        finding
            .remedy(shown)
            .remedy(format!(
                "grep -o 'certificate-authority-data: .*' {kubeconfig} | cut -d' ' -f2 | base64 -d | openssl x509 -noout -subject -dates -fingerprint -sha256"
            ))
            .remedy("# on a control-plane node, to compare: openssl x509 -in /etc/kubernetes/pki/ca.crt -noout -subject -dates -fingerprint -sha256")
    };
    Ok(found.map(remedies).into_iter().collect())
}
