//! The node's mounts, as its first process sees them: ours may be read-only where the node's are not.

use nix::sys::stat::makedev;

use crate::facts::Blind;
use crate::facts::pressure::Mount;
use crate::observe::host::Host;

const TABLE: &str = "/proc/1/mountinfo";
/// A node of 250 pods has some 250 KB of mounts.
const LIMIT: u64 = 8 << 20;

/// A line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug)]
pub(super) struct Line {
    pub mount_point: String,
    pub device: u64,
    pub fs_type: String,
    pub source: String,
    read_only_mount: bool,
    read_only_filesystem: bool,
}

/// The whole table.
///
/// # Errors
/// Blind, where the node's first process is hidden.
pub(super) fn read(host: &Host) -> Result<Vec<Line>, Blind> {
    let text = host
        .read_text(TABLE, LIMIT)
        .map_err(|error| Blind::new(format!("{TABLE}: {error}")).grant("mount the node's /proc below the root, without hidepid="))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// `36 35 8:1 / /mnt rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue`
fn parse(line: &str) -> Option<Line> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mount: Vec<_> = mount.split(' ').collect();
    let mut filesystem = filesystem.split(' ');
    let (major, minor) = mount.get(2)?.split_once(':')?;
    let (fs_type, source) = (filesystem.next()?, filesystem.next()?);
    let is_read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Line {
        mount_point: unescape(mount.get(4)?),
        device: makedev(major.parse().ok()?, minor.parse().ok()?),
        fs_type: fs_type.to_owned(),
        source: unescape(source),
        read_only_mount: is_read_only(mount.get(5)?),
        read_only_filesystem: is_read_only(filesystem.next()?),
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
        assert_eq!(table().len(), 7);
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
    }
}
