use std::time::Duration;

use super::{oom, unit};
use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Finding, Severity};

pub static CHECK: Check = Check {
    code: "oom-kill-system",
    title: "the kernel has killed the kubelet, the container runtime or kube-proxy for lack of memory",
    severity: Severity::Critical,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("oom_kill_system.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let victims = oom::victims(facts)?;
    Ok(victims.iter().filter_map(|victim| Some(oom::finding(victim, unit::component(victim.service.as_deref()?)))).collect())
}
