//! Processes that have ended and are waited for by nobody, and who holds inotify's instances.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::time::{ClockId, clock_gettime};

use super::{PROC_FILE_LIMIT, not_running, text};
use crate::facts::Blind;
use crate::facts::pressure::{Inotify, Usage, ZombieParent, Zombies};
use crate::observe::host::Host;

/// Between two looks at all processes, if the number of threads tells nothing new.
const EVERY: Duration = Duration::from_mins(15);
/// So many more threads than at the last look are news.
const MORE: u64 = 50;
/// The time until the next look is at least so many times what one costs, whatever their number.
const SHARE: u32 = 300;
/// Processes looked at, and descriptors of each.
const MOST: usize = 50_000;
const MOST_DESCRIPTORS: usize = 4096;
const TOLD: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Processes {
    looked: Option<(Instant, Duration, u64)>,
    told: Option<Result<(Zombies, Option<Inotify>), Blind>>,
}

impl Processes {
    /// What was found, now or at the last look; `threads` is their number.
    pub fn look(&mut self, host: &Host, threads: u64, now: Instant) -> Result<(Zombies, Option<Inotify>), Blind> {
        let due = self.looked.is_none_or(|(at, took, before)| {
            let since = now.saturating_duration_since(at);
            since >= (took * SHARE).max(EVERY) || (threads >= before.saturating_add(MORE) && since >= took * SHARE)
        });
        // What was told is looked at again: it may have gone.
        let known = self.told.as_ref().is_some_and(|told| told.as_ref().is_ok_and(|(zombies, _)| zombies.count >= MORE));
        if due || (known && self.looked.is_none_or(|(at, took, _)| now.saturating_duration_since(at) >= took * SHARE)) {
            let start = cpu();
            self.told = Some(look(host));
            self.looked = Some((now, cpu().saturating_sub(start), threads));
        }
        self.told.clone().unwrap_or_else(|| Err(Blind::new("processes were not looked at")))
    }
}

/// What this thread has used of a processor: on a busy node a look takes long and costs no more.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// A line of /proc/PID/stat as far as it is needed (proc_pid_stat(5)); the program's name may hold anything.
struct Process {
    program: String,
    zombie: bool,
    parent: u32,
}

fn parse(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let zombie = fields.next()? == "Z";
    Some(Process { program: before.split_once('(')?.1.to_owned(), zombie, parent: fields.next()?.parse().ok()? })
}

fn look(host: &Host) -> Result<(Zombies, Option<Inotify>), Blind> {
    not_running(host)?;
    let mut processes = HashMap::new();
    let mut holds = Holds::default();
    for pid in pids(host)? {
        // One that has ended meanwhile is none.
        let Some(process) = text(host, &format!("/proc/{pid}/stat")).ok().as_deref().and_then(parse) else { continue };
        if !process.zombie {
            holds.count(host, pid, &process.program);
        }
        processes.insert(pid, process);
    }
    Ok((zombies(&processes), holds.told(host)))
}

fn zombies(processes: &HashMap<u32, Process>) -> Zombies {
    let mut of: BTreeMap<u32, u64> = BTreeMap::new();
    for process in processes.values().filter(|process| process.zombie) {
        *of.entry(process.parent).or_default() += 1;
    }
    let count = of.values().sum();
    let program = |pid: &u32| processes.get(pid).map_or_else(String::new, |process| process.program.clone());
    let mut parents: Vec<_> = of.iter().map(|(pid, zombies)| ZombieParent { pid: *pid, program: program(pid), zombies: *zombies }).collect();
    parents.sort_by_key(|parent| std::cmp::Reverse(parent.zombies));
    parents.truncate(TOLD);
    Zombies { count, parents }
}

fn pids(host: &Host) -> Result<Vec<u32>, Blind> {
    let blind = |errno: nix::errno::Errno| Blind::new(format!("/proc: {}", errno.desc()));
    let fd = host.open_at("/proc", OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(blind)?;
    let mut directory = Dir::from_fd(fd).map_err(blind)?;
    Ok(directory.iter().flatten().filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok()).take(MOST).collect())
}

/// inotify's instances and watches by user. A process may hold the same instance as its parent: it then counts twice.
#[derive(Debug, Default)]
struct Holds {
    /// Instances and watches.
    users: BTreeMap<u32, (u64, u64)>,
    programs: BTreeMap<(u32, String), u64>,
    /// The descriptors of the node's first process could be seen, and so all.
    seen_all: bool,
}

impl Holds {
    fn count(&mut self, host: &Host, pid: u32, program: &str) {
        let path = format!("/proc/{pid}/fd");
        let Ok(fd) = host.open_at(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) else { return };
        let Ok(uid) = fstat(&fd).map(|stat| stat.st_uid) else { return };
        let Ok(mut directory) = Dir::from_fd(fd) else { return };
        let names: Vec<_> = directory.iter().flatten().take(MOST_DESCRIPTORS).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        self.seen_all |= pid == 1;
        for name in names {
            if host.link(&format!("{path}/{name}")).is_none_or(|target| target != "anon_inode:inotify") {
                continue;
            }
            let watches = host.read_text(&format!("/proc/{pid}/fdinfo/{name}"), PROC_FILE_LIMIT).unwrap_or_default();
            let watches = watches.lines().filter(|line| line.starts_with("inotify wd:")).count() as u64;
            let (instances, all) = self.users.entry(uid).or_default();
            (*instances, *all) = (*instances + 1, *all + watches);
            *self.programs.entry((uid, program.to_owned())).or_default() += 1;
        }
    }

    /// The user who holds the largest part of what it may.
    fn told(self, host: &Host) -> Option<Inotify> {
        let most = |name: &str| text(host, &format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse::<u64>().ok();
        let (instances, watches) = (most("max_user_instances")?, most("max_user_watches")?);
        #[allow(clippy::cast_precision_loss)] // to compare only
        let share = |(used, watched): (u64, u64)| (used as f64 / instances.max(1) as f64).max(watched as f64 / watches.max(1) as f64);
        let (uid, (used, watched)) = self.users.into_iter().filter(|_| self.seen_all).max_by(|a, b| share(a.1).total_cmp(&share(b.1)))?;
        let mut programs: Vec<_> = self.programs.into_iter().filter(|((user, _), _)| *user == uid).map(|((_, program), count)| (program, count)).collect();
        programs.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        programs.truncate(TOLD);
        Some(Inotify { uid, instances: Usage { used, most: instances }, watches: Usage { used: watched, most: watches }, programs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        for (stat, program, zombie, parent) in [
            ("7 (sh) S 1 7 7 0", "sh", false, 1),
            ("8 (a) b) Z 7 8 8 0", "a) b", true, 7),
            ("9 () R 0 0", "", false, 0),
            ("10 (x (y) Z 9) Z 9 1", "x (y) Z 9", true, 9),
        ] {
            let process = parse(stat).unwrap();
            assert_eq!((process.program.as_str(), process.zombie, process.parent), (program, zombie, parent), "{stat}");
        }
        for broken in ["", "7", "7 (sh", "7 (sh)", "7 (sh) Z", "7 sh) Z x"] {
            assert!(parse(broken).is_none(), "{broken}");
        }
    }
}
