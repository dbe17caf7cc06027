use std::time::Duration;

use crate::config::Config;
use crate::facts::shell::quote;
use crate::facts::{Blind, Domain, Facts, Timestamp};
use crate::finding::{Check, Component, Finding, Severity};

pub static CHECK: Check = Check {
    code: "kernel-panic-recorded",
    title: "the node crashed: there is a record of the kernel panic",
    severity: Severity::Warning,
    domain: Domain::Journal,
    settle: Duration::ZERO,
    explained_by: &[&super::hardware_error::CHECK],
    signals: &[],
    article: include_str!("kernel_panic_recorded.md"),
    examine,
};

/// A record is news for a week, or until somebody has put it away.
const NEWS_SECONDS: i64 = 7 * 86_400;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    let past = &facts.journal.ok()?.past;
    let is_news = |at: Timestamp| facts.now.seconds_since(at) <= NEWS_SECONDS;
    let put_away = |path: &str| format!("install -d /root/crashes && mv {} /root/crashes/  # once it has been read; the finding ends with it", quote(path));
    let mut found: Vec<Finding> = Vec::new();
    for crash in past.crashes.iter().filter(|crash| is_news(crash.at)) {
        let said = crash.line.as_deref().unwrap_or("a dump of the kernel's memory");
        let finding = Finding::new(Component::Node, crash.path.clone(), format!("the kernel crashed, and left a record at {}", crash.at.human()));
        let read = if crash.line.is_some() {
            format!("tail -60 {}", quote(&crash.path))
        } else {
            format!("ls -l {}; crash /usr/lib/debug/boot/vmlinux-$(uname -r) {}", quote(&crash.path), quote(&crash.path))
        };
        found.push(finding.since(Some(crash.at)).evidence(crash.path.clone(), said).remedy(read).remedy(put_away(&crash.path)));
    }
    let logged = past.previous.as_ref().and_then(|boot| Some((boot, boot.panic.as_ref()?)));
    if let Some((boot, line)) = logged.filter(|(_, line)| found.is_empty() && is_news(line.time)) {
        let finding = Finding::new(Component::Node, "kernel", format!("the kernel crashed in the boot before this one, at {}", line.time.human()));
        found.push(
            finding.since(Some(line.time)).evidence("kernel", line.message.clone()).remedy(format!("journalctl -k -b {} --no-pager | tail -60", boot.boot_id)),
        );
    }
    match past.unseen.first() {
        Some(blind) if found.is_empty() => Err(blind.clone()),
        _ => Ok(found),
    }
}
