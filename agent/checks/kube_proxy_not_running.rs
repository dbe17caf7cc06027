use std::time::Duration;

use super::kube_proxy::{self, NO_SERVICES};
use super::{health, kubelet::quote};
use crate::config::Config;
use crate::facts::kube_proxy::Process;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kube-proxy-not-running",
    title: "no kube-proxy runs on this node, and nothing else does its work",
    severity: Severity::Critical,
    domain: Domain::KubeProxy,
    settle: Duration::from_mins(1),
    explained_by: units_that_do_not_run![
        super::kube_proxy_config_missing::CHECK,
        super::kube_proxy_config_invalid::CHECK,
        super::kernel_module_missing::CHECK,
        super::sandbox_image_missing::CHECK,
        super::kubelet_pleg_unhealthy::CHECK,
        super::disk_pressure::CHECK,
        super::inode_pressure::CHECK,
        super::pid_pressure::CHECK,
        super::filesystem_read_only::CHECK,
        super::oom_kill_system::CHECK,
        super::api_server_refused::CHECK,
        super::api_server_unreachable::CHECK,
        super::api_server_name_unresolvable::CHECK,
        super::api_server_untrusted::CHECK,
        super::api_server_unauthorized::CHECK,
    ],
    signals: &[],
    article: include_str!("kube_proxy_not_running.md"),
    examine,
};

/// From the kubelet's start until a DaemonSet's pod runs, its image pulled.
const STARTS_SECONDS: i64 = 120;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(kube_proxy) = kube_proxy::judged(facts)? else { return Ok(Vec::new()) };
    // Of a unit that does not run, the units' checks tell; of a kubelet that does not run, that nothing is started.
    if *kube_proxy.process.ok()? != Process::Absent || kube_proxy::is_unit(facts) || !facts.kubelet.ok()?.has_joined() {
        return Ok(Vec::new());
    }
    let is_starting = health::kubelet_active_since(facts)?.is_none_or(|since| facts.now.seconds_since(since) < STARTS_SECONDS);
    // Whether one that can do its work was told to is known to the cluster only; its own pod here says that it was not.
    let may_be_replaced = kube_proxy.pod_logs.is_none() && !kube_proxy.may_be_replaced_by.is_empty();
    if is_starting || may_be_replaced || (kube_proxy.pod_logs.is_none() && can_be_replaced(facts)?) {
        return Ok(Vec::new());
    }
    let node = quote(facts.node_name());
    Ok(vec![match &kube_proxy.pod_logs {
        Some(logs) => kube_proxy::last_words(
            kube_proxy,
            Finding::new(Component::KubeProxy, "kube-proxy", format!("kube-proxy's pod is on this node, and its process does not run: {NO_SERVICES}"))
                .evidence("/proc", "no process called kube-proxy")
                .evidence(logs.clone(), "the logs of its pod"),
        )
        .remedy(format!("crictl ps -a --name kube-proxy; tail -n 20 {}/kube-proxy/*.log", quote(logs))),
        None => Finding::new(Component::KubeProxy, "kube-proxy", format!("no kube-proxy is on this node, and nothing that does its work: {NO_SERVICES}"))
            .evidence("/proc", "no process called kube-proxy, and none of a network plugin that does its work")
            .evidence("/var/log/pods", "no pod of kube-proxy")
            .remedy(format!("kubectl -n kube-system get daemonset kube-proxy; kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide --field-selector spec.nodeName={node}"))
            .remedy(format!("kubectl describe node {node} | grep -A5 Taints  # does its DaemonSet tolerate them, and select this node?")),
    }])
}

/// The network in effect is of a plugin that can do kube-proxy's work, whatever its process shows.
fn can_be_replaced(facts: &Facts) -> Result<bool, Blind> {
    let able = |name: &str| ["cilium", "calico", "antrea", "kube-router", "ovn-kubernetes"].contains(&name);
    let cni = facts.cni.ok()?;
    Ok(cni.in_effect().is_none_or(|(_, network)| able(&network.provider)) || cni.installed.keys().any(|name| able(name)))
}
