use std::collections::BTreeSet;
use std::time::Duration;

use super::kubelet::{consequence, edit, refused_flags};
use super::log;
use crate::config::Config;
use crate::facts::kubelet::Oddity;
use crate::facts::{Blind, Domain, Facts, Sourced};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kubelet-flag-invalid",
    title: "the kubelet refuses the value of a flag",
    severity: Severity::Critical,
    domain: Domain::Kubelet,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[
        Signal {
            from: LogSource::Unit("kubelet.service"),
            pattern: r"^[EF]\d{4} .*(?:failed to parse kubelet flag|server\.go:\d+\]).*(?:invalid argument|flag needs an argument)",
        },
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"^[EF]\d{4} .*(?:failed to validate kubelet flags|unknown command )" },
    ],
    article: include_str!("kubelet_flag_invalid.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    facts.kubelet.ok()?;
    let said = facts.journal.known().and_then(|journal| journal.signals.get(CHECK.code)?.samples.last());
    let finding = |subject: String, what: &str| {
        let finding = Finding::new(Component::Kubelet, subject, format!("the kubelet refuses {what}, so {}", consequence(facts)));
        said.iter().fold(finding, |finding, line| finding.evidence(log::place(line), line.said()))
    };
    let refused = refused_flags(facts).into_iter().filter_map(|odd| {
        let Oddity::Refused(message) = &odd.oddity else { return None };
        // A word that is no flag is its own name.
        let flag = odd.source.ends_with(&format!("--{}", odd.name));
        let name = if flag { format!("--{}", odd.name) } else { odd.name.clone() };
        let what = if flag { format!("the value of {name}") } else { format!("the word {name:?} on its command line") };
        let name = if name.is_empty() { "\"\"".to_owned() } else { name };
        Some(finding(name, &what).evidence(odd.source.clone(), message.clone()).remedy(edit(&Sourced::new((), odd.source.clone()))))
    });
    let mut refused: Vec<Finding> = refused.collect();
    // What stands there twice is one fault.
    let mut seen = BTreeSet::new();
    refused.retain(|finding| seen.insert(finding.subject.clone()));
    // In words that no rule here has: its own.
    if refused.is_empty() && said.is_some() {
        let where_ = "systemctl cat kubelet; grep -n . /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet /etc/sysconfig/kubelet";
        return Ok(vec![finding("kubelet.service".to_owned(), "a flag of its command line").remedy(where_)]);
    }
    Ok(refused)
}
