//! What is free on a file system, asked where it can be abandoned.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::mounts::{self, Line};
use crate::facts::Blind;
use crate::facts::pressure::Filesystem;
use crate::observe::host::Host;

/// Longest wait for a file system. A dead NFS server or a stopped FUSE server never answers.
const DEADLINE: Duration = Duration::from_secs(2);

/// Has one thread for each place, which can hang there without anybody else; so there are never more, however long and however
/// often it hangs.
#[derive(Debug, Default)]
pub(super) struct Filesystems {
    workers: HashMap<Vec<String>, Worker>,
}

type Answer = Result<Measured, Blind>;

/// A file system as it was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    pub filesystem: Filesystem,
    /// As seen from here, where it may be read-only though it is not on the node: what counts is that it changes.
    pub read_only: bool,
}

#[derive(Debug)]
struct Worker {
    ask: SyncSender<()>,
    answers: Receiver<Answer>,
    /// It was asked, and has not answered yet.
    hangs: bool,
}

impl Worker {
    /// Ends when its `ask` is dropped, or once what it hangs on lets it go.
    fn start(host: &Host, candidates: &[String]) -> Self {
        let (ask, asked) = sync_channel(1);
        let (send, answers) = sync_channel(1);
        let (host, candidates) = (host.clone(), candidates.to_vec());
        let work = move || {
            while asked.recv().is_ok() && send.send(first(&host, &candidates)).is_ok() {}
        };
        // If no thread can be had, the sender is dropped with the closure, and that is the answer.
        let _ = thread::Builder::new().name("statfs".to_owned()).stack_size(1 << 18).spawn(work);
        Self { ask, answers, hangs: false }
    }
}

impl Filesystems {
    /// Measures each of the places, all at the same time: of its candidates the first that exists. A place of none is unknown.
    pub(super) fn measure<const N: usize>(&mut self, host: &Host, table: &[Line], places: &[Vec<String>; N]) -> [Answer; N] {
        // Places that are not asked for any more; one that hangs stays, so that it is not started again.
        self.workers.retain(|candidates, worker| worker.hangs || places.contains(candidates));
        let deadline = Instant::now() + DEADLINE;
        let asked = places.each_ref().map(|candidates| self.start(host, candidates));
        let mut answers: HashMap<&Vec<String>, Answer> = HashMap::new();
        let mut asked = asked.into_iter();
        for candidates in places {
            let asked = asked.next().unwrap_or_default();
            if !answers.contains_key(candidates) {
                answers.insert(candidates, self.finish(asked, deadline, table, candidates));
            }
        }
        places.each_ref().map(|candidates| answers.get(candidates).cloned().unwrap_or_else(|| Err(Blind::new("no path to measure"))))
    }

    /// False while an earlier measurement of the same place still hangs.
    fn start(&mut self, host: &Host, candidates: &[String]) -> bool {
        if candidates.is_empty() {
            return false;
        }
        let worker = self.workers.entry(candidates.to_vec()).or_insert_with(|| Worker::start(host, candidates));
        if worker.hangs {
            match worker.answers.try_recv() {
                Err(TryRecvError::Empty) => return false,
                // What it brought in the end is as old as the hang.
                Ok(_) => worker.hangs = false,
                Err(TryRecvError::Disconnected) => *worker = Worker::start(host, candidates),
            }
        }
        let _ = worker.ask.try_send(());
        true
    }

    fn finish(&mut self, asked: bool, deadline: Instant, table: &[Line], candidates: &[String]) -> Answer {
        let Some(path) = candidates.first() else { return Err(Blind::new("no path to measure")) };
        let Some(worker) = self.workers.get_mut(candidates).filter(|_| asked) else { return Err(no_answer(table, path)) };
        match worker.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(answer) => answer.and_then(|measured| mounted(measured, table, candidates)),
            Err(RecvTimeoutError::Disconnected) => {
                self.workers.remove(candidates);
                Err(Blind::new(format!("{path}: no thread could be started to measure it")))
            }
            Err(RecvTimeoutError::Timeout) => {
                worker.hangs = true;
                Err(no_answer(table, path))
            }
        }
    }
}

fn no_answer(table: &[Line], path: &str) -> Blind {
    let reason = format!("{path}: no answer in {} s", DEADLINE.as_secs());
    match mounts::covering(table, path) {
        Some(line) => Blind::new(format!("{reason} from {} ({}) mounted at {}", line.source, line.fs_type, line.mount_point))
            .grant(format!("bring its server back, or: umount -f -l {}", line.mount_point)),
        None => Blind::new(reason).grant("bring the file system's server back"),
    }
}

/// With the mount point and the device of the whole file system. A directory above one that does not exist yet counts only
/// where it surely is the node's.
fn mounted(measured: Measured, table: &[Line], candidates: &[String]) -> Answer {
    let filesystem = &measured.filesystem;
    match mounts::of(table, &filesystem.path, filesystem.device) {
        Some(line) => {
            let filesystem = Filesystem { mount_point: Some(line.mount_point.clone()), device: line.device, ..measured.filesystem };
            Ok(Measured { filesystem, ..measured })
        }
        None if candidates.contains(&filesystem.path) => Ok(measured),
        None => {
            Err(Blind::new(format!("{} does not exist here", candidates.join(" or "))).grant(format!("mount the node's {} below the root", filesystem.path)))
        }
    }
}

/// The first candidate that exists, or the directory in which it will be made.
fn first(host: &Host, candidates: &[String]) -> Answer {
    let above = candidates.first().into_iter().flat_map(|path| path.rmatch_indices('/').map(|(at, _)| if at == 0 { "/" } else { &path[..at] }));
    for path in candidates.iter().map(String::as_str).chain(above) {
        match statfs(host, path) {
            Err((Errno::ENOENT | Errno::ENOTDIR, _)) => {}
            other => return other.map_err(|(_, blind)| blind),
        }
    }
    Err(Blind::new("no path to measure"))
}

/// What the kubelet sees of a file system (cadvisor fs/vfs/stats.go).
fn statfs(host: &Host, path: &str) -> Result<Measured, (Errno, Blind)> {
    let blind = |errno: Errno| (errno, Blind::new(format!("{path}: {}", errno.desc())).grant(format!("mount the node's {path} below the root")));
    let fd = host.open_at(path, OFlag::O_PATH).map_err(|errno| if host.is_live() { blind(errno) } else { (errno, elsewhere(host)) })?;
    let device = fstat(&fd).map_err(blind)?.st_dev;
    if !host.is_live() && device == outside(host).map_err(blind)? {
        return Err((Errno::EXDEV, elsewhere(host)));
    }
    let stat = fstatvfs(&fd).map_err(blind)?;
    let unit = stat.fragment_size();
    let filesystem = Filesystem {
        path: path.to_owned(),
        mount_point: None,
        available: stat.blocks_available().saturating_mul(unit),
        capacity: stat.blocks().saturating_mul(unit),
        inodes_free: stat.files_free(),
        inodes: stat.files(),
        device,
    };
    Ok(Measured { filesystem, read_only: stat.flags().contains(FsFlags::ST_RDONLY) })
}

/// A tree that lies on this machine's disk says nothing of the node's.
fn elsewhere(host: &Host) -> Blind {
    super::not_running(host).err().unwrap_or_else(|| Blind::new("not on the node's disk"))
}

/// The device of the directory above the root: a file system of the node lies on another one.
fn outside(host: &Host) -> Result<u64, Errno> {
    nix::sys::stat::stat(&host.path().join("..")).map(|stat| stat.st_dev)
}
