use std::time::Duration;

use super::log;
use crate::config::Config;
use crate::facts::pressure::Inotify;
use crate::facts::{Blind, Domain, Facts};
use crate::finding::{Check, Component, Finding, LogSource, Severity, Signal};

pub static CHECK: Check = Check {
    code: "inotify-exhausting",
    title: "a user's inotify instances or watches are nearly all in use",
    severity: Severity::Warning,
    domain: Domain::Pressure,
    settle: Duration::ZERO,
    explained_by: &[],
    // What the kubelet, cAdvisor in it and containerd say when the kernel refuses (inotify_init1(2) EMFILE, inotify_add_watch(2) ENOSPC).
    signals: &[
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"inotify(_init)?: too many open files|inotify_add_watch [^:]*: no space left on device" },
        Signal { from: LogSource::Unit("kubelet.service"), pattern: r"fsnotify watcher: (too many open files|no space left on device)" },
        Signal { from: LogSource::Unit("containerd.service"), pattern: r"fsnotify watcher: (too many open files|no space left on device)" },
    ],
    article: include_str!("inotify_exhausting.md"),
    examine,
};

const PERCENT: u64 = 90;

fn examine(facts: &Facts, _: &Config) -> Result<Vec<Finding>, Blind> {
    if !facts.is_kubernetes_node() {
        return Ok(Vec::new());
    }
    let inotify = facts.pressure.ok()?.inotify.as_ref();
    let near = inotify.filter(|inotify| inotify.instances.is_over(PERCENT) || inotify.watches.is_over(PERCENT));
    let refused = facts.journal.known().and_then(|_| log::seen(facts, CHECK.code).ok().flatten()).and_then(|seen| seen.samples.last());
    let finding = match (near, refused) {
        (Some(inotify), _) => counted(inotify),
        (None, Some(line)) => {
            let of = if line.message.contains("no space left") { "watches" } else { "instances" };
            Finding::new(Component::Node, format!("max_user_{of}"), format!("the kernel refuses further inotify {of}: what watches files goes blind"))
        }
        (None, None) => return Ok(Vec::new()),
    };
    let finding = match refused {
        Some(line) => log::evidence(finding, line),
        None => finding,
    };
    Ok(vec![
        finding
            .remedy("find /proc/[0-9]*/fd -lname 'anon_inode:inotify' 2>/dev/null | cut -d/ -f3 | sort | uniq -c | sort -rn | head | while read n p; do echo \"$n $(cat /proc/$p/comm) $p\"; done  # who holds the instances")
            .remedy("printf 'fs.inotify.max_user_instances=8192\\nfs.inotify.max_user_watches=524288\\n' > /etc/sysctl.d/99-inotify.conf && sysctl -p /etc/sysctl.d/99-inotify.conf"),
    ])
}

fn counted(inotify: &Inotify) -> Finding {
    let (of, usage) = if inotify.instances.is_over(PERCENT) { ("instances", inotify.instances) } else { ("watches", inotify.watches) };
    let summary = format!("user {} has {} of {} inotify {of}: what comes next is refused, and goes blind", inotify.uid, usage.used, usage.most);
    let finding = Finding::new(Component::Node, format!("max_user_{of}"), summary)
        .evidence(format!("fs.inotify.max_user_{of}"), format!("{} of {}, more than {PERCENT} %", usage.used, usage.most));
    let programs: Vec<_> = inotify.programs.iter().map(|(program, count)| format!("{program} {count}")).collect();
    finding.evidence("/proc/*/fd", format!("instances by program: {}", programs.join(", ")))
}
