use std::time::Duration;

use super::log;
use crate::config::Config;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "node-lease-stale",
    title: "the kubelet runs but cannot renew the node's lease",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: units_that_do_not_run![
        super::api_server_endpoint_mismatch::CHECK,
        super::api_server_not_running::CHECK,
        super::api_server_refused::CHECK,
        super::api_server_unreachable::CHECK,
        super::api_server_name_unresolvable::CHECK,
        super::api_server_untrusted::CHECK,
        super::api_server_unauthorized::CHECK,
        super::certificate_expired::CHECK,
        super::certificate_not_yet_valid::CHECK,
        super::certificate_wrong_group::CHECK,
        super::certificate_wrong_user::CHECK,
        super::certificate_untrusted_issuer::CHECK,
        super::certificate_invalid::CHECK,
        super::certificate_key_mismatch::CHECK,
        super::node_name_mismatch::CHECK,
    ],
    signals: &[
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"ailed to ensure (node )?lease exists" },
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"ailed to update (node )?lease[^ ]*[ ,]" },
    ],
    article: include_str!("node_lease_stale.md"),
    examine,
};

/// A renewal is due every 10 s; the lease ends after 40 s (`pkg/kubelet/kubelet.go` `nodeLeaseRenewIntervalFraction`).
const REPEATS_SECONDS: i64 = 45;
/// So many failures within the last minutes: a single one is tried again at once and means nothing.
const OFTEN: usize = 3;
const WITHIN_SECONDS: i64 = 120;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(seen) = log::seen(facts, CHECK.code)?.filter(|seen| log::age(facts, seen.last) <= REPEATS_SECONDS) else { return Ok(Vec::new()) };
    if seen.samples.iter().filter(|line| log::age(facts, line.time) <= WITHIN_SECONDS).count() < OFTEN {
        return Ok(Vec::new());
    }
    let Some(line) = seen.samples.last() else { return Ok(Vec::new()) };
    let name = facts.node_name();
    let why = reason(&line.message);
    let finding =
        Finding::new(Component::Kubelet, name, format!("the kubelet cannot renew the lease of {name}{why}: after 40 s the cluster calls the node NotReady"));
    let kubeconfig =
        facts.kubelet.known().and_then(|kubelet| kubelet.kubeconfig.as_ref()).map_or("/etc/kubernetes/kubelet.conf", |found| &found.file.path.value);
    Ok(vec![
        log::evidence(finding.since(Some(seen.first)), line)
            .remedy(format!("kubectl --kubeconfig {} get lease -n kube-node-lease {name}  # as the kubelet asks", quote(kubeconfig)))
            .remedy("journalctl -u kubelet -n 20 --no-pager | grep -i lease"),
    ])
}

/// What the API server, or the way to it, answered.
fn reason(message: &str) -> &'static str {
    [
        ("connection refused", ": the API server refuses connections"),
        ("no such host", ": the API server's name cannot be resolved"),
        ("i/o timeout", ": the API server does not answer"),
        ("deadline exceeded", ": the API server does not answer in time"),
        ("no route to host", ": there is no route to the API server"),
        ("certificate signed by unknown authority", ": the API server's certificate is not trusted"),
        ("x509", ": the API server's certificate is refused"),
        ("Unauthorized", ": the API server does not know the kubelet's credential"),
        ("forbidden", ": the API server forbids it"),
    ]
    .into_iter()
    .find(|(told, _)| message.contains(told))
    .map_or("", |(_, reason)| reason)
}
