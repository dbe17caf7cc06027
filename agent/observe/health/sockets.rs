//! The node's TCP sockets, and the processes that hold them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::facts::health::{Holder, Listener, Owner};
use crate::facts::{Blind, Observed};
use crate::observe::host::{Host, ReadError};

/// About 50,000 connections each.
const LIMIT: u64 = 8 << 20;
/// Bytes read at once: no less than a page, which is what the kernel fills (`seq_read_iter` of fs/seq_file.c).
const PIECE: usize = 64 << 10;
/// A piece in which a row would have had room is the last one: rows have 150 bytes, or some 200 of IPv6.
const LAST: usize = 4096 - 512;
/// `include/net/tcp_states.h`
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// A row of `/proc/net/tcp` (proc_pid_net(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    local_port: u16,
    remote: SocketAddr,
    listens: bool,
    established: bool,
    /// Times that what waits to be acknowledged was sent again.
    retransmits: u32,
    inode: u64,
}

/// The sockets of the node's network namespace.
#[derive(Debug)]
pub(super) struct Sockets {
    rows: Vec<Row>,
    /// Those of IPv6 are among them.
    pub(super) complete: bool,
}

impl Sockets {
    /// Those of the node's first process: in a pod without hostNetwork, ours are others. Those of IPv6 only if there is no sound
    /// connection to `enough`: each table costs the kernel a walk of some milliseconds.
    ///
    /// # Errors
    /// Blind, where there is no node that runs, or its sockets are hidden.
    pub(super) fn read(host: &Host, enough: Option<SocketAddr>) -> Result<Self, Blind> {
        let mut sockets = Self::of(&table(host, "/proc/1/net/tcp")?);
        sockets.complete = enough.is_none_or(|address| !sockets.connected_to(&[address]));
        if sockets.complete {
            sockets.rows.append(&mut Self::of(&table(host, "/proc/1/net/tcp6")?).rows);
        }
        Ok(sockets)
    }

    fn of(table: &str) -> Self {
        Self { rows: table.lines().skip(1).filter_map(row).collect(), complete: true }
    }

    /// There is a connection to one of these addresses on which nothing had to be sent again.
    pub(super) fn connected_to(&self, addresses: &[SocketAddr]) -> bool {
        self.rows.iter().any(|row| row.established && row.retransmits == 0 && addresses.contains(&row.remote))
    }

    /// Port and inode of the sockets that listen on these ports, each port once.
    fn listening(&self, ports: &[u16]) -> Vec<(u16, u64)> {
        let mut found: Vec<_> = self.rows.iter().filter(|row| row.listens && ports.contains(&row.local_port)).map(|row| (row.local_port, row.inode)).collect();
        found.sort_unstable();
        found.dedup_by_key(|(port, _)| *port);
        found
    }
}

fn table(host: &Host, table: &str) -> Result<String, Blind> {
    match read(host, table) {
        // IPv6 is not compiled in, or switched off.
        Err(ReadError::Missing) if table.ends_with('6') => Ok(String::new()),
        read => read.map_err(|error| Blind::new(format!("{table}: {error}")).grant("mount the node's /proc below the root, without hidepid=")),
    }
}

/// The table, without asking for what comes after its end: the kernel walks through its whole hash table, of some 500,000 buckets, for
/// that once more, as for each piece that begins anew.
fn read(host: &Host, table: &str) -> Result<String, ReadError> {
    let file = host.open_at(table, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).ok().map(File::from);
    // What is wrong, its plain reading tells.
    file.and_then(pieces).map_or_else(|| host.read_text(table, LIMIT), Ok)
}

fn pieces(mut file: File) -> Option<String> {
    let (mut text, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let length = file.read(&mut piece).ok()?;
        text.extend_from_slice(piece.get(..length)?);
        if text.len() as u64 > LIMIT {
            return None;
        }
        if length < LAST {
            return String::from_utf8(text).ok();
        }
    }
}

fn row(text: &str) -> Option<Row> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let state = *words.get(3)?;
    let (local, remote) = (address(words.get(1)?)?, address(words.get(2)?)?);
    let retransmits = u32::from_str_radix(words.get(6)?, 16).ok()?;
    let inode = words.get(9)?.parse().ok()?;
    Some(Row { local_port: local.port(), remote, listens: state == LISTEN, established: state == ESTABLISHED, retransmits, inode })
}

/// `0100007F:2808`: words of 32 bits in the machine's order, the port in the network's.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (chunk, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                chunk.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The holders that were found before, by the socket's inode: whose process still lives is not looked for again.
#[derive(Debug, Default)]
pub(super) struct Holders {
    found: BTreeMap<u64, Holder>,
    /// The sockets whose holders were looked for in vain, and why: they are not looked for again.
    hidden: Option<(Vec<u64>, Blind)>,
}

impl Holders {
    /// Who listens on these ports. `usual` are processes to ask first, as of who is expected there.
    pub(super) fn listeners(&mut self, host: &Host, sockets: &Sockets, ports: &[u16], usual: &[u32]) -> Vec<Listener> {
        let found = sockets.listening(ports);
        self.found.retain(|inode, holder| found.iter().any(|(_, listening)| listening == inode) && comm(host, holder.pid).as_ref() == Some(&holder.command));
        let unknown: Vec<u64> = found.iter().map(|(_, inode)| *inode).filter(|inode| !self.found.contains_key(inode)).collect();
        if !unknown.is_empty() && self.hidden.as_ref().is_none_or(|(inodes, _)| *inodes != unknown) {
            self.hidden = self.search(host, &unknown, usual).map(|blind| (unknown, blind));
        }
        let holder = |inode: u64| match (self.found.get(&inode), &self.hidden) {
            (Some(holder), _) => Observed::Known(holder.clone()),
            (None, Some((_, blind))) => Observed::Unknown(blind.clone()),
            (None, None) => Observed::Unknown(Blind::new("the process is gone, or in another pid namespace")),
        };
        found.into_iter().map(|(port, inode)| Listener { port, holder: holder(inode) }).collect()
    }

    /// Looks for the processes that hold these sockets; why it could not look everywhere.
    fn search(&mut self, host: &Host, inodes: &[u64], usual: &[u32]) -> Option<Blind> {
        let wanted: BTreeMap<String, u64> = inodes.iter().map(|inode| (format!("socket:[{inode}]"), *inode)).collect();
        let mut hidden = None;
        let mut left = wanted.len();
        let pids = host.list("/proc").ok().flatten().unwrap_or_default();
        let pids = pids.iter().filter_map(|name| name.parse::<u32>().ok()).filter(|pid| !usual.contains(pid));
        for pid in usual.iter().copied().chain(pids) {
            if left == 0 {
                return None;
            }
            let dir = format!("/proc/{pid}/fd");
            // With CAP_DAC_READ_SEARCH their numbers can be listed, and not where they lead.
            let fds = host.list(&dir).map(Option::unwrap_or_default);
            let links: Vec<_> = fds.map_or_else(|_| vec![None], |fds| fds.into_iter().map(|fd| host.link(&format!("{dir}/{fd}"))).collect());
            if !links.is_empty() && links.iter().all(Option::is_none) {
                hidden = Some(Blind::new("the descriptors of other users' processes may not be seen").grant("run as root, or grant CAP_SYS_PTRACE"));
                continue;
            }
            let held = links.iter().flatten().filter_map(|link| wanted.get(link));
            for inode in held.collect::<Vec<_>>() {
                if let Some(holder) = holder(host, pid)
                    && self.found.insert(*inode, holder).is_none()
                {
                    left = left.saturating_sub(1);
                }
            }
        }
        hidden
    }
}

/// A process by its name and its cgroup.
pub(in crate::observe) fn holder(host: &Host, pid: u32) -> Option<Holder> {
    let cgroup = host.read_text(&format!("/proc/{pid}/cgroup"), 1 << 16).unwrap_or_default();
    Some(Holder { pid, command: comm(host, pid)?, of: owner(host, &cgroup) })
}

pub(in crate::observe) fn comm(host: &Host, pid: u32) -> Option<String> {
    Some(host.read_text(&format!("/proc/{pid}/comm"), 64).ok()?.trim_end().to_owned())
}

/// The unit or pod that a cgroup belongs to. Pods stand below `kubepods`, with their UID (`pkg/kubelet/cm/cgroup_manager_linux.go`),
/// whose dashes are underscores with systemd's driver.
fn owner(host: &Host, cgroup: &str) -> Option<Owner> {
    if let Some(uid) = pod_uid(cgroup) {
        return Some(Owner::Pod(pod_name(host, &uid).unwrap_or(uid)));
    }
    let is_unit = |part: &&str| Path::new(part).extension().is_some_and(|kind| kind == "service" || kind == "scope");
    cgroup.lines().find_map(|line| line.rsplit_once(':')?.1.split('/').rfind(is_unit)).map(|unit| Owner::Unit(unit.to_owned()))
}

/// The pod's UID that stands in `/proc/PID/cgroup`.
pub(in crate::observe) fn pod_uid(cgroup: &str) -> Option<String> {
    let below = cgroup.lines().find_map(|line| line.split_once("kubepods"))?.1;
    let uid = below.split('/').find_map(|part| part.trim_end_matches(".slice").rsplit_once("pod").map(|(_, uid)| uid).filter(|uid| uid.len() >= 32))?;
    Some(uid.replace('_', "-"))
}

/// By its directory of logs, `NAMESPACE_NAME_UID` (`pkg/kubelet/kuberuntime/helpers.go` `BuildPodLogsDirectory`).
fn pod_name(host: &Host, uid: &str) -> Option<String> {
    let logs = host.list("/var/log/pods").ok()??;
    logs.iter().find_map(|name| {
        let (pod, _) = name.rsplit_once('_').filter(|(_, of)| *of == uid)?;
        Some(pod.replacen('_', "/", 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_proc_net_tcp() {
        let listens =
            row("   0: 0100007F:2808 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43690 1 0000000000000000 100 0 0 10 0").unwrap();
        assert_eq!((listens.local_port, listens.listens, listens.established, listens.inode), (10_248, true, false, 43_690));
        let stands = "   1: 0A00000A:9C40 010200C0:192B 01 00000000:00000000 02:000003E8 00000000     0        0 7 2 0 20 4 30 10 -1";
        assert_eq!(row(stands).unwrap().remote, "192.0.2.1:6443".parse().unwrap());
        let server = ["192.0.2.1:6443".parse().unwrap()];
        assert!(Sockets { rows: vec![row(stands).unwrap()], complete: true }.connected_to(&server));
        let stalled = stands.replace("02:000003E8 00000000", "01:000003E8 00000005");
        assert!(!Sockets { rows: vec![row(&stalled).unwrap()], complete: true }.connected_to(&server), "what was sent is not acknowledged");
        let six =
            "   1: 00000000000000000000000000000000:280A 0000000000000000FFFF0000010200C0:192B 01 00000000:00000000 00:00000000 00000000     0        0 7 1 0";
        assert_eq!(row(six).unwrap().remote, "192.0.2.1:6443".parse().unwrap(), "IPv4 in IPv6");
        assert_eq!(row("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"), None);
    }

    #[test]
    fn a_long_table_is_read_to_its_end() {
        let sockets: Vec<_> = (0..200).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let table = read(&Host::open("/".as_ref()).unwrap(), "/proc/self/net/tcp").unwrap();
        let rows = Sockets::of(&table);
        let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert_eq!(rows.listening(&ports).len(), sockets.len());
    }

    #[test]
    fn the_process_that_holds_a_socket_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let host = Host::open("/".as_ref()).unwrap();
        let table = read(&host, "/proc/self/net/tcp").unwrap();
        let sockets = Sockets::of(&table);
        let mut holders = Holders::default();
        for usual in [&[][..], &[std::process::id()]] {
            let found = holders.listeners(&host, &sockets, &[port], usual);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].holder.known().unwrap().pid, std::process::id());
        }
    }

    #[test]
    fn a_cgroup_tells_the_unit_or_the_pod() {
        let host = Host::open("/".as_ref()).unwrap();
        let unit = |text: &str| owner(&host, text);
        assert_eq!(unit("0::/system.slice/nginx.service\n"), Some(Owner::Unit("nginx.service".to_owned())));
        assert_eq!(unit("12:pids:/user.slice/user-0.slice/session-3.scope\n0::/\n"), Some(Owner::Unit("session-3.scope".to_owned())));
        assert_eq!(unit("0::/\n"), None);
        let uid = "5ad1f5a2-1b2c-4d3e-8f90-0123456789ab";
        let systemd = format!("0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice/cri-containerd-abc.scope\n", uid.replace('-', "_"));
        assert_eq!(pod_uid(&systemd).as_deref(), Some(uid));
        assert_eq!(pod_uid(&format!("0::/kubepods/burstable/pod{uid}/abc\n")).as_deref(), Some(uid));
        assert_eq!(pod_uid("0::/system.slice/kubelet.service\n"), None);
    }
}
