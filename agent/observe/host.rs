//! The one door to the node's file system.
//!
//! Every path is the node's own (`/etc/kubernetes/kubelet.conf`) and is resolved *inside* the host root, so that absolute
//! symlinks of a mounted disk or of a pod's `/host` lead where they lead on the node.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::facts::Blind;

/// A node's file system, seen at some directory.
#[derive(Clone, Debug)]
pub struct Host {
    root: Arc<OwnedFd>,
    path: PathBuf,
    live: bool,
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
        let mut host = Self { root: Arc::new(root), path: path.to_owned(), live: false };
        host.live = host.open_at("/proc", OFlag::O_PATH).is_ok_and(|proc| fstatfs(&proc).is_ok_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC));
        Ok(host)
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
        let fd = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map_err(|errno| read_error(path, errno))?;
        let file = File::from(fd);
        let metadata = file.metadata().map_err(|error| ReadError::Blind(Blind::new(format!("{path}: {error}"))))?;
        if !metadata.is_file() {
            return Err(ReadError::NotRegular(kind(metadata.file_type())));
        }
        if metadata.len() > limit {
            return Err(ReadError::TooLarge(metadata.len()));
        }
        let mut bytes = Vec::new();
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
        openat2(self.root.as_fd(), relative, how)
    }

    /// Anything there, of any kind.
    ///
    /// # Errors
    /// Blind where permission or the disk forbids to know.
    pub fn exists(&self, path: &str) -> Result<bool, Blind> {
        match self.open_at(path, OFlag::O_PATH) {
            Ok(_) => Ok(true),
            Err(errno) => match read_error(path, errno) {
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
                return match read_error(path, errno) {
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
