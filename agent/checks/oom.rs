//! What the two checks of the kernel's OOM killer share: who was killed, and whose it was.

use super::log;
use crate::facts::journal::LogLine;
use crate::facts::{Blind, Facts, Timestamp};
use crate::finding::{Component, Finding};

/// A kill is news this long.
const NEWS_SECONDS: i64 = 3600;
/// Programs that the node itself needs, and the units they run as.
const NEEDED: [(&str, &str); 6] = [
    ("kubelet", "kubelet.service"),
    ("containerd", "containerd.service"),
    ("crio", "crio.service"),
    ("dockerd", "docker.service"),
    ("cri-dockerd", "cri-docker.service"),
    ("kube-proxy", "kube-proxy.service"),
];

/// A process that was killed, or several of the same pod or unit.
#[derive(Debug)]
pub(super) struct Victim {
    /// `pod UID`, a unit, or the program's name.
    pub subject: String,
    pub program: String,
    pub count: u64,
    pub last: Timestamp,
    pub line: String,
    pub pod: Option<String>,
    /// The unit, if the node needs it.
    pub service: Option<String>,
    /// The limit of a cgroup was reached, rather than the whole node's memory.
    pub limited: bool,
}

/// Who was killed in the last hour, each once.
pub(super) fn victims(facts: &Facts) -> Result<Vec<Victim>, Blind> {
    let mut victims: Vec<Victim> = Vec::new();
    let mut pids: Vec<&str> = Vec::new();
    let samples = log::seen(facts, super::oom_kill::CHECK.code)?.map_or(&[][..], |seen| &seen.samples);
    for line in samples.iter().filter(|line| log::age(facts, line.time) <= NEWS_SECONDS) {
        let Some((pid, program)) = killed(&line.message) else { continue };
        // Kernels since 5.0 tell each kill twice: first with the cgroup, then with the sizes.
        if pids.contains(&pid) {
            if let Some(victim) = victims.iter_mut().find(|victim| victim.program == program) {
                victim.line.clone_from(&line.message);
            }
            continue;
        }
        pids.push(pid);
        let victim = victim(line, program);
        match victims.iter_mut().find(|other| other.subject == victim.subject) {
            Some(other) => (other.count, other.last, other.line) = (other.count + 1, victim.last, victim.line),
            None => victims.push(victim),
        }
    }
    Ok(victims)
}

/// The victim's process id and name, in either of the kernel's lines (`mm/oom_kill.c`).
fn killed(message: &str) -> Option<(&str, &str)> {
    if let Some((_, told)) = message.split_once("oom-kill:constraint=") {
        return Some((value(told, ",pid=")?, value(told, ",task=")?));
    }
    let (pid, rest) = message.split_once("Killed process ")?.1.split_once(' ')?;
    Some((pid, rest.strip_prefix('(')?.split_once(')')?.0))
}

fn value<'a>(told: &'a str, key: &str) -> Option<&'a str> {
    told.split_once(key)?.1.split(',').next()
}

fn victim(line: &LogLine, program: &str) -> Victim {
    let cgroup = value(&line.message, ",task_memcg=").unwrap_or_default();
    let pod = cgroup.split('/').find_map(pod_uid);
    let unit = cgroup.rsplit('/').find(|part| part.ends_with(".service")).filter(|_| pod.is_none());
    let needed = NEEDED.into_iter().find(|(name, service)| *name == program || unit == Some(service)).map(|(_, service)| service.to_owned());
    let subject = match (&needed, &pod, unit) {
        (Some(service), ..) => service.clone(),
        (_, Some(pod), _) => format!("pod {pod}"),
        (.., Some(unit)) => unit.to_owned(),
        _ => program.to_owned(),
    };
    Victim {
        subject,
        program: program.to_owned(),
        count: 1,
        last: line.time,
        line: line.message.clone(),
        pod,
        service: needed,
        limited: line.message.contains("CONSTRAINT_MEMCG") || line.message.contains("Memory cgroup"),
    }
}

/// `kubepods-burstable-pod0330b2c1_a15b_….slice`, or `pod0330b2c1-a15b-…` with the cgroupfs driver.
fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let (before, uid) = name.rsplit_once("pod")?;
    let is_uid = uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_' || b == b'-');
    ((before.is_empty() || before.starts_with("kubepods")) && is_uid).then(|| uid.replace('_', "-"))
}

pub(super) fn finding(victim: &Victim, component: Component) -> Finding {
    let Victim { subject, program, .. } = victim;
    let cause = if victim.limited { "its memory limit was reached" } else { "the node was out of memory" };
    let times = if victim.count > 1 { format!(" {} times", victim.count) } else { String::new() };
    let of = if subject == program { String::new() } else { format!(" of {subject}") };
    let finding = Finding::new(component, subject.clone(), format!("the kernel killed {program}{of}{times}: {cause}"))
        .since(Some(victim.last))
        .evidence(format!("kernel, last {}", victim.last.clock()), victim.line.clone());
    match &victim.pod {
        Some(pod) => finding.remedy(format!("crictl inspectp $(crictl pods -q --label io.kubernetes.pod.uid={pod})")),
        None if subject.ends_with(".service") => {
            finding.remedy(format!("systemctl show {subject} -p MemoryMax,MemoryCurrent,NRestarts; ps -eo pid,rss,comm --sort=-rss | head"))
        }
        None => finding.remedy("ps -eo pid,rss,comm --sort=-rss | head"),
    }
}
