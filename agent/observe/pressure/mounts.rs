//! The node's mounts, as its first process sees them: ours may be read-only where the node's are not.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::makedev;

use super::kept::Kept;
use crate::facts::Blind;
use crate::facts::pressure::Mount;
use crate::observe::host::Host;

pub(super) const TABLE: &str = "/proc/1/mountinfo";
/// A node of 250 pods has some 250 KB of mounts.
const LIMIT: u64 = 8 << 20;

/// A line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug)]
pub(super) struct Line {
    pub mount_point: String,
    pub device: u64,
    pub fs_type: String,
    pub source: String,
    /// Of an overlay: where what is written into it goes.
    pub upper: Option<String>,
    read_only_mount: bool,
    read_only_filesystem: bool,
}

/// The whole table, read again only when the kernel says that it has changed: a node of 250 pods has thousands of lines.
#[derive(Debug)]
pub(super) struct Mounts {
    kept: Kept,
    lines: Option<Arc<Vec<Line>>>,
}

impl Default for Mounts {
    fn default() -> Self {
        Self { kept: Kept::new(TABLE), lines: None }
    }
}

impl Mounts {
    /// The table as it is.
    ///
    /// # Errors
    /// Blind, where the node's first process is hidden.
    pub fn read(&mut self, host: &Host) -> Result<Arc<Vec<Line>>, Blind> {
        // The event is taken before the table is read: a change in between is seen the next time.
        if let Some(lines) = self.lines.as_ref().filter(|_| !self.has_changed()) {
            return Ok(Arc::clone(lines));
        }
        self.lines = None;
        let text = self.kept.text(host, LIMIT);
        let text = text.map_err(|error| Blind::new(format!("{TABLE}: {error}")).grant("mount the node's /proc below the root, without hidepid="))?;
        let lines = Arc::new(text.lines().filter_map(parse).collect());
        self.lines = Some(Arc::clone(&lines));
        Ok(lines)
    }

    /// It is read anew the next time: a file system that the kernel has made read-only after an error is no event.
    pub fn forget(&mut self) {
        self.lines = None;
    }

    /// Since it was last asked (proc_pid_mountinfo(5): POLLERR and POLLPRI).
    fn has_changed(&self) -> bool {
        let Some(file) = self.kept.file() else { return true };
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
    }
}

/// `36 35 8:1 / /mnt rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue`
fn parse(line: &str) -> Option<Line> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mount: Vec<_> = mount.split(' ').collect();
    let mut filesystem = filesystem.split(' ');
    let (major, minor) = mount.get(2)?.split_once(':')?;
    let (fs_type, source) = (filesystem.next()?, filesystem.next()?);
    // Since Linux 6.15 ext4 says emergency_ro where it has made itself read-only after an error (fs/ext4/super.c).
    let is_read_only = |options: &str| options.split(',').any(|option| option == "ro" || option == "emergency_ro");
    let options = filesystem.next()?;
    Some(Line {
        mount_point: unescape(mount.get(4)?),
        device: makedev(major.parse().ok()?, minor.parse().ok()?),
        fs_type: fs_type.to_owned(),
        source: unescape(source),
        read_only_mount: is_read_only(mount.get(5)?),
        upper: options.split(',').find_map(|option| option.strip_prefix("upperdir=")).map(unescape),
        read_only_filesystem: is_read_only(options),
    })
}

/// Space, tab, newline and backslash are written in octal.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")].iter().fold(text.to_owned(), |text, (code, is)| text.replace(code, is))
}

/// The mount a path lies on, as far as its name tells: the longest mount point above it, and of several there the last.
pub(super) fn covering<'a>(table: &'a [Line], path: &str) -> Option<&'a Line> {
    let above = |line: &&Line| path.strip_prefix(line.mount_point.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    table.iter().filter(above).max_by_key(|line| line.mount_point.len())
}

/// The mount a path lies on, given its device. A symlink may have led elsewhere: then the whole file system's mount counts.
/// btrfs has a device number of its own for each subvolume.
pub(super) fn of<'a>(table: &'a [Line], path: &str, device: u64) -> Option<&'a Line> {
    let named = covering(table, path);
    named.filter(|line| line.device == device || line.fs_type == "btrfs").or_else(|| by_device(table, device))
}

fn by_device(table: &[Line], device: u64) -> Option<&Line> {
    table.iter().filter(|line| line.device == device).min_by_key(|line| line.mount_point.len())
}

/// The mounts of these paths, each once.
pub(super) fn holding(table: &[Line], paths: &[(&str, Option<u64>)]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for (path, device) in paths {
        let Some(line) = device.map_or_else(|| covering(table, path), |device| of(table, path, device)) else { continue };
        if let Some(mount) = mounts.iter_mut().find(|mount| mount.mount_point == line.mount_point) {
            if !mount.holds.iter().any(|held| held == path) {
                mount.holds.push((*path).to_owned());
            }
            continue;
        }
        // The options of a mount that was found by its device alone may not be those on the path.
        let named = covering(table, path).is_some_and(|named| named.mount_point == line.mount_point);
        mounts.push(Mount {
            mount_point: line.mount_point.clone(),
            holds: vec![(*path).to_owned()],
            fs_type: line.fs_type.clone(),
            source: line.source.clone(),
            read_only_mount: named && line.read_only_mount,
            read_only_filesystem: line.read_only_filesystem,
        });
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
23 22 0:21 / /proc rw - proc proc rw
30 22 8:2 / /var rw - ext4 /dev/sda2 rw
31 30 8:3 / /var/lib/kubelet ro,relatime - xfs /dev/sda3 rw
32 30 8:4 / /var/lib/kubelet rw,relatime - xfs /dev/sda4 ro
33 22 0:40 /@home /home rw - btrfs /dev/sdb ro,subvol=/@home
34 22 8:5 / /mnt/a\\040b rw shared:9 master:2 propagate_from:3 - nfs4 server:/export\\134x rw
35 22 0:50 / /run/containerd/x/rootfs rw - overlay overlay rw,lowerdir=/a:/b,upperdir=/var/lib/containerd/7/fs,workdir=/var/lib/containerd/7/work
36 22 8:6 / /data rw - ext4 /dev/sdc rw,emergency_ro
broken line
";

    fn table() -> Vec<Line> {
        TABLE.lines().filter_map(parse).collect()
    }

    fn point(path: &str) -> String {
        covering(&table(), path).unwrap().mount_point.clone()
    }

    #[test]
    fn a_path_lies_on_the_longest_mount_point_above_it() {
        assert_eq!(table().len(), 9);
        for (path, mount_point) in
            [("/", "/"), ("/etc/x", "/"), ("/var", "/var"), ("/variable", "/"), ("/var/lib/kubelet/pods", "/var/lib/kubelet"), ("/mnt/a b/c", "/mnt/a b")]
        {
            assert_eq!(point(path), mount_point, "{path}");
        }
        // Of two mounts on one point the later one is on top.
        assert_eq!(covering(&table(), "/var/lib/kubelet").unwrap().device, makedev(8, 4));
        assert_eq!(covering(&table(), "/mnt/a b").unwrap().source, "server:/export\\x");
    }

    #[test]
    fn a_symlink_is_followed_by_the_device() {
        let table = table();
        assert_eq!(of(&table, "/etc/kubelet", makedev(8, 2)).unwrap().mount_point, "/var");
        assert_eq!(of(&table, "/home/x", makedev(0, 99)).unwrap().mount_point, "/home", "a btrfs subvolume has its own device number");
        assert!(of(&table, "/etc/x", makedev(0, 99)).is_none());
    }

    #[test]
    fn read_only_is_told_of_the_mount_and_of_the_file_system() {
        let table = table();
        let mounts = holding(&table, &[("/var/lib/kubelet", Some(makedev(8, 4))), ("/var/log/pods", None), ("/var/log", None), ("/etc", Some(makedev(8, 1)))]);
        let told: Vec<_> =
            mounts.iter().map(|mount| (mount.mount_point.as_str(), mount.holds.len(), mount.read_only_mount, mount.read_only_filesystem)).collect();
        assert_eq!(told, [("/var/lib/kubelet", 1, false, true), ("/var", 2, false, false), ("/", 1, false, false)]);
        assert!(covering(&table, "/data").unwrap().read_only_filesystem, "ext4 since Linux 6.15");
    }

    #[test]
    fn an_overlay_tells_where_it_is_written() {
        let uppers: Vec<_> = table().into_iter().filter_map(|line| line.upper).collect();
        assert_eq!(uppers, ["/var/lib/containerd/7/fs"]);
    }
}
