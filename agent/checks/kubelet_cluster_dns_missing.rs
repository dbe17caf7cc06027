use std::net::IpAddr;
use std::time::Duration;

use super::kubelet::{RESTART, edit, quote};
use crate::config::Config;
use crate::facts::kubelet::FileState;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-cluster-dns-missing",
    title: "the kubelet does not know the cluster's DNS",
    severity: Severity::Warning,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[&super::kubelet_config_missing::CHECK, &super::kubelet_config_invalid::CHECK],
    signals: &[],
    article: include_str!("kubelet_cluster_dns_missing.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let kubelet = facts.kubelet.ok()?;
    // A file that cannot be read may set it; a kubelet whose command line nobody knows may be given it there; one without a kubeconfig
    // has no cluster.
    let read = kubelet.config_files().all(|file| matches!(file.state, FileState::Valid))
        && kubelet.config_dir.as_ref().is_none_or(|dir| dir.state == FileState::Valid);
    let known = kubelet.config.is_some() || kubelet.command_line_source != "default";
    if !read || !known || kubelet.kubeconfig.is_none() || !kubelet.has_joined() {
        return Ok(Vec::new());
    }
    let set = &kubelet.cluster_dns;
    let wrong: Vec<&String> = set.value.iter().filter(|server| server.parse::<IpAddr>().is_err()).collect();
    let what = match (set.value.as_slice(), wrong.first()) {
        ([], _) => "clusterDNS is not set".to_owned(),
        (_, Some(first)) => format!("clusterDNS has {first:?}, which is no IP address"),
        (_, None) => return Ok(Vec::new()),
    };
    let summary = format!("{what}, so pods resolve no name of the cluster");
    let finding = Finding::new(Component::Network, "clusterDNS", summary).evidence(set.source.clone(), format!("clusterDNS: [{}]", set.value.join(", ")));
    let find = "kubectl -n kube-system get service kube-dns -o jsonpath='{.spec.clusterIP}{\"\\n\"}'  # the address to put there";
    Ok(vec![match &kubelet.config {
        Some(config) if set.source == "default" => finding.remedy(find).remedy(format!("vi {} && {RESTART}", quote(&config.path.value))),
        _ => finding.remedy(find).remedy(edit(set)),
    }])
}
