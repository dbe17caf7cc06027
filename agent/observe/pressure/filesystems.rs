//! What is free on a file system, asked where it can be abandoned.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statvfs::fstatvfs;

use super::mounts::{self, Line};
use crate::facts::Blind;
use crate::facts::pressure::Filesystem;
use crate::observe::host::Host;

/// Longest wait for a file system. A dead NFS server or a stopped FUSE server never answers.
const DEADLINE: Duration = Duration::from_secs(2);

/// Knows which file systems hang. It has at most one thread waiting for each, however long that takes and however often it is asked.
#[derive(Debug, Default)]
pub(super) struct Filesystems {
    hung: Mutex<HashMap<String, Receiver<Answer>>>,
}

type Answer = Result<Filesystem, Blind>;

impl Filesystems {
    /// Measures each of the places, all at the same time: of its candidates the first that exists. A place of none is unknown.
    pub(super) fn measure<const N: usize>(&self, host: &Host, table: &[Line], places: [Vec<String>; N]) -> [Answer; N] {
        let deadline = Instant::now() + DEADLINE;
        let started = places.map(|candidates| (self.start(host, &candidates), candidates));
        started.map(|(answer, candidates)| self.finish(answer, deadline, table, &candidates))
    }

    /// `None` while an earlier measurement of the same place still hangs.
    fn start(&self, host: &Host, candidates: &[String]) -> Option<Receiver<Answer>> {
        let key = candidates.first()?;
        let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        match hung.get(key).map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return None,
            // What it brought in the end is as old as the hang.
            _ => hung.remove(key),
        };
        let (send, receive) = sync_channel(1);
        let (host, candidates) = (host.clone(), candidates.to_vec());
        // If no thread can be had, the sender is dropped with the closure, and that is the answer.
        let work = move || _ = send.send(first(&host, &candidates));
        let _ = thread::Builder::new().name("statfs".to_owned()).stack_size(1 << 18).spawn(work);
        Some(receive)
    }

    fn finish(&self, started: Option<Receiver<Answer>>, deadline: Instant, table: &[Line], candidates: &[String]) -> Answer {
        let Some(path) = candidates.first() else { return Err(Blind::new("no path to measure")) };
        let Some(receive) = started else { return Err(no_answer(table, path)) };
        match receive.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(answer) => answer.and_then(|filesystem| mounted(filesystem, table, candidates)),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(Blind::new(format!("{path}: no thread could be started to measure it"))),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                self.hung.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), receive);
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
fn mounted(filesystem: Filesystem, table: &[Line], candidates: &[String]) -> Answer {
    let line = mounts::of(table, &filesystem.path, filesystem.device);
    match line {
        Some(line) => Ok(Filesystem { mount_point: Some(line.mount_point.clone()), device: line.device, ..filesystem }),
        None if candidates.contains(&filesystem.path) => Ok(filesystem),
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
fn statfs(host: &Host, path: &str) -> Result<Filesystem, (Errno, Blind)> {
    let blind = |errno: Errno| (errno, Blind::new(format!("{path}: {}", errno.desc())).grant(format!("mount the node's {path} below the root")));
    let fd = host.open_at(path, OFlag::O_PATH).map_err(|errno| if host.is_live() { blind(errno) } else { (errno, elsewhere(host)) })?;
    let device = fstat(&fd).map_err(blind)?.st_dev;
    if !host.is_live() && device == outside(host).map_err(blind)? {
        return Err((Errno::EXDEV, elsewhere(host)));
    }
    let stat = fstatvfs(&fd).map_err(blind)?;
    let unit = stat.fragment_size();
    Ok(Filesystem {
        path: path.to_owned(),
        mount_point: None,
        available: stat.blocks_available().saturating_mul(unit),
        capacity: stat.blocks().saturating_mul(unit),
        inodes_free: stat.files_free(),
        inodes: stat.files(),
        device,
    })
}

/// A tree that lies on this machine's disk says nothing of the node's.
fn elsewhere(host: &Host) -> Blind {
    super::not_running(host).err().unwrap_or_else(|| Blind::new("not on the node's disk"))
}

/// The device of the directory above the root: a file system of the node lies on another one.
fn outside(host: &Host) -> Result<u64, Errno> {
    nix::sys::stat::stat(&host.path().join("..")).map(|stat| stat.st_dev)
}
