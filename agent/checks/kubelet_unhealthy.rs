use std::time::Duration;

use super::health;
use super::kubelet::{RESTART, quote};
use crate::config::Config;
use crate::facts::health::Answer;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kubelet-unhealthy",
    title: "the kubelet runs and does not say that it is well",
    severity: Severity::Critical,
    domain: Domain::Health,
    settle: Duration::from_secs(5),
    explained_by: units_that_do_not_run![
        super::kubelet_port_in_use::CHECK,
        super::kubelet_pleg_unhealthy::CHECK,
        super::kubelet_kubeconfig_missing::CHECK,
        super::filesystem_read_only::CHECK,
        super::memory_pressure::CHECK,
        super::disk_pressure::CHECK,
        super::inode_pressure::CHECK,
        super::pid_pressure::CHECK,
        super::file_handles_exhausting::CHECK,
        super::memory_stalled::CHECK,
        super::io_stalled::CHECK,
        super::cpu_starved::CHECK,
    ],
    signals: &[],
    article: include_str!("kubelet_unhealthy.md"),
    examine,
};

/// The health server is among the last things that a kubelet starts (`cmd/kubelet/app/server.go` `run`).
const STARTS_SECONDS: i64 = 30;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let Some(endpoint) = &facts.health.ok()?.kubelet else { return Ok(Vec::new()) };
    let answer = endpoint.answer.ok()?;
    // Whether it runs is the units' matter.
    let Some(since) = health::kubelet_active_since(facts)? else { return Ok(Vec::new()) };
    // One that waits for its first certificate does not listen yet, for as long as that takes (`pkg/kubelet/certificate/bootstrap`).
    let waits = facts
        .kubelet
        .known()
        .is_some_and(|kubelet| kubelet.kubeconfig.as_ref().is_some_and(|kubeconfig| kubeconfig.file.state == crate::facts::kubelet::FileState::Missing));
    let starting = *answer == Answer::Refused && (facts.now.seconds_since(since) < STARTS_SECONDS || waits);
    if answer.is_well() || starting {
        return Ok(Vec::new());
    }
    let address = health::address(endpoint);
    let what = match answer {
        Answer::Refused => format!("nothing listens on its health address {address}"),
        Answer::Http { .. } => format!("it answers on {address} that it is not well"),
        Answer::Silent(_) => format!("it hangs: on {address} it takes connections and says nothing"),
        Answer::NotHttp(_) => format!("on {address} it answers no sense"),
        Answer::NoConnection(_) | Answer::NoRoute(_) => format!("its health address {address} does not answer"),
    };
    Ok(vec![
        Finding::new(Component::Kubelet, address, format!("the kubelet runs, but {what}"))
            .evidence(format!("GET {}", endpoint.url.value), answer.words())
            .remedy(format!("curl -sS --max-time 5 {}; echo; journalctl -u kubelet -n 30 --no-pager", quote(&format!("{}?verbose", endpoint.url.value))))
            .remedy(RESTART),
    ])
}
