use std::time::Duration;

use super::kube_proxy::{self, NO_SERVICES, UNIT, is_unit};
use super::{health, kubelet::quote};
use crate::config::Config;
use crate::facts::health::Answer;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kube-proxy-unhealthy",
    title: "kube-proxy runs and does not say that it is well",
    severity: Severity::Critical,
    domain: Domain::Health,
    // From its start it waits up to 30 s for its node's object before it listens (`pkg/proxy/node.go`).
    settle: Duration::from_secs(35),
    explained_by: &[
        &super::kube_proxy_port_in_use::CHECK,
        &super::kube_proxy_config_missing::CHECK,
        &super::kube_proxy_config_invalid::CHECK,
        &super::kube_proxy_node_name_mismatch::CHECK,
        &super::kernel_module_missing::CHECK,
        &super::unit_crash_looping::CHECK,
        &super::memory_pressure::CHECK,
        &super::pid_pressure::CHECK,
        &super::file_handles_exhausting::CHECK,
        &super::memory_stalled::CHECK,
        &super::io_stalled::CHECK,
        &super::cpu_starved::CHECK,
        &super::api_server_refused::CHECK,
        &super::api_server_unreachable::CHECK,
        &super::api_server_name_unresolvable::CHECK,
        &super::api_server_untrusted::CHECK,
    ],
    signals: &[],
    article: include_str!("kube_proxy_unhealthy.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(kube_proxy) = kube_proxy::judged(facts)? else { return Ok(Vec::new()) };
    let Some(endpoint) = facts.health.ok()?.kube_proxy.as_ref().filter(|_| kube_proxy.runs()) else { return Ok(Vec::new()) };
    let answer = endpoint.answer.ok()?;
    if answer.is_well() {
        return Ok(Vec::new());
    }
    let address = health::address(endpoint);
    let what = match answer {
        Answer::Http { status: 503, .. } => format!("it answers on {address} that it has not written its rules for too long"),
        Answer::Http { .. } => format!("on {address} it does not answer that it is well"),
        Answer::Refused => format!("nothing listens on its health address {address}"),
        Answer::Silent(_) => format!("it hangs: on {address} it takes connections and says nothing"),
        Answer::NotHttp(_) => format!("on {address} it answers no sense"),
        Answer::NoConnection(_) | Answer::NoRoute(_) => format!("its health address {address} does not answer"),
    };
    let mut finding = Finding::new(Component::KubeProxy, address, format!("kube-proxy runs, but {what}: {NO_SERVICES}, or will not"))
        .evidence(format!("GET {}", endpoint.url.value), answer.words());
    if let Some(holder) = kube_proxy.running() {
        finding = finding.evidence(format!("/proc/{}", holder.pid), holder.words());
    }
    let look = format!("curl -sS --max-time 5 {}; echo", quote(&endpoint.url.value));
    Ok(vec![match &kube_proxy.pod_logs {
        Some(logs) if !is_unit(facts) => finding.remedy(format!("{look}; tail -n 20 {}/kube-proxy/*.log", quote(logs))).remedy(format!(
            "kubectl -n kube-system delete pod -l k8s-app=kube-proxy --field-selector spec.nodeName={}  # it is made anew",
            quote(facts.node_name())
        )),
        _ => finding.remedy(format!("{look}; journalctl -u {UNIT} -n 30 --no-pager")).remedy(format!("systemctl restart {UNIT}")),
    }])
}
