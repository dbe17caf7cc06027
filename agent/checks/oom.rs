//! What the two checks of the kernel's OOM killer share: who was killed, and whose it was.

use super::log;
use crate::facts::journal::LogLine;
use crate::facts::pressure::{Holder, OomSeen, pod_uid};
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
    /// The limit of a cgroup was reached, rather than the whole node's memory; `None` where only the kernel's count tells of it.
    pub limited: Option<bool>,
}

/// Who was killed in the last hour, each once.
pub(super) fn victims(facts: &Facts) -> Result<Vec<Victim>, Blind> {
    let mut victims: Vec<Victim> = Vec::new();
    let mut pids: Vec<&str> = Vec::new();
    let mut times: Vec<Timestamp> = Vec::new();
    let logged = log::seen(facts, super::oom_kill::CHECK.code);
    // Where the log cannot be read, the kernel's count still tells that there was something.
    let counted = counted(facts);
    let samples = match &logged {
        Ok(seen) => seen.map_or(&[][..], |seen| &seen.samples),
        Err(blind) if counted.is_empty() => return Err(blind.clone()),
        Err(_) => &[],
    };
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
        times.push(line.time);
        let victim = victim(line, program);
        match victims.iter_mut().find(|other| other.subject == victim.subject) {
            Some(other) => (other.count, other.last, other.line) = (other.count + 1, victim.last, victim.line),
            None => victims.push(victim),
        }
    }
    for seen in counted {
        add_counted(&mut victims, seen, &times);
    }
    Ok(victims)
}

/// The rises of the kernel's own count in the last hour.
fn counted(facts: &Facts) -> Vec<&OomSeen> {
    let seen = facts.pressure.known().and_then(|pressure| pressure.oom.known()).map_or(&[][..], |oom| &oom.seen);
    seen.iter().filter(|seen| log::age(facts, seen.at) <= NEWS_SECONDS).collect()
}

/// Between a line of the kernel's and the look that saw its count risen.
const LATE_SECONDS: i64 = 60;

/// What the count tells and the log does not: a line can be lost, or not be readable.
fn add_counted(victims: &mut Vec<Victim>, seen: &OomSeen, logged: &[Timestamp]) {
    let told = logged.iter().filter(|time| (0..=LATE_SECONDS).contains(&seen.at.seconds_since(**time))).count() as u64;
    if told >= seen.kills {
        return;
    }
    let line = format!("oom_kill has risen by {}", seen.kills);
    let victim = |holder: Option<&Holder>| {
        let service = holder.and_then(|holder| NEEDED.iter().map(|(_, service)| *service).find(|service| holder.name == *service));
        let pod = holder.and_then(|holder| holder.pod_uid.clone());
        let subject = match (&pod, holder) {
            (Some(pod), _) => format!("pod {pod}"),
            (None, Some(holder)) => holder.name.clone(),
            (None, None) => "a process".to_owned(),
        };
        let program = holder.map_or_else(|| "a process".to_owned(), |holder| format!("a process of {}", holder.name));
        Victim { subject, program, count: seen.kills - told, last: seen.at, line: line.clone(), pod, service: service.map(str::to_owned), limited: None }
    };
    let found: Vec<_> = if seen.of.is_empty() { vec![victim(None)] } else { seen.of.iter().map(|holder| victim(Some(holder))).collect() };
    victims.extend(found.into_iter().filter(|new| !victims.iter().any(|old| old.subject == new.subject)).collect::<Vec<_>>());
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
        limited: Some(line.message.contains("CONSTRAINT_MEMCG") || line.message.contains("Memory cgroup")),
    }
}

pub(super) fn finding(victim: &Victim, component: Component) -> Finding {
    let Victim { subject, program, .. } = victim;
    let times = if victim.count > 1 { format!(" {} times", victim.count) } else { String::new() };
    let of = if subject == program { String::new() } else { format!(" of {subject}") };
    let (source, summary) = match victim.limited {
        Some(true) => ("kernel", format!("the kernel killed {program}{of}{times}: its memory limit was reached")),
        Some(false) => ("kernel", format!("the kernel killed {program}{of}{times}: the node was out of memory")),
        None => ("/proc/vmstat", format!("the kernel killed {program}, {} in all, for lack of memory", victim.count)),
    };
    let finding = Finding::new(component, subject.clone(), summary)
        .since(Some(victim.last))
        .evidence(format!("{source}, last {}", victim.last.clock()), victim.line.clone());
    match &victim.pod {
        Some(pod) => finding.remedy(format!("crictl inspectp $(crictl pods -q --label io.kubernetes.pod.uid={pod})")),
        None if subject.ends_with(".service") => {
            finding.remedy(format!("systemctl show {subject} -p MemoryMax,MemoryCurrent,NRestarts; ps -eo pid,rss,comm --sort=-rss | head"))
        }
        None => finding.remedy("ps -eo pid,rss,comm --sort=-rss | head"),
    }
}
