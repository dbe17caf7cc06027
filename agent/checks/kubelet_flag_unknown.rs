use std::time::Duration;

use super::kubelet::{consequence, edit, refused_flags, version};
use super::log;
use crate::config::Config;
use crate::facts::kubelet::{OddFlag, Oddity};
use crate::facts::{Blind, Domain, Facts, Journal, Sourced};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kubelet-flag-unknown",
    title: "the kubelet refuses a flag that it does not know",
    severity: Severity::Critical,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"^[EF]\d{4} .*(?i:failed to parse kubelet flag).*unknown (?:shorthand )?flag: " },
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"^F\d{4} .*server\.go:\d+\] unknown (?:shorthand )?flag: " },
    ],
    article: include_str!("kubelet_flag_unknown.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    // What can be told beforehand: the flag is in no kubelet, or not in the one that is installed.
    let mut found: Vec<Finding> = refused_flags(facts).into_iter().filter_map(|odd| told_beforehand(facts, odd)).collect();
    match facts.journal.ok() {
        Ok(journal) => {
            let said = told_by_itself(facts, journal).filter(|said| !found.iter().any(|known| known.subject == said.subject));
            found.extend(said);
        }
        Err(blind) if found.is_empty() => return Err(blind),
        Err(_) => {}
    }
    Ok(found)
}

/// What the kubelet said when it exited.
fn told_by_itself(facts: &Facts, journal: &Journal) -> Option<Finding> {
    let line = journal.signals.get(CHECK.code)?.samples.last()?;
    let flag = flag_in(&line.message)?;
    let finding = finding(facts, &flag).evidence(log::place(line), line.said());
    let set = facts.kubelet.known().and_then(|kubelet| {
        let flags = kubelet.flags.iter().map(|(name, value)| (name.as_str(), value.source.as_str()));
        flags.chain(kubelet.other_flags.iter().map(|other| (other.value.as_str(), other.source.as_str()))).find(|(name, _)| *name == flag)
    });
    Some(match set {
        Some((_, source)) => finding.evidence(source, "sets it").remedy(edit(&Sourced::new((), source))),
        None => finding.remedy("systemctl cat kubelet; grep -n . /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet /etc/sysconfig/kubelet"),
    })
}

fn finding(facts: &Facts, flag: &str) -> Finding {
    Finding::new(Component::Kubelet, format!("--{flag}"), format!("the kubelet does not know the flag --{flag}, so {}", consequence(facts)))
}

fn told_beforehand(facts: &Facts, odd: &OddFlag) -> Option<Finding> {
    let name = &odd.name;
    let why = match &odd.oddity {
        Oddity::Gone { release } => format!("Kubernetes 1.{release} has no --{name} any more"),
        Oddity::Unknown { did_you_mean: Some(meant) } => format!("no kubelet has --{name}; did you mean --{meant}?"),
        Oddity::Unknown { did_you_mean: None } => format!("no kubelet has --{name}"),
        Oddity::Refused(_) => return None,
    };
    let version = version(facts).map(|version| (version.source, format!("the kubelet is {}", version.value)));
    let said = facts.journal.known().and_then(|journal| journal.signals.get(CHECK.code)?.samples.last());
    let said = said.filter(|line| flag_in(&line.message).as_ref() == Some(name)).map(|line| (log::place(line), line.said()));
    let finding = finding(facts, name).evidence(odd.source.clone(), why);
    let finding = version.into_iter().chain(said).fold(finding, |finding, (source, saw)| finding.evidence(source, saw));
    Some(finding.remedy(edit(&Sourced::new((), odd.source.clone()))))
}

/// `network-plugin` of `unknown flag: --network-plugin`; pflag has two wordings.
fn flag_in(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown flag: --").or_else(|| message.split_once("unknown shorthand flag: '"))?;
    let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).collect();
    Some(name).filter(|name| !name.is_empty())
}
