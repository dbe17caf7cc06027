use std::time::Duration;

use super::log;
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "kubelet-flag-unknown",
    title: "the kubelet refuses a flag of its command line",
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
    let Some(line) = log::seen(facts, CHECK.code)?.and_then(|seen| seen.samples.last()) else { return Ok(Vec::new()) };
    // `unknown shorthand flag: 'x' in -x` names the flag last.
    let told = line.message.split_once("flag: ").map_or("", |(_, told)| told).trim_end_matches(['"', '\\']);
    let flag = told.rsplit(' ').next().unwrap_or(told);
    let finding = Finding::new(Component::Kubelet, flag, format!("this kubelet does not know the flag {flag}, so it exits at start"));
    Ok(vec![
        log::evidence(finding, line)
            .remedy(format!("grep -n -e '{flag}' {}", places(facts)))
            .remedy(format!("# take {flag} out where it was found, then: systemctl daemon-reload && systemctl restart kubelet")),
    ])
}

/// The files that a kubelet's flags are set in: the unit, its drop-ins, and what kubeadm and the packages read into it.
fn places(facts: &Facts) -> String {
    let unit = facts.units.known().and_then(|units| units.get("kubelet.service"));
    let files = unit.into_iter().flat_map(|unit| unit.fragment_path.iter().chain(&unit.drop_in_paths)).map(String::as_str);
    let read = ["/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet"];
    files.chain(read).collect::<Vec<_>>().join(" ")
}
