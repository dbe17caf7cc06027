//! Where a file that a process names lies on the node: inside a container a path is another one.

use crate::facts::Blind;
use crate::observe::host::Host;

/// A node of 250 pods has some 250 KB of mounts.
const LIMIT: u64 = 8 << 20;

/// A row of mountinfo (proc_pid_mountinfo(5)): a file system, the directory of it that is mounted, and where.
#[derive(Debug)]
struct Mount {
    device: String,
    root: String,
    point: String,
}

/// The node's own name of `path` as the process `pid` names it. Its table of mounts tells, which everybody may read; the way
/// through `/proc/PID/root` would need CAP_SYS_PTRACE.
///
/// # Errors
/// Blind, where the tables are hidden, or that file system is mounted nowhere on the node.
pub(super) fn on_node(host: &Host, pid: u32, path: &str) -> Result<String, Blind> {
    let (inside, outside) = (mounts(host, pid)?, mounts(host, 1)?);
    translate(&inside, &outside, path).ok_or_else(|| {
        Blind::new(format!("{path} of process {pid} lies on a file system that is mounted nowhere on the node"))
            .grant(format!("run as root, or grant CAP_SYS_PTRACE, to see it below /proc/{pid}/root"))
    })
}

fn mounts(host: &Host, pid: u32) -> Result<Vec<Mount>, Blind> {
    let table = format!("/proc/{pid}/mountinfo");
    let text = host.read_text(&table, LIMIT).map_err(|error| Blind::new(format!("{table}: {error}")))?;
    Ok(text.lines().filter_map(row).collect())
}

fn row(line: &str) -> Option<Mount> {
    let words: Vec<&str> = line.split(' ').collect();
    Some(Mount { device: (*words.get(2)?).to_owned(), root: unescape(words.get(3)?), point: unescape(words.get(4)?) })
}

fn translate(inside: &[Mount], outside: &[Mount], path: &str) -> Option<String> {
    // Of mounts on top of each other the last one is seen.
    let mount = inside.iter().rev().filter(|mount| below(path, &mount.point).is_some()).max_by_key(|mount| mount.point.len())?;
    // A single file that was mounted and has been replaced since is nowhere any more.
    if mount.root.ends_with("//deleted") {
        return None;
    }
    let within = join(&mount.root, below(path, &mount.point)?);
    let same = outside.iter().filter(|other| other.device == mount.device);
    let best = same.filter(|other| below(&within, &other.root).is_some()).max_by_key(|other| (other.root.len(), std::cmp::Reverse(other.point.len())))?;
    Some(join(&best.point, below(&within, &best.root)?))
}

/// The rest of a path below a directory.
fn below<'a>(path: &'a str, dir: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(dir.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
}

fn join(dir: &str, rest: &str) -> String {
    if rest.is_empty() { dir.to_owned() } else { format!("{}/{rest}", dir.trim_end_matches('/')) }
}

/// Space, tab, newline and backslash are written in octal.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")].iter().fold(text.to_owned(), |text, (code, is)| text.replace(code, is))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 8:16 / /var/lib/kubelet rw - xfs /dev/sdb rw\n41 22 0:21 / /run rw - tmpfs tmpfs rw\n\
        60 41 0:70 / /run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/rootfs rw - overlay overlay rw\n";
    const POD: &str = "70 1 0:70 / / rw - overlay overlay rw\n71 70 8:16 /pods/UID/volumes/kubernetes.io~configmap/kube-proxy /var/lib/kube-proxy ro - xfs /dev/sdb rw\n\
        72 70 8:1 /lib/modules /lib/modules ro - ext4 /dev/sda1 rw\n";

    fn table(text: &str) -> Vec<Mount> {
        text.lines().filter_map(row).collect()
    }

    #[test]
    fn a_path_in_a_container_is_found_on_the_node() {
        let of = |path: &str| translate(&table(POD), &table(NODE), path).unwrap();
        assert_eq!(of("/var/lib/kube-proxy/config.conf"), "/var/lib/kubelet/pods/UID/volumes/kubernetes.io~configmap/kube-proxy/config.conf");
        assert_eq!(of("/lib/modules/6.1/modules.dep"), "/lib/modules/6.1/modules.dep");
        assert_eq!(of("/var/lib/kube-proxyX"), "/run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/rootfs/var/lib/kube-proxyX");
        assert_eq!(
            translate(&table(NODE), &table(NODE), "/etc/kubernetes/kube-proxy.conf").unwrap(),
            "/etc/kubernetes/kube-proxy.conf",
            "a unit has the node's mounts"
        );
        let replaced = "71 70 8:16 /pods/UID/config.conf//deleted /etc/config.conf ro - xfs /dev/sdb rw\n";
        assert_eq!(translate(&table(replaced), &table(NODE), "/etc/config.conf"), None);
        assert_eq!(translate(&table("1 1 0:99 / / rw - tmpfs x rw\n"), &table(NODE), "/a"), None);
    }

    #[test]
    fn ours_are_our_own() {
        let host = Host::open("/".as_ref()).unwrap();
        assert!(on_node(&host, std::process::id(), "/proc/version").is_ok());
    }
}
