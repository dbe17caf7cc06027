//! The one door to the node's file system.
//!
//! Every path is the node's own (`/etc/kubernetes/kubelet.conf`) and is resolved *inside* the host root, so that absolute
//! symlinks of a mounted disk or of a pod's `/host` lead where they lead on the node.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::facts::Blind;

/// Longer chains of links are followed nowhere on a sane node; the kernel's own limit is 40.
const MOST_LINKS: usize = 8;

/// What the kernel makes of its own files at a time, in bytes.
const PAGE: usize = 4096;

/// A node's file system, seen at some directory.
#[derive(Clone, Debug)]
pub struct Host {
    root: Arc<OwnedFd>,
    path: PathBuf,
    live: bool,
    /// In a pod: the device of our own image, on which the mount points below the root lie, but nothing of the node.
    image: Option<u64>,
}

/// Why a file could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// It does not exist, or its symlink leads nowhere.
    Missing,
    /// It exists and is no regular file: "a FIFO", "a directory".
    NotRegular(&'static str),
    /// Longer than the limit, in bytes.
    TooLarge(u64),
    SymlinkLoop,
    /// We may not, or the disk would not.
    Blind(Blind),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist"),
            Self::NotRegular(kind) => write!(f, "is {kind}, not a regular file"),
            Self::TooLarge(size) => write!(f, "is {size} bytes long, too long for what it should be"),
            Self::SymlinkLoop => f.write_str("is a loop of symlinks"),
            Self::Blind(blind) => blind.fmt(f),
        }
    }
}

impl Host {
    /// Opens the root directory.
    ///
    /// # Errors
    /// If it is not a directory that can be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = OwnedFd::from(File::open(path)?);
        if !File::from(root.try_clone()?).metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory"));
        }
        let mut host = Self { root: Arc::new(root), path: path.to_owned(), live: false, image: None };
        host.live = host.open_at("/proc", OFlag::O_PATH).is_ok_and(|proc| fstatfs(&proc).is_ok_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC));
        host.image = host.image_device();
        Ok(host)
    }

    /// Of a running node of which single directories are mounted below the root. A root that is the node's whole file system
    /// has what every Linux has; the image of nodetriage has none of it.
    fn image_device(&self) -> Option<u64> {
        let whole = ["/etc/passwd", "/usr/bin", "/var/lib"].iter().all(|path| self.open_at(path, OFlag::O_PATH).is_ok_and(|fd| device(&fd).is_some()))
            && self.same_device("/etc", "/");
        if !self.live || whole || self.path == Path::new("/") {
            return None;
        }
        std::fs::metadata("/").ok().map(|metadata| metadata.dev())
    }

    fn same_device(&self, a: &str, b: &str) -> bool {
        let of = |path| self.open_at(path, OFlag::O_PATH).ok().and_then(|fd| device(&fd));
        of(a) == of(b)
    }

    /// The file system as the process `pid` of the node has it, which may be a container's.
    ///
    /// # Errors
    /// Blind: it has ended, or may not be looked into, which takes CAP_SYS_PTRACE (proc_pid_root(5)).
    pub fn of_process(&self, pid: u32) -> Result<Self, Blind> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = self.open_at(&format!("/proc/{pid}"), flags).and_then(|process| openat(process, "root", flags, Mode::empty()));
        let told = |errno: Errno| Blind::new(format!("/proc/{pid}/root: {}", errno.desc())).grant("run as root, or grant CAP_SYS_PTRACE");
        Ok(Self { root: Arc::new(open.map_err(told)?), path: self.path.join(format!("proc/{pid}/root")), live: false, image: None })
    }

    /// The part of `path` that would have to be mounted to see it, where the last ancestor that is there belongs to our image.
    fn unmounted(&self, path: &str) -> Option<String> {
        let image = self.image?;
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let (known, unknown) = self.known_part(&path);
            // A link that leads nowhere may lead to what is not mounted.
            let Some(target) = self.link(&unknown) else {
                let device = self.open_at(&known, OFlag::O_PATH).ok().and_then(|fd| device(&fd));
                return (device == Some(image)).then_some(unknown);
            };
            let rest = path.get(unknown.len()..).unwrap_or_default().to_owned();
            path = format!("{}{rest}", beside(&known, &target));
        }
        None
    }

    /// How far a path is there, and the part with the first thing that is not.
    fn known_part(&self, path: &str) -> (String, String) {
        let mut known = "/";
        for (at, _) in path.match_indices('/').skip(1).chain([(path.len(), "")]) {
            let part = path.get(..at).unwrap_or(path);
            if self.open_at(part, OFlag::O_PATH).is_err() {
                return (known.to_owned(), part.to_owned());
            }
            known = part;
        }
        (known.to_owned(), path.to_owned())
    }

    /// What an error of the kernel says of a path; what is not mounted cannot be told missing.
    fn error(&self, path: &str, errno: Errno) -> ReadError {
        match (read_error(path, errno), self.unmounted(path)) {
            (ReadError::Missing, Some(part)) => {
                let below = self.path.display();
                ReadError::Blind(Blind::new(format!("{path}: {part} is not mounted below {below}")).grant(format!("mount the node's {part} at {below}{part}")))
            }
            (error, _) => error,
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A running node, rather than its disk or a fixture: `/proc` is a procfs.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The file's bytes, at most `limit`. Never blocks on a FIFO or a device.
    ///
    /// # Errors
    /// What lies there instead.
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let fd = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map_err(|errno| self.error(path, errno))?;
        let file = File::from(fd);
        let metadata = file.metadata().map_err(|error| ReadError::Blind(Blind::new(format!("{path}: {error}"))))?;
        if !metadata.is_file() {
            return Err(ReadError::NotRegular(kind(metadata.file_type())));
        }
        if metadata.len() > limit {
            return Err(ReadError::TooLarge(metadata.len()));
        }
        // At once as large as the file is: a buffer that grows leaves copies of a key behind. The kernel's own files say nothing of their length.
        let length = usize::try_from(metadata.len()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(if length == 0 { PAGE } else { length + 1 });
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| ReadError::Blind(Blind::new(format!("{path}: {error}"))))?;
        if bytes.len() as u64 > limit { Err(ReadError::TooLarge(bytes.len() as u64)) } else { Ok(bytes) }
    }

    /// Text, with bytes that are no UTF-8 replaced.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_text(&self, path: &str, limit: u64) -> Result<String, ReadError> {
        self.read(path, limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What a symlink says, if `path` is one.
    #[must_use]
    pub fn link(&self, path: &str) -> Option<String> {
        let fd = self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).ok()?;
        nix::fcntl::readlinkat(&fd, "").ok().map(|target| target.to_string_lossy().into_owned())
    }

    /// Opens for a use other than reading (statfs, listing). Errors as open(2).
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_at(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(self.root.as_fd(), relative, how) {
            // Under systemd's RestrictSUIDSGID= and before Linux 5.6. At `/` the plain call leads to the same file.
            Err(Errno::ENOSYS) if self.path == Path::new("/") => openat(self.root.as_fd(), relative, flags | OFlag::O_CLOEXEC, Mode::empty()),
            opened => opened,
        }
    }

    /// Anything there, of any kind.
    ///
    /// # Errors
    /// Blind where permission or the disk forbids to know.
    pub fn exists(&self, path: &str) -> Result<bool, Blind> {
        match self.open_at(path, OFlag::O_PATH) {
            Ok(_) => Ok(true),
            Err(errno) => match self.error(path, errno) {
                ReadError::Blind(blind) => Err(blind),
                _ => Ok(false),
            },
        }
    }

    /// The names in a directory in the order of their bytes, at most 10,000; `None` if there is no such directory.
    ///
    /// # Errors
    /// Blind where permission or the disk forbids to know.
    pub fn list(&self, path: &str) -> Result<Option<Vec<String>>, Blind> {
        let fd = match self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(fd) => fd,
            Err(errno) => {
                return match self.error(path, errno) {
                    ReadError::Blind(blind) => Err(blind),
                    _ => Ok(None),
                };
            }
        };
        let mut directory = nix::dir::Dir::from_fd(fd).map_err(|errno| Blind::new(format!("{path}: {}", errno.desc())))?;
        let mut names: Vec<Vec<u8>> =
            directory.iter().flatten().map(|entry| entry.file_name().to_bytes().to_vec()).filter(|name| name != b"." && name != b"..").take(10_000).collect();
        names.sort();
        Ok(Some(names.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect()))
    }
}

/// Where a link in the directory `dir` leads, by its words.
fn beside(dir: &str, target: &str) -> String {
    let start = if target.starts_with('/') { "" } else { dir };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn device(fd: &OwnedFd) -> Option<u64> {
    nix::sys::stat::fstat(fd).ok().map(|stat| stat.st_dev)
}

fn read_error(path: &str, errno: Errno) -> ReadError {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => ReadError::Missing,
        Errno::ELOOP => ReadError::SymlinkLoop,
        Errno::ENXIO => ReadError::NotRegular("a socket or a device"),
        Errno::EACCES | Errno::EPERM => ReadError::Blind(Blind::new(format!("{path}: permission denied")).grant("run as root, or grant CAP_DAC_READ_SEARCH")),
        other => ReadError::Blind(Blind::new(format!("{path}: {}", other.desc()))),
    }
}

fn kind(file_type: std::fs::FileType) -> &'static str {
    if file_type.is_dir() {
        "a directory"
    } else if file_type.is_fifo() {
        "a FIFO"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A running node below a root; what is mounted there is for the test to say.
    fn pod(name: &str) -> (PathBuf, Host) {
        let root = std::env::temp_dir().join(format!("nodetriage-host-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc/kubernetes")).unwrap();
        let mut host = Host::open(&root).unwrap();
        host.live = true;
        (root, host)
    }

    #[test]
    fn what_is_not_mounted_is_blind_and_what_is_not_there_is_missing() {
        let (root, mut host) = pod("mounts");
        // The whole root as one mounted file system of the node: its device is not the image's.
        host.image = Some(u64::MAX);
        assert!(matches!(host.read("/var/lib/kubelet/config.yaml", 10), Err(ReadError::Missing)));
        assert_eq!(host.exists("/etc/kubernetes/kubelet.conf"), Ok(false));
        assert_eq!(host.list("/opt/cni/bin"), Ok(None));
        // The root's directories are our image's own.
        host.image = Some(fs::metadata(&root).unwrap().dev());
        let Err(ReadError::Blind(blind)) = host.read("/var/lib/kubelet/config.yaml", 10) else { panic!("what is not mounted was told missing") };
        assert_eq!(blind.reason, format!("/var/lib/kubelet/config.yaml: /var is not mounted below {}", root.display()));
        assert_eq!(blind.grant.unwrap(), format!("mount the node's /var at {}/var", root.display()));
        assert!(host.exists("/etc/kubernetes/kubelet.conf").is_err());
        assert!(host.list("/etc/cni/net.d").is_err());
        assert_eq!(host.exists("/etc/kubernetes"), Ok(true));
        std::os::unix::fs::symlink("../run/resolv.conf", root.join("etc/resolv.conf")).unwrap();
        let Err(ReadError::Blind(blind)) = host.read("/etc/resolv.conf", 10) else { panic!("it leads to what is not mounted") };
        assert!(blind.reason.starts_with("/etc/resolv.conf: /run is not mounted"), "{blind}");
        std::os::unix::fs::symlink("loop", root.join("etc/loop")).unwrap();
        assert!(matches!(host.read("/etc/loop", 10), Err(ReadError::SymlinkLoop)));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_disk_or_the_machine_itself_has_no_image() {
        let (root, _) = pod("disk");
        assert_eq!(Host::open(&root).unwrap().image, None, "not live");
        assert_eq!(Host::open(Path::new("/")).unwrap().image, None);
        fs::remove_dir_all(&root).unwrap();
    }
}
