//! What the kernel has of what kube-proxy's mode and the runtime need.

use crate::facts::kube_proxy::{BridgeNetfilter, Kernel, Module};
use crate::facts::{Blind, Observed};
use crate::observe::health;
use crate::observe::host::{Host, ReadError};

/// `modules.dep` of a distribution's kernel is some 600 KB.
const LIMIT: u64 = 8 << 20;
const BRIDGE: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// What a mode cannot do without, where any of several will do, and by which file a kernel without modules shows that it has it.
/// ipvs: `pkg/proxy/ipvs` needs the scheduler, too; nftables: `pkg/proxy/nftables`.
const OF_MODES: [(&str, &[&str], &str); 5] = [
    ("iptables", &["ip_tables", "nf_tables"], "/proc/net/ip_tables_names"),
    ("nftables", &["nf_tables"], ""),
    ("ipvs", &["ip_vs"], "/proc/net/ip_vs"),
    ("ipvs", &["ip_vs_rr"], "/proc/net/ip_vs"),
    ("ipvs", &["nf_conntrack"], "/proc/sys/net/netfilter/nf_conntrack_max"),
];

pub(super) fn observe(host: &Host, mode: &str) -> Kernel {
    let mode = if mode.is_empty() { "iptables" } else { mode };
    let files = Files::read(host);
    let needed = OF_MODES.iter().filter(|(of, _, _)| *of == mode);
    let mut modules: Vec<(String, Observed<Module>)> = needed
        .filter_map(|(_, any, shows)| {
            let first = (*any.first()?).to_owned();
            let found: Vec<_> = any.iter().filter_map(|module| files.module(host, module, shows)).collect();
            let best = found.iter().find(|module| module.known().is_some_and(|module| *module != Module::Missing));
            Some((first, best.or_else(|| found.iter().find(|module| module.known().is_none())).or(found.first())?.clone()))
        })
        .collect();
    // Both runtimes keep layers on it, unless told otherwise; it is a file system, which the kernel lists when it is there.
    let filesystems = host.read_text("/proc/filesystems", LIMIT).unwrap_or_default();
    let overlay =
        if filesystems.lines().any(|line| line.ends_with("\toverlay")) { Some(Observed::Known(Module::Present)) } else { files.module(host, "overlay", "") };
    modules.extend(overlay.map(|overlay| ("overlay".to_owned(), overlay)));
    Kernel { modules, bridge_netfilter: bridge_netfilter(host).into() }
}

/// The lists of modules: those loaded; those built in and installed for the kernel that runs.
struct Files {
    loaded: Option<String>,
    installed: Result<Option<(String, String)>, Blind>,
}

impl Files {
    fn read(host: &Host) -> Self {
        let loaded = host.read_text("/proc/modules", LIMIT).ok();
        let release = host.read_text("/proc/sys/kernel/osrelease", 4096).unwrap_or_default();
        Self { loaded, installed: installed(host, release.trim()) }
    }

    /// `None`: nothing tells.
    fn module(&self, host: &Host, name: &str, shows: &str) -> Option<Observed<Module>> {
        let is_loaded = self.loaded.iter().any(|loaded| loaded.lines().any(|line| line.split(' ').next() == Some(name)));
        let is_there = |path: &str| !path.is_empty() && host.exists(path).unwrap_or(false);
        if is_loaded || is_there(&format!("/sys/module/{name}")) || is_there(shows) {
            return Some(Observed::Known(Module::Present));
        }
        let listed = |list: &str| list.lines().any(|line| is_file_of(line, name));
        match (&self.installed, &self.loaded) {
            (Ok(Some((builtin, _))), _) if listed(builtin) => Some(Observed::Known(Module::Present)),
            (Ok(Some((_, dep))), _) if listed(dep) => Some(Observed::Known(Module::Loadable)),
            (Ok(Some(_)), _) => Some(Observed::Known(Module::Missing)),
            // A kernel without modules has it built in or not at all, and shows some by their files only.
            (Ok(None), None) => (!shows.is_empty() && name.starts_with("ip_vs")).then_some(Observed::Known(Module::Missing)),
            // Its modules were removed, as by an upgrade before the reboot: nothing more can be loaded.
            (Ok(None), Some(_)) => Some(Observed::Known(Module::Missing)),
            (Err(blind), _) => Some(Observed::Unknown(blind.clone())),
        }
    }
}

/// `kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/…`; in names of files either dash or underscore.
fn is_file_of(line: &str, name: &str) -> bool {
    let path = line.split(':').next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split_once(".ko").is_some_and(|(module, _)| module.replace('-', "_") == name)
}

/// `modules.builtin` and `modules.dep`; `None` if there is no such directory.
fn installed(host: &Host, release: &str) -> Result<Option<(String, String)>, Blind> {
    let mut hidden = None;
    for dir in ["/lib/modules", "/usr/lib/modules"] {
        let list = |name: &str| host.read_text(&format!("{dir}/{release}/{name}"), LIMIT);
        match (list("modules.builtin"), list("modules.dep")) {
            (Ok(builtin), Ok(dep)) => return Ok(Some((builtin, dep))),
            (Err(ReadError::Blind(blind)), _) | (_, Err(ReadError::Blind(blind))) => hidden = Some(blind),
            _ => {}
        }
    }
    hidden.map_or(Ok(None), Err)
}

/// Each network namespace has its own (since Linux 5.3).
fn bridge_netfilter(host: &Host) -> Result<BridgeNetfilter, Blind> {
    health::is_the_nodes_network(host)?;
    match host.read_text(BRIDGE, 4096) {
        Ok(text) => Ok(if text.trim() == "0" { BridgeNetfilter::Off } else { BridgeNetfilter::On }),
        Err(ReadError::Missing) => Ok(BridgeNetfilter::NotLoaded),
        Err(error) => Err(Blind::new(format!("{BRIDGE}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_modules() {
        assert!(is_file_of("kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/lib/libcrc32c.ko.xz", "ip_vs"));
        assert!(is_file_of("kernel/net/bridge/br-netfilter.ko", "br_netfilter"));
        assert!(!is_file_of("kernel/net/netfilter/ipvs/ip_vs_rr.ko", "ip_vs"));
        assert!(!is_file_of("kernel/a.ko: kernel/ip_vs.ko", "ip_vs"), "it is needed by another one");
    }
}
