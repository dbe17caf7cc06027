//! Where a node's journal files lie.

use std::fs::File;

use nix::fcntl::OFlag;

use super::format::Id;
use crate::facts::Blind;
use crate::observe::host::Host;

/// journald's directories: on disk, and in memory until the disk is there or when `Storage=volatile`.
pub const ROOTS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
/// More files than this in one directory are not journald's doing (its `SystemMaxFiles` is 100).
const FILES_MAX: usize = 2048;

/// Whether the file is lost at reboot.
#[must_use]
pub fn is_in_memory(path: &str) -> bool {
    path.starts_with(ROOTS[1])
}

/// The directories that hold this node's journals: `/var/log/journal/<machine-id>`, and its namespaces `<machine-id>.<name>`.
/// Those of other machines (containers that share their journal) are left out, unless there is none of this machine.
///
/// # Errors
/// Blind where a directory may not be listed.
pub fn directories(host: &Host) -> Result<Vec<String>, Blind> {
    let own = host.read_text("/etc/machine-id", 4096).ok().and_then(|text| Id::parse(text.trim()));
    let mut found: Vec<(Id, String)> = Vec::new();
    for root in ROOTS {
        for name in host.list(root).map_err(grant)?.unwrap_or_default() {
            if let Some(id) = name.split('.').next().and_then(Id::parse) {
                found.push((id, format!("{root}/{name}")));
            }
        }
    }
    let has_own = found.iter().any(|(id, _)| Some(*id) == own);
    Ok(found.into_iter().filter(|(id, _)| !has_own || Some(*id) == own).map(|(_, path)| path).collect())
}

/// The names of the journal files in a directory.
///
/// # Errors
/// Blind if it may not be listed.
pub fn names(host: &Host, directory: &str) -> Result<Vec<String>, Blind> {
    let names = host.list(directory).map_err(grant)?.unwrap_or_default();
    let is_journal = |name: &String| [".journal", ".journal~"].iter().any(|end| name.ends_with(end));
    Ok(names.into_iter().filter(is_journal).take(FILES_MAX).collect())
}

/// Opens a journal file; `None` if it is gone.
///
/// # Errors
/// Blind if it is no regular file or may not be read.
pub fn open(host: &Host, path: &str) -> Result<Option<File>, Blind> {
    // A FIFO or a device of that name must not block.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    // That we read it need not be written down at every read; only who owns the file may ask for that (open(2)).
    let opened = match host.open_at(path, flags | OFlag::O_NOATIME) {
        Err(nix::errno::Errno::EPERM) => host.open_at(path, flags),
        opened => opened,
    };
    let fd = match opened {
        Ok(fd) => fd,
        Err(nix::errno::Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(grant(Blind::new(format!("{path}: {}", errno.desc())))),
    };
    let file = File::from(fd);
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(Some(file)),
        Ok(_) => Err(Blind::new(format!("{path}: is no regular file"))),
        Err(error) => Err(Blind::new(format!("{path}: {error}"))),
    }
}

fn grant(blind: Blind) -> Blind {
    blind.grant("run as root or in the group systemd-journal, or grant CAP_DAC_READ_SEARCH")
}
