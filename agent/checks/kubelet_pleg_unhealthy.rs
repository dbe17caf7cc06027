use std::time::Duration;

use super::{log, unit};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kubelet-pleg-unhealthy",
    title: "the kubelet gets no answer about its containers from the runtime",
    severity: Severity::Critical,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: units_that_do_not_run![super::runtime_unresponsive::CHECK, super::runtime_socket_missing::CHECK, super::runtime_cri_missing::CHECK,],
    signals: &[Signal { from: LogSource::Unit("kubelet.service"), pattern: r"PLEG is not healthy: pleg was last seen active" }],
    article: include_str!("kubelet_pleg_unhealthy.md"),
    examine,
};

/// The kubelet repeats it every 5 s while it is true (`pkg/kubelet/kubelet.go` `syncLoop`).
const REPEATS_SECONDS: i64 = 30;

fn examine(facts: &Facts, config: &Config) -> Result<Vec<Finding>, Blind> {
    let Some(seen) = log::seen(facts, CHECK.code)?.filter(|seen| log::age(facts, seen.last) <= REPEATS_SECONDS) else { return Ok(Vec::new()) };
    let Some(line) = seen.samples.last() else { return Ok(Vec::new()) };
    let since = line.message.split_once("last seen active ").and_then(|(_, rest)| rest.split_once(" ago")).map_or("minutes", |(since, _)| since);
    // 3m12.072511102s: nobody needs the fraction.
    let since = since.split_once('.').map_or(since.to_owned(), |(whole, _)| format!("{whole}s"));
    let runtime = unit::runtime(facts, config);
    let finding = Finding::new(
        Component::Kubelet,
        "kubelet.service",
        format!("the container runtime has not told the kubelet its containers for {since} (PLEG is not healthy)"),
    );
    Ok(vec![
        log::evidence(finding.since(Some(seen.first)), line)
            .remedy(format!("systemctl status {runtime} --no-pager; timeout 10 crictl ps; journalctl -u {runtime} -n 30 --no-pager"))
            .remedy(format!("systemctl restart {runtime}")),
    ])
}
