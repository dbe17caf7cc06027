//! host-local's allocations, counted by its own arithmetic (containernetworking/plugins `plugins/ipam/host-local`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value};

use crate::facts::Blind;
use crate::facts::cni::{AddressPool, Network, RangeSet};
use crate::observe::host::{Host, ReadError};

const DATA_DIR: &str = "/var/lib/cni/networks";
/// containerd's running containers, sandboxes among them, each a directory of its id.
const TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
/// An allocation holds an id and the name of an interface.
const ALLOCATION_LIMIT: u64 = 4096;
/// Allocations whose owner is looked for, where addresses are running out.
const MOST_OWNERS: usize = 1024;

/// The addresses of a network whose plugin asks host-local for them, or flannel for its subnet; `None` for another.
pub(super) fn pool(host: &Host, file: &str, network: &Network, plugins: &[Value]) -> Result<Option<AddressPool>, Blind> {
    let found = plugins.iter().find_map(|plugin| ranges(host, plugin).transpose()).transpose()?;
    let Some((ipam, mut sets)) = found else { return Ok(None) };
    sets.retain(|set| !set.is_empty());
    if sets.is_empty() || network.name.is_empty() || network.name.contains('/') {
        return Ok(None);
    }
    let data_dir = ipam.as_ref().and_then(|ipam| ipam.get("dataDir")?.as_str()).filter(|dir| dir.starts_with('/')).unwrap_or(DATA_DIR);
    let directory = format!("{}/{}", data_dir.trim_end_matches('/'), network.name);
    let names = host.list(&directory)?.unwrap_or_default();
    let given: Vec<IpAddr> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let sets = sets.iter().map(|set| count(set, &given)).collect();
    let pool = AddressPool { file: file.to_owned(), directory, sets, orphaned: None };
    let orphaned = if pool.is_scarce() { orphans(host, &pool.directory, &given) } else { None };
    Ok(Some(AddressPool { orphaned, ..pool }))
}

/// A range as host-local fills it in (`backend/allocator/range.go` `Canonicalize`).
struct Range {
    first: IpAddr,
    last: IpAddr,
    gateway: IpAddr,
}

type Ranges = (Option<Map<String, Value>>, Vec<Vec<Range>>);

fn ranges(host: &Host, plugin: &Value) -> Result<Option<Ranges>, Blind> {
    if plugin.get("type").and_then(Value::as_str) == Some("flannel") {
        return flannel(host, plugin);
    }
    Ok(written(plugin))
}

fn written(plugin: &Value) -> Option<Ranges> {
    let ipam = plugin.get("ipam")?.as_object().filter(|ipam| ipam.get("type").and_then(Value::as_str) == Some("host-local"))?;
    let mut sets = Vec::new();
    // The old way, one range beside the type, comes first.
    if ipam.contains_key("subnet") {
        sets.push(vec![range(ipam)?]);
    }
    for set in ipam.get("ranges").and_then(Value::as_array).into_iter().flatten() {
        sets.push(set.as_array()?.iter().map(|written| range(written.as_object()?)).collect::<Option<_>>()?);
    }
    Some((Some(ipam.clone()), sets))
}

/// flannel delegates to bridge and host-local, with the subnets of its file; a set for each family.
fn flannel(host: &Host, plugin: &Value) -> Result<Option<Ranges>, Blind> {
    let delegate = plugin.pointer("/delegate/ipam").and_then(Value::as_object).cloned();
    let path = plugin.get("subnetFile").and_then(Value::as_str).unwrap_or("/run/flannel/subnet.env");
    let text = match host.read_text(path, ALLOCATION_LIMIT) {
        Ok(text) => text,
        Err(ReadError::Blind(blind)) => return Err(blind),
        Err(_) => return Ok(None),
    };
    let subnet = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let subnets = ["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"].into_iter().filter_map(subnet).filter(|subnet| !subnet.is_empty());
    Ok(Some((delegate, subnets.filter_map(|subnet| Some(vec![filled(subnet, None, None, None)?])).collect())))
}

fn range(written: &Map<String, Value>) -> Option<Range> {
    let address = |key: &str| written.get(key).and_then(Value::as_str).and_then(|text| text.parse().ok());
    filled(written.get("subnet")?.as_str()?, address("rangeStart"), address("rangeEnd"), address("gateway"))
}

fn filled(subnet: &str, first: Option<IpAddr>, last: Option<IpAddr>, gateway: Option<IpAddr>) -> Option<Range> {
    let (address, length) = subnet.trim().split_once('/')?;
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let width: u32 = if address.is_ipv4() { 32 } else { 128 };
    // Too small to give anything out.
    let host_bits = width.checked_sub(length).filter(|bits| *bits >= 2)?;
    let hosts = u128::MAX.checked_shr(128 - host_bits).unwrap_or_default();
    let network = number(address) & !hosts;
    // Of IPv4 the broadcast address is left out.
    let end = (network | hosts) - u128::from(address.is_ipv4());
    let like = |number: u128| at(number, address.is_ipv4());
    let next = like(network + 1);
    Some(Range { first: first.unwrap_or(next), last: last.unwrap_or_else(|| like(end)), gateway: gateway.unwrap_or(next) })
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn at(number: u128, v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into() } else { Ipv6Addr::from(number).into() }
}

impl Range {
    fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (number(self.first)..=number(self.last)).contains(&number(address))
    }

    fn size(&self) -> u128 {
        let all = number(self.last).checked_sub(number(self.first)).map_or(0, |span| span.saturating_add(1));
        all.saturating_sub(u128::from(all > 0 && self.holds(self.gateway)))
    }
}

fn count(set: &[Range], given: &[IpAddr]) -> RangeSet {
    let size = set.iter().map(Range::size).fold(0, u128::saturating_add);
    let used = given.iter().filter(|address| set.iter().any(|range| range.holds(**address) && range.gateway != **address)).count();
    RangeSet { ranges: set.iter().map(|range| (range.first, range.last)).collect(), size: u64::try_from(size).unwrap_or(u64::MAX), used: used as u64 }
}

/// Allocations whose sandbox does not run, by containerd's own directories; `None` where those tell nothing.
fn orphans(host: &Host, directory: &str, given: &[IpAddr]) -> Option<u64> {
    let running: BTreeSet<String> = host.list(TASKS).ok()??.into_iter().collect();
    let owner = |address: &IpAddr| {
        let text = host.read_text(&format!("{directory}/{address}"), ALLOCATION_LIMIT).ok()?;
        text.lines().next().map(|id| id.trim().to_owned())
    };
    let owners = given.iter().take(MOST_OWNERS).filter_map(owner);
    Some(owners.filter(|id| !running.contains(id)).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(subnet: &str) -> Option<u128> {
        filled(subnet, None, None, None).map(|range| range.size())
    }

    #[test]
    fn a_subnet_gives_what_host_local_gives() {
        // Without network, broadcast and gateway.
        assert_eq!(size("10.244.1.1/24"), Some(253));
        assert_eq!(size("10.0.0.0/30"), Some(1));
        assert_eq!(size("10.0.0.0/31"), None);
        assert_eq!(size("0.0.0.0/0"), Some((1 << 32) - 3));
        // IPv6 has no broadcast.
        assert_eq!(size("fd00::/64"), Some((1 << 64) - 2));
        assert_eq!(size("fd00::/126"), Some(2));
        assert_eq!(size("::/0"), Some(u128::MAX - 1), "all but the network and the gateway");
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "usePodCidr", "10.0.0/24"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_range_within_a_subnet_holds_its_own_ends() {
        let address = |text: &str| text.parse().ok();
        let part = filled("10.0.0.0/24", address("10.0.0.10"), address("10.0.0.19"), None).unwrap();
        assert_eq!(part.size(), 10, "the gateway lies outside");
        let given: Vec<IpAddr> = ["10.0.0.9", "10.0.0.10", "10.0.0.19", "10.0.0.20", "fd00::1"].iter().map(|text| text.parse().unwrap()).collect();
        let set = count(&[part, filled("10.0.1.0/24", None, None, None).unwrap()], &given);
        assert_eq!((set.size, set.used), (263, 2));
        let backwards = filled("10.0.0.0/24", address("10.0.0.20"), address("10.0.0.10"), None).unwrap();
        assert_eq!(backwards.size(), 0);
    }
}
