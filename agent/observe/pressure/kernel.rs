//! The kernel's own limits, and how long work waits.

use std::path::Path;

use super::{not_running, text};
use crate::facts::Blind;
use crate::facts::pressure::{Stall, Stalls, Usage};
use crate::observe::host::{Host, ReadError};

/// `/proc/pressure/{cpu,memory,io}`; a kernel without PSI, or started with `psi=0`, has none of them.
pub(super) fn stalls(host: &Host) -> Result<Stalls, Blind> {
    not_running(host)?;
    Ok(Stalls { cpu: stall(host, "cpu")?, memory: stall(host, "memory")?, io: stall(host, "io")? })
}

fn stall(host: &Host, resource: &str) -> Result<Option<Stall>, Blind> {
    let text = match host.read_text(&format!("/proc/pressure/{resource}"), 4096) {
        Ok(text) => text,
        Err(ReadError::Blind(blind)) => return Err(blind),
        Err(_) => return Ok(None),
    };
    let value = |line: &str, key: &str| {
        let line = text.lines().find_map(|text| text.strip_prefix(line))?;
        line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
    };
    let of = |line, key| value(line, key).unwrap_or_default();
    Ok(Some(Stall { some_avg10: of("some", "avg10"), some_avg60: of("some", "avg60"), full_avg10: of("full", "avg10"), full_avg60: of("full", "avg60") }))
}

/// `/proc/sys/fs/file-nr`: allocated, free (always 0 since Linux 2.6), at most (Documentation/admin-guide/sysctl/fs.rst).
pub(super) fn file_handles(host: &Host) -> Result<Usage, Blind> {
    not_running(host)?;
    let path = "/proc/sys/fs/file-nr";
    let numbers: Vec<u64> = text(host, path)?.split_whitespace().map_while(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [used, _, most, ..] => Ok(Usage { used: *used, most: *most }),
        _ => Err(Blind::new(format!("{path} has no three numbers"))),
    }
}

/// Entries of the connection table. Each network namespace has its own; the node's counts.
pub(super) fn conntrack(host: &Host) -> Result<Option<Usage>, Blind> {
    own_network(host)?;
    let used = number(host, "/proc/sys/net/netfilter/nf_conntrack_count")?;
    let most = number(host, "/proc/sys/net/netfilter/nf_conntrack_max")?;
    Ok(used.zip(most).map(|(used, most)| Usage { used, most }))
}

pub(super) fn ipv4_forwarding(host: &Host) -> Result<bool, Blind> {
    own_network(host)?;
    let path = "/proc/sys/net/ipv4/ip_forward";
    number(host, path)?.map(|number| number != 0).ok_or_else(|| Blind::new(format!("{path} does not exist")))
}

fn number(host: &Host, path: &str) -> Result<Option<u64>, Blind> {
    match host.read_text(path, 4096) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| Blind::new(format!("{path} holds no number"))),
        Err(ReadError::Missing) => Ok(None),
        Err(error) => Err(Blind::new(format!("{path}: {error}"))),
    }
}

/// /proc/sys/net is that of the reader's network namespace, whichever /proc it is read through. Of the first process only
/// its interfaces can be read without privilege: ours are its own, or we are somewhere else.
fn own_network(host: &Host) -> Result<(), Blind> {
    not_running(host)?;
    let ours = Host::open(Path::new("/")).map_err(|error| Blind::new(format!("our own root: {error}")))?;
    if interfaces(&text(host, "/proc/1/net/dev")?) == interfaces(&text(&ours, "/proc/self/net/dev")?) {
        return Ok(());
    }
    Err(Blind::new("the network seen from here is that of a container, not the node's").grant("hostNetwork: true"))
}

/// The names in /proc/PID/net/dev, sorted.
fn interfaces(table: &str) -> Vec<&str> {
    let mut names: Vec<_> = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    names.sort_unstable();
    names
}
