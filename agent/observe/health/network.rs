//! Whose network is seen from here: the node's, or a container's of its own.

use std::path::Path;

use crate::facts::Blind;
use crate::observe::host::{Host, ReadError};

/// A node that is told every route of the internet has some 100 MB of this; then the beginning must do.
const LIMIT: u64 = 1 << 20;

/// Loopback, and the way to anywhere, are those of our own network namespace: nothing is to be asked from another one than the
/// node's.
///
/// # Errors
/// Blind, where it is another one, or where that cannot be told.
pub(in crate::observe) fn is_the_nodes(host: &Host) -> Result<(), Blind> {
    let ours = Host::open(Path::new("/")).map_err(|error| Blind::new(format!("our own root: {error}")))?;
    // The links are the namespaces' names; those of another user's process can be read with CAP_SYS_PTRACE only.
    let named = (host.link("/proc/1/ns/net"), ours.link("/proc/self/ns/net"));
    let same = match named {
        (Some(node), Some(own)) => node == own,
        // No two namespaces of a machine have the same interfaces and addresses.
        _ => addresses(host, "/proc/1/net")? == addresses(&ours, "/proc/self/net")?,
    };
    if same { Ok(()) } else { Err(Blind::new("the network seen from here is that of a container, not the node's").grant("hostNetwork: true")) }
}

/// What the kernel tells to everybody of a namespace's own addresses: interfaces, IPv6 addresses, IPv4 addresses.
fn addresses(host: &Host, dir: &str) -> Result<[String; 3], Blind> {
    let table = |name: &str| match host.read(&format!("{dir}/{name}"), LIMIT) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(ReadError::Missing | ReadError::TooLarge(_)) => Ok(String::new()),
        Err(error) => Err(Blind::new(format!("{dir}/{name}: {error}"))),
    };
    let sorted = |mut lines: Vec<String>| {
        lines.sort_unstable();
        lines.join("\n")
    };
    let interfaces = table("dev")?.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect();
    let six = table("if_inet6")?.lines().map(str::to_owned).collect();
    Ok([sorted(interfaces), sorted(six), local(&table("fib_trie")?)])
}

/// The node's own IPv4 addresses in the routing table: a leaf, and below it `/32 host LOCAL`.
fn local(trie: &str) -> String {
    let mut leaf = "";
    let mut found = std::collections::BTreeSet::new();
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            leaf = address.trim();
        } else if line.trim().ends_with("host LOCAL") {
            found.insert(leaf);
        }
    }
    found.into_iter().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_our_own() {
        let host = Host::open("/".as_ref()).unwrap();
        assert_eq!(addresses(&host, "/proc/self/net").unwrap(), addresses(&host, "/proc/thread-self/net").unwrap());
        assert_eq!(
            local("Main:\n  |-- 127.0.0.0\n     /8 host LOCAL\n  |-- 192.0.2.7\n     /32 host LOCAL\n  |-- 192.0.2.255\n     /32 link BROADCAST\n"),
            "127.0.0.0 192.0.2.7"
        );
    }
}
