//! What the checks of kube-proxy share.

use super::health;
use crate::facts::kubelet::File;
use crate::facts::record::Record;
use crate::facts::shell::quote;
use crate::facts::{Blind, Facts, KubeProxy};
use crate::finding::Finding;

pub(super) const UNIT: &str = "kube-proxy.service";
/// What does not work without it.
pub(super) const NO_SERVICES: &str = "Services, cluster DNS among them, do not work on this node";

/// The facts, where kube-proxy matters: on a node where nothing else does its work.
pub(super) fn judged(facts: &Facts) -> Result<Option<&KubeProxy>, Blind> {
    let kube_proxy = facts.kube_proxy.ok()?;
    Ok(Some(kube_proxy).filter(|kube_proxy| facts.is_kubernetes_node() && (kube_proxy.replaced_by.is_none() || kube_proxy.runs())))
}

/// It is run as a unit of its own.
pub(super) fn is_unit(facts: &Facts) -> bool {
    facts.units.known().and_then(|units| units.get(UNIT)).is_some_and(|unit| unit.is_installed() && (unit.starts_at_boot() || health::is_active(facts, UNIT)))
}

/// The files it is configured by, with their words for people: each as kube-proxy names it.
pub(super) fn files(kube_proxy: &KubeProxy) -> impl Iterator<Item = (&File, &'static str)> {
    let config = kube_proxy.config.iter().map(|file| (file, "configuration"));
    config.chain(kube_proxy.kubeconfig.iter().map(|kubeconfig| (&kubeconfig.file, "kubeconfig")))
}

/// What follows for a kube-proxy that does not survive a fault of its files.
pub(super) fn consequence(kube_proxy: &KubeProxy) -> String {
    if kube_proxy.runs() { "kube-proxy will not start again".to_owned() } else { format!("kube-proxy exits at start, and {NO_SERVICES}") }
}

/// How a file of kube-proxy is mended: on the node for a unit, in the cluster for a pod.
pub(super) fn mend(facts: &Facts, kube_proxy: &KubeProxy, finding: Finding, file: &File) -> Finding {
    if kube_proxy.pod_logs.is_some() && !is_unit(facts) {
        return finding
            .remedy(
                "kubectl -n kube-system get daemonset kube-proxy -o yaml | grep -n -e --config -e mountPath; kubectl -n kube-system edit configmap kube-proxy",
            )
            .remedy("kubectl -n kube-system rollout restart daemonset kube-proxy");
    }
    let dir = file.path.value.rsplit_once('/').map_or("/", |(dir, _)| dir);
    finding
        .remedy(format!("systemctl cat {UNIT} --no-pager | grep ExecStart; ls -l {}", quote(dir)))
        .remedy(format!("# mend it, then: systemctl restart {UNIT}"))
}

/// The last lines of its container as evidence.
pub(super) fn last_words(kube_proxy: &KubeProxy, finding: Finding) -> Finding {
    match kube_proxy.last_words.last() {
        Some(line) => finding.evidence(line.source.clone(), Record::parse(&line.value).to_string()),
        None => finding,
    }
}

/// What it says it could not open: `open /var/lib/kube-proxy/config.conf: no such file or directory`.
pub(super) fn not_found(message: &str) -> Option<&str> {
    let (before, _) = message.split_once(": no such file or directory")?;
    let at = before.rfind("open /").map(|at| at + 5).max(before.rfind("stat /").map(|at| at + 5))?;
    before.get(at..).filter(|path| !path.contains(char::is_whitespace) && !path.starts_with("/proc/"))
}

#[cfg(test)]
mod tests {
    use super::not_found;

    #[test]
    fn the_file_that_is_not_there() {
        let said = r#"E1123 18:22:52.440129    2769 run.go:72] "command failed" err="failed complete: open /var/lib/kube-proxy/config.conf: no such file or directory""#;
        assert_eq!(not_found(said), Some("/var/lib/kube-proxy/config.conf"));
        assert_eq!(
            not_found("F1123 18:45:13.696345    7402 server.go:495] stat /var/lib/kube-proxy/kubeconfig.conf: no such file or directory"),
            Some("/var/lib/kube-proxy/kubeconfig.conf")
        );
        assert_eq!(not_found(r#"err="open /proc/sys/net/netfilter/nf_conntrack_max: no such file or directory""#), None);
        assert_eq!(not_found("nothing of it"), None);
    }
}
