use std::time::Duration;

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "journal-unreadable",
    title: "a journal file cannot be read",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[],
    signals: &[],
    article: include_str!("journal_unreadable.md"),
    examine,
};

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let found = facts.journal.ok()?.unreadable.iter().map(|blind| {
        let (path, reason) = blind.reason.split_once(": ").unwrap_or(("the journal", &blind.reason));
        let finding =
            Finding::new(Component::Node, path, format!("nodetriage cannot read the journal file {path}: what it holds is not seen")).evidence(path, reason);
        match blind.grant.as_deref() {
            Some(command) if command.starts_with("journalctl") => finding.remedy(command),
            Some(grant) => finding.evidence("to see it", grant),
            None => finding,
        }
    });
    Ok(found.collect())
}
