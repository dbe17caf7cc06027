use std::time::Duration;

use super::health::{self, kubelet_says};
use super::log;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "api-server-unauthorized",
    title: "the API server does not accept the kubelet's credential",
    severity: Severity::Critical,
    domain: Domain::Journal,
    settle: Duration::from_secs(10),
    explained_by: &[
        &super::api_server_endpoint_mismatch::CHECK,
        &super::certificate_expired::CHECK,
        &super::certificate_not_yet_valid::CHECK,
        &super::certificate_untrusted_issuer::CHECK,
        &super::certificate_wrong_usage::CHECK,
        &super::certificate_invalid::CHECK,
        &super::certificate_key_mismatch::CHECK,
        &super::certificate_embedded_stale::CHECK,
        &super::kubelet_kubeconfig_invalid::CHECK,
    ],
    signals: &[kubelet_says!(r"(\bunauthorized\b|system:anonymous)")],
    article: include_str!("api_server_unauthorized.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    facts.journal.ok()?;
    let kubeconfig = facts.kubelet.known().and_then(|kubelet| kubelet.kubeconfig.as_ref()).filter(|_| facts.is_kubernetes_node());
    let Some((kubeconfig, line)) = kubeconfig.zip(health::complaint(facts, CHECK.code)) else { return Ok(Vec::new()) };
    let server = kubeconfig.server.as_ref().map_or("the API server", |server| server.value.as_str());
    let anonymous = line.message.contains("system:anonymous");
    let why = if anonymous {
        "takes the kubelet for nobody (system:anonymous): it presents no certificate that can be used"
    } else {
        "does not know the kubelet's credential (401 Unauthorized)"
    };
    let finding = Finding::new(Component::Kubelet, server, format!("{server} {why}, so the node turns NotReady"));
    let mut finding = log::evidence(finding, line);
    if let Some(certificate) = &kubeconfig.client_certificate {
        finding = finding.evidence(certificate.source.clone(), format!("client certificate: {}", certificate.value));
    }
    Ok(vec![facts.new_kubelet_conf().into_iter().fold(finding, Finding::remedy)])
}
