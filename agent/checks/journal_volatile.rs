use std::time::Duration;

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "journal-volatile",
    title: "the journal is kept in memory: logs are lost at reboot",
    severity: Severity::Info,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("journal_volatile.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let journal = facts.journal.ok()?;
    let on_disk = journal.directories.iter().any(|directory| directory.starts_with("/var/log/journal"));
    let Some(directory) = journal.directories.first().filter(|_| !on_disk && facts.is_kubernetes_node()) else { return Ok(Vec::new()) };
    Ok(vec![
        Finding::new(Component::Node, directory.clone(), "the journal is kept in memory: what the node logged is gone after a reboot")
            .evidence("/var/log/journal", "holds no journal of this machine")
            .remedy("mkdir -p /var/log/journal && systemd-tmpfiles --create --prefix /var/log/journal && journalctl --flush"),
    ])
}
