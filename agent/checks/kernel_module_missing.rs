use std::time::Duration;

use super::kube_proxy;
use crate::config::Config;
use crate::facts::kube_proxy::Module;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kernel-module-missing",
    title: "the kernel lacks a module that the node needs",
    severity: Severity::Warning,
    domain: Domain::KubeProxy,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("kernel_module_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let kube_proxy = facts.kube_proxy.ok()?;
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let proxies = kube_proxy::judged(facts)?.is_some();
    let missing = kube_proxy.kernel.modules.iter().filter(|(name, module)| module.known() == Some(&Module::Missing) && (name == "overlay" || proxies));
    let kernel = facts.node.kernel.as_deref().unwrap_or("$(uname -r)");
    let found = missing.map(|(name, _)| {
        let (component, mode) = match name.as_str() {
            "overlay" => (Component::Runtime, "the container runtime keeps images on it".to_owned()),
            _ if kube_proxy.mode.value.is_empty() => (Component::KubeProxy, "kube-proxy needs it (mode iptables)".to_owned()),
            _ => (Component::KubeProxy, format!("kube-proxy needs it (mode {})", kube_proxy.mode.value)),
        };
        Finding::new(component, name.clone(), format!("the kernel has no {name}, loaded, built in or to be loaded: {mode}"))
            .evidence(format!("/lib/modules/{kernel}"), format!("no {name} in modules.builtin and modules.dep"))
            .evidence("/proc/modules", format!("no {name}"))
            .evidence(kube_proxy.mode.source.clone(), format!("mode: {}", if kube_proxy.mode.value.is_empty() { "iptables" } else { &kube_proxy.mode.value }))
            .remedy(format!("modprobe {name}; ls -d /lib/modules/*  # is {kernel}, which runs, among them? If an upgrade has removed it: reboot"))
            .remedy(format!(
                "find /lib/modules -name '{name}.ko*'  # in no kernel: install its extra modules (linux-modules-extra-{kernel}, kernel-modules-extra)"
            ))
    });
    Ok(found.collect())
}
