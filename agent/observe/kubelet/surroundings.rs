//! What the kubelet's configuration meets on the machine: its name, swap, cgroups, the resolver, other users of the API server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

use super::directory;
use crate::facts::kubelet::{FileState, Permissions, Resolver, Surroundings, Swap, endpoint};
use crate::facts::{Blind, Kubelet, Sourced};
use crate::observe::host::{Host, ReadError};
use crate::observe::kubeconfig::{current_context, load, state_of};
use crate::observe::yaml::{self, Node};

const LIMIT: u64 = 1 << 20;
/// kubeadm's kubeconfigs beside the kubelet's, on control-plane nodes.
const KUBECONFIGS: [&str; 4] =
    ["/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf", "/etc/kubernetes/controller-manager.conf", "/etc/kubernetes/scheduler.conf"];
/// kubeadm's kube-proxy has its kubeconfig from a ConfigMap, which the kubelet writes into the pod's directory.
const KUBE_PROXY: &str = "volumes/kubernetes.io~configmap/kube-proxy/kubeconfig.conf";
/// Of pods on one node; the kubelet's own limit is 110 by default.
const MOST_PODS: usize = 1_000;
/// Of static pods on one node.
const MOST_MANIFESTS: usize = 50;
/// systemd-resolved(8): the servers it asks, where `/etc/resolv.conf` names only its own stub.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// Looks around.
pub(super) fn observe(host: &Host, kubelet: &Kubelet) -> Surroundings {
    Surroundings {
        node_name: node_name(host, kubelet),
        swap: swap(host),
        cgroup_version: cgroup_version(host),
        static_pods: kubelet.static_pod_path.as_ref().map(|path| static_pods(host, &path.value)),
        manifests: Vec::new(),
        resolver: Some(kubelet.resolv_conf.value.as_str()).filter(|path| !path.is_empty()).and_then(|path| resolver(host, path)),
        permissions: permissions(host, kubelet),
        api_servers: api_servers(host, kubelet),
        cpus: cpus(host),
        mirror_names: mirror_names(host, kubelet),
        addresses: kubelet.flags.get("node-ip").filter(|flag| !flag.value.is_empty()).filter(|_| host.is_live()).map(|_| addresses(host).into()),
        volume_plugins: kubelet.setting("volumePluginDir").filter(|dir| !dir.value.is_empty()).map(|dir| directory(host, &dir.value)),
    }
}

/// A routing table of hundreds of thousands of routes.
const ROUTES_LIMIT: u64 = 64 << 20;
/// More than any node has.
const MOST_ADDRESSES: usize = 10_000;

/// The addresses of the network that PID 1 is in: those of IPv4 that its routing table has as local, and all of IPv6.
fn addresses(host: &Host) -> Result<Vec<IpAddr>, Blind> {
    let blind = |path: &str, error: &ReadError| Blind::new(format!("{path}: {error}")).grant("hostPID: true, and mount the node's /proc below the root");
    let read = |path: &str| host.read_text(path, ROUTES_LIMIT);
    let routes = "/proc/1/net/fib_trie";
    let mut found = local_addresses(&read(routes).map_err(|error| blind(routes, &error))?);
    let ipv6 = match read("/proc/1/net/if_inet6") {
        // Where IPv6 is switched off.
        Err(ReadError::Missing) => String::new(),
        other => other.map_err(|error| blind("/proc/1/net/if_inet6", &error))?,
    };
    found.extend(ipv6.lines().filter_map(|line| {
        let digits = line.split_whitespace().next()?;
        Some(IpAddr::from(u128::from_str_radix(digits, 16).ok()?.to_be_bytes()))
    }));
    found.truncate(MOST_ADDRESSES);
    Ok(found)
}

/// Of `/proc/net/fib_trie`, which has each prefix below its address, and each table anew.
fn local_addresses(trie: &str) -> Vec<IpAddr> {
    let mut found = BTreeSet::new();
    let mut address = None;
    for line in trie.lines().map(str::trim) {
        match line.strip_prefix("|-- ") {
            Some(text) => address = text.parse::<IpAddr>().ok(),
            None if line.starts_with("/32 host LOCAL") => found.extend(address),
            None => {}
        }
    }
    found.into_iter().collect()
}

/// `0-3,6` of sysfs; what the kubelet's cAdvisor counts (`machine.GetMachineInfo`).
fn cpus(host: &Host) -> Option<u32> {
    let text = host.read_text("/sys/devices/system/cpu/online", 1 << 12).ok().filter(|_| host.is_live())?;
    text.trim().split(',').try_fold(0_u32, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let more = last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)?;
        sum.checked_add(more)
    })
}

/// A static pod is called by its manifest and the node, `kube-apiserver-node1`, and so is its directory of logs
/// (`pkg/kubelet/config/common.go` `generatePodName`, `pkg/kubelet/kuberuntime/helpers.go` `BuildPodLogsDirectory`).
fn mirror_names(host: &Host, kubelet: &Kubelet) -> Vec<Sourced<String>> {
    let manifests = kubelet.static_pod_path.as_ref().map_or("/etc/kubernetes/manifests", |path| path.value.as_str());
    let logs = kubelet.setting("podLogsDir").map_or("/var/log/pods", |dir| dir.value.as_str());
    let names = host.list(manifests).ok().flatten().unwrap_or_default().into_iter().take(MOST_MANIFESTS);
    let prefixes: Vec<String> = names.filter_map(|name| pod_prefix(host, &format!("{}/{name}", manifests.trim_end_matches('/')))).collect();
    let mut found: Vec<Sourced<String>> = Vec::new();
    for dir in host.list(logs).ok().flatten().unwrap_or_default() {
        // NAMESPACE_NAME-NODE_UID; the UID of a static pod is a hash, without the dashes of those that the cluster gives.
        let rest = prefixes.iter().find_map(|prefix| dir.strip_prefix(prefix.as_str())).and_then(|rest| rest.split_once('_'));
        let node = rest.filter(|(_, uid)| !uid.contains('-')).map(|(node, _)| node);
        if let Some(node) = node.filter(|node| !node.is_empty() && !found.iter().any(|known| known.value == *node)) {
            found.push(Sourced::new(node.to_owned(), format!("{}/{dir}", logs.trim_end_matches('/'))));
        }
    }
    found
}

/// `kube-system_kube-apiserver-` of a manifest.
fn pod_prefix(host: &Host, path: &str) -> Option<String> {
    let pod = yaml::parse(&host.read(path, LIMIT).ok()?, path).ok()??;
    let name = pod.find(&["metadata", "name"])?.text()?;
    let namespace = pod.find(&["metadata", "namespace"]).and_then(Node::text).unwrap_or("default");
    Some(format!("{namespace}_{name}-"))
}

/// `--hostname-override`, else the hostname, both trimmed and in lower case (component-helpers `node/util/hostname.go`
/// `GetHostname`). A cloud provider in the kubelet may change it; there is none since 1.29.
fn node_name(host: &Host, kubelet: &Kubelet) -> Option<Sourced<String>> {
    let named = |path: &str| {
        let text = host.read_text(path, 1 << 12).ok()?;
        Some(Sourced::new(text, path)).filter(|name| !name.value.trim().is_empty())
    };
    let given = kubelet.flags.get("hostname-override").cloned();
    // The kernel tells whoever asks the name of his own UTS namespace, and a pod has one of its own. The static name is
    // that of the machine, unless it is none (hostnamed: a name from the network is preferred to localhost).
    let kernel = || named("/proc/sys/kernel/hostname").filter(|_| host.path() == Path::new("/"));
    let written = || named("/etc/hostname").filter(|name| !name.value.trim_start().starts_with("localhost"));
    let name = given.or_else(kernel).or_else(written)?;
    Some(Sourced::new(name.value.trim().to_lowercase(), name.source)).filter(|name| !name.value.is_empty())
}

/// Every row after the header counts, as for the kubelet (`pkg/kubelet/util/swap/swap_util.go`), zram too.
fn swap(host: &Host) -> Option<Vec<Swap>> {
    if !host.is_live() {
        return None;
    }
    let text = host.read_text("/proc/swaps", LIMIT).ok()?;
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let path = words.next()?.to_owned();
        Some(Swap { path, bytes: words.nth(1)?.parse::<u64>().ok()?.saturating_mul(1024) })
    };
    Some(text.lines().skip(1).filter_map(row).collect())
}

fn cgroup_version(host: &Host) -> Option<u8> {
    if !host.is_live() {
        return None;
    }
    let root = host.open_at("/sys/fs/cgroup", OFlag::O_PATH).ok()?;
    let unified = fstatfs(&root).ok()?.filesystem_type() == CGROUP2_SUPER_MAGIC;
    Some(if unified { 2 } else { 1 })
}

/// A directory of manifests, or one manifest.
fn static_pods(host: &Host, path: &str) -> FileState {
    match directory(host, path) {
        FileState::Missing => match host.exists(path) {
            Ok(true) => FileState::Valid,
            Ok(false) => FileState::Missing,
            Err(blind) => FileState::Unreadable(blind),
        },
        state => state,
    }
}

/// `None`: of a disk, whose resolv.conf may well lead to what is made at boot, below `/run`.
fn resolver(host: &Host, path: &str) -> Option<Resolver> {
    let upstream = read_resolver(host, UPSTREAM).ok().filter(|upstream| !upstream.nameservers.is_empty()).map(|_| UPSTREAM.to_owned());
    match read_resolver(host, path) {
        Ok(read) => Some(Resolver { upstream, ..read }),
        Err(FileState::Missing) if !host.is_live() => None,
        Err(state) => Some(Resolver { state, nameservers: Vec::new(), search: None, upstream }),
    }
}

/// As the kubelet parses it (`pkg/kubelet/network/dns/dns.go` `parseResolvConf`): of several search lines the last one counts.
fn read_resolver(host: &Host, path: &str) -> Result<Resolver, FileState> {
    let text = host.read_text(path, LIMIT).map_err(state_of)?;
    let mut read = Resolver { state: FileState::Valid, nameservers: Vec::new(), search: None, upstream: None };
    for (index, line) in text.lines().enumerate() {
        let place = || format!("{path}:{}", index + 1);
        let mut words = line.split_whitespace();
        match words.next() {
            // The kubelet takes three; a hundred show what is wrong.
            Some("nameserver") if read.nameservers.len() < 100 => read.nameservers.extend(words.next().map(|server| Sourced::new(server.to_owned(), place()))),
            Some("search") => read.search = Some(Sourced::new(words.take(200).map(str::to_owned).collect(), place())),
            _ => {}
        }
    }
    Ok(read)
}

fn permissions(host: &Host, kubelet: &Kubelet) -> Vec<Permissions> {
    if !host.is_live() {
        return Vec::new();
    }
    let of = |path: &str, secret: bool| {
        let stat = fstat(host.open_at(path, OFlag::O_PATH).ok()?).ok()?;
        Some(Permissions { path: path.to_owned(), uid: stat.st_uid, mode: stat.st_mode & 0o777, secret })
    };
    // Who can write the files that flags come from can have root start anything.
    let sources = kubelet.flags.values().filter_map(|flag| flag.source.split_once(" --")?.0.rsplit_once(':'));
    let sources: BTreeSet<&str> = sources.map(|(file, _)| file).filter(|file| file.starts_with('/')).collect();
    let configs = kubelet.config_files().map(|file| file.path.value.as_str()).chain(sources).map(|path| (path, false));
    let kubeconfigs = kubelet.kubeconfig.iter().map(|kubeconfig| &kubeconfig.file).chain(&kubelet.bootstrap_kubeconfig);
    let kubeconfigs = kubeconfigs.map(|file| (file.path.value.as_str(), holds_secret(host, &file.path.value)));
    configs.chain(kubeconfigs).filter_map(|(path, secret)| of(path, secret)).collect()
}

fn holds_secret(host: &Host, path: &str) -> bool {
    let Ok(config) = load(host, path) else { return false };
    let users = config.get("users").map(Node::items).unwrap_or_default();
    users.iter().any(|entry| ["client-key-data", "token", "password"].into_iter().any(|key| entry.find(&["user", key]).is_some()))
}

fn api_servers(host: &Host, kubelet: &Kubelet) -> Vec<Sourced<String>> {
    let own = kubelet.kubeconfig.as_ref().map(|kubeconfig| kubeconfig.file.path.value.as_str());
    let mut found: Vec<Sourced<String>> = KUBECONFIGS.into_iter().filter(|path| Some(*path) != own).filter_map(|path| server(host, path)).collect();
    let pods = format!("{}/pods", kubelet.root_dir.value);
    let kube_proxies = host.list(&pods).ok().flatten().unwrap_or_default().into_iter().take(MOST_PODS);
    found.extend(kube_proxies.filter_map(|pod| server(host, &format!("{pods}/{pod}/{KUBE_PROXY}"))).take(1));
    let manifests = kubelet.static_pod_path.as_ref().map_or("/etc/kubernetes/manifests", |path| path.value.trim_end_matches('/'));
    found.extend(manifest(host, &format!("{manifests}/kube-apiserver.yaml")));
    found
}

fn server(host: &Host, path: &str) -> Option<Sourced<String>> {
    let config = load(host, path).ok()?;
    let server = current_context(&config).ok()?.cluster.find(&["server"])?;
    Some(server.sourced(server.text()?.to_owned()))
}

/// Where the API server of this node listens, by its manifest: `--advertise-address` and `--secure-port` (6443 by default).
fn manifest(host: &Host, path: &str) -> Option<Sourced<String>> {
    let pod = yaml::parse(&host.read(path, LIMIT).ok()?, path).ok()??;
    let container = pod.find(&["spec", "containers"])?.items().first()?;
    let words: Vec<&Node> = ["command", "args"].into_iter().filter_map(|key| container.get(key)).flat_map(Node::items).collect();
    let flag = |name: &str| words.iter().find_map(|word| Some((*word, word.text()?.strip_prefix(name)?)));
    let (at, address) = flag("--advertise-address=")?;
    let (at, port) = flag("--secure-port=").unwrap_or((at, "6443"));
    let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    Some(at.sourced(format!("https://{address}:{port}"))).filter(|server| endpoint(&server.value).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_the_routing_table_has_as_local() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n\
                    \x20       |-- 192.0.2.7\n           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\nLocal:\n     |-- 127.0.0.1\n        /32 host LOCAL\n\
                    \x20    |-- 192.0.2.7\n        /32 host LOCAL\n";
        let expected: Vec<IpAddr> = ["127.0.0.1", "192.0.2.7"].iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(local_addresses(trie), expected);
        let own = addresses(&Host::open(Path::new("/")).unwrap()).unwrap();
        assert!(own.contains(&"127.0.0.1".parse().unwrap()), "this machine's: {own:?}");
    }
}
