//! The node's routing tables, as far as they can collide with its pods' addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::facts::Blind;
use crate::facts::cni::Route;
use crate::observe::host::{Host, ReadError};

const PID_1: &str = "/proc/1/net";
const LIMIT: u64 = 1 << 20;
const MOST: usize = 256;

/// Beginnings of the names of interfaces that network plugins make; a route over one of these is a pod's.
const OF_PODS: [&str; 18] = [
    "cni",
    "cbr",
    "flannel",
    "cali",
    "tunl",
    "vxlan.calico",
    "wireguard.cali",
    "cilium",
    "lxc",
    "kube-",
    "veth",
    "weave",
    "vethwe",
    "antrea",
    "gw0",
    "ovn",
    "eni",
    "lo",
];

/// The routes of PID 1's network namespace, wherever we are ourselves: below a pod's root, /proc/net would be the pod's own.
///
/// # Errors
/// Blind, where the node's tables are hidden.
pub(super) fn observe(host: &Host, bridges: &[String]) -> Result<Vec<Route>, Blind> {
    if !host.is_live() {
        return Ok(Vec::new());
    }
    if !host.exists(PID_1)? {
        return Err(Blind::new(format!("{PID_1}: the node's routes are hidden")).grant("mount the node's /proc below the root, without hidepid="));
    }
    let (v4, v6) = (table(host, "route")?, table(host, "ipv6_route")?);
    let all = v4.lines().skip(1).filter_map(ipv4).chain(v6.lines().filter_map(ipv6));
    let own = |route: &Route| !OF_PODS.iter().any(|of| route.interface.starts_with(of)) && route.interface != "*" && !bridges.contains(&route.interface);
    Ok(all.filter(|route| route.length > 0 && own(route)).take(MOST).collect())
}

/// A kernel without IPv6 has no table of it.
fn table(host: &Host, name: &str) -> Result<String, Blind> {
    let path = format!("{PID_1}/{name}");
    match host.read_text(&path, LIMIT) {
        Ok(text) => Ok(text),
        Err(ReadError::Missing) => Ok(String::new()),
        Err(ReadError::Blind(blind)) => Err(blind),
        Err(error) => Err(Blind::new(format!("{path} {error}"))),
    }
}

/// `eth0 0002000A 00000000 0001 0 0 100 00FFFFFF 0 0 0`: numbers as the machine has them, which is little-endian wherever
/// nodes run.
fn ipv4(line: &str) -> Option<Route> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |column: usize| u32::from_str_radix(columns.get(column)?, 16).ok().map(u32::swap_bytes);
    let (destination, mask) = (number(1)?, number(7)?);
    let first = Ipv4Addr::from(destination & mask);
    let length = u8::try_from(mask.count_ones()).ok()?;
    Some(Route { first: first.into(), last: Ipv4Addr::from(destination | !mask).into(), length, interface: (*columns.first()?).to_owned() })
}

/// `fd000010000000000000000000000000 40 … eth0`
fn ipv6(line: &str) -> Option<Route> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let destination = u128::from_str_radix(columns.first()?, 16).ok()?;
    let length = u8::from_str_radix(columns.get(1)?, 16).ok().filter(|length| *length <= 128)?;
    let hosts = u128::MAX.checked_shr(u32::from(length)).unwrap_or_default();
    let first = Ipv6Addr::from(destination & !hosts);
    // Link-local, multicast and the node's own addresses are on every node.
    let elsewhere = first.is_unicast_link_local() || first.is_multicast() || length == 128;
    (!elsewhere).then(|| Route {
        first: IpAddr::V6(first),
        last: Ipv6Addr::from(destination | hosts).into(),
        length,
        interface: (*columns.last().unwrap_or(&"")).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_the_kernel_prints_them() {
        let route = ipv4("eth0\t0002000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0").unwrap();
        assert_eq!(
            (route.first.to_string(), route.last.to_string(), route.length, route.interface.as_str()),
            ("10.0.2.0".into(), "10.0.2.255".into(), 24, "eth0")
        );
        let route = ipv6("fd000010000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0").unwrap();
        assert_eq!((route.first.to_string(), route.length, route.interface.as_str()), ("fd00:10::".into(), 64, "eth0"));
        assert!(ipv4("Iface\tDestination").is_none() && ipv6("").is_none() && ipv6("zz 40 eth0").is_none());
    }
}
