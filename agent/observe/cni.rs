//! The CNI configuration directory, read as the runtime reads it.

mod host_local;
mod routes;

use std::collections::BTreeMap;

use nix::fcntl::{AtFlags, OFlag};
use serde_json::{Map, Value};

use super::host::{Host, ReadError};
use super::runtime::{self, Runtime};
use crate::facts::cni::{AddressPool, Binary, ConfFile, ConfState, Mark, Network, Plugin, RuntimeFile};
use crate::facts::kubelet::Fault;
use crate::facts::shell::quote;
use crate::facts::{Blind, Cni, Kubelet, Observed, Sourced, Units};

/// go-cni refuses larger files (`opts.go` `MaxFileSize`); so do we.
const CONF_LIMIT: u64 = 2 << 20;
/// Of a network's plugins in files of their own.
const MOST_DROP_INS: usize = 100;
const POD_LOGS: &str = "/var/log/pods";
/// Where packages install plugins: upstream's, Debian's, Fedora's.
const PACKAGED: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

/// A network plugin that runs as a pod on every node.
struct Provider {
    name: &'static str,
    /// State that it keeps on a node while it is installed.
    mark: Option<&'static str>,
    /// How its DaemonSet's pods are called.
    pod: &'static str,
}

const PROVIDERS: [Provider; 11] = [
    Provider { name: "flannel", mark: Some("/run/flannel/subnet.env"), pod: "kube-flannel" },
    Provider { name: "calico", mark: Some("/var/lib/calico/nodename"), pod: "calico-node-" },
    Provider { name: "calico", mark: None, pod: "canal-" },
    Provider { name: "cilium", mark: Some("/run/cilium/cilium.sock"), pod: "cilium-" },
    Provider { name: "weave", mark: Some("/var/lib/weave/weave-netdata.db"), pod: "weave-net-" },
    Provider { name: "antrea", mark: Some("/run/antrea/cni.sock"), pod: "antrea-agent-" },
    Provider { name: "kindnet", mark: None, pod: "kindnet-" },
    Provider { name: "aws-vpc", mark: Some("/run/aws-node/ipam.json"), pod: "aws-node-" },
    Provider { name: "azure", mark: None, pod: "azure-cni-" },
    Provider { name: "ovn-kubernetes", mark: None, pod: "ovnkube-node-" },
    Provider { name: "kube-router", mark: None, pod: "kube-router-" },
];

/// Reads the directory, every file in it and the plugins' binaries.
///
/// # Errors
/// Blind if the directory is there and cannot be listed.
pub fn observe(host: &Host, kubelet: Option<&Kubelet>, units: &Observed<Units>) -> Result<Cni, Blind> {
    let Runtime { kind, conf_dir, bin_dirs, max_conf_num, default_network, needs_loopback, instead_of_cni, generation, .. } =
        runtime::observe(host, kubelet, units);
    let listed = host.list(&conf_dir.value)?;
    let conf_dir_exists = listed.is_some();
    let mut files = Vec::new();
    let mut found = Found::default();
    let rules = if generation == Some(1) { Rules::Libcni11 } else { Rules::Libcni13 };
    for name in listed.unwrap_or_default() {
        if let Some(state) = conf_state(host, rules, &conf_dir.value, &name, &mut found) {
            files.push(ConfFile { name, standing: String::new(), state });
        }
    }
    let networks = || files.iter().filter_map(network);
    let loopback = needs_loopback && networks().next().is_some();
    let kinds = networks().flat_map(Network::binaries).chain(loopback.then_some("loopback"));
    let mut binaries = BTreeMap::new();
    for kind in kinds {
        binaries.entry(kind.to_owned()).or_insert_with(|| binary(host, &bin_dirs, kind));
    }
    found.runtime_files.dedup();
    let pods = host.list(POD_LOGS).unwrap_or_else(|blind| {
        found.unseen.push(blind);
        None
    });
    let pods = pods.unwrap_or_default();
    let installed = installed(host, &pods, &mut found.unseen);
    let routes = if found.pools.is_empty() { Ok(Vec::new()) } else { routes::observe(host, &found.bridges) };
    let routes = routes.unwrap_or_else(|blind| {
        found.unseen.push(blind);
        Vec::new()
    });
    found.unseen.dedup();
    let mut cni = Cni {
        runtime: kind,
        conf_dir,
        bin_dirs,
        max_conf_num,
        default_network,
        needs_loopback,
        unused: instead_of_cni,
        conf_dir_exists,
        files,
        binaries,
        installed,
        runtime_files: found.runtime_files,
        pools: found.pools,
        routes,
        policy_engine: pods.iter().find(|dir| is_of(dir, "kube-network-policies-")).map(|dir| format!("{POD_LOGS}/{dir}")),
        unseen: found.unseen,
    };
    let standings: Vec<String> = cni.files.iter().map(|file| cni.standing(file)).collect();
    for (file, standing) in cni.files.iter_mut().zip(standings) {
        file.standing = standing;
    }
    Ok(cni)
}

/// What the files lead to.
#[derive(Default)]
struct Found {
    runtime_files: Vec<RuntimeFile>,
    pools: Vec<AddressPool>,
    /// The bridges that the plugins make.
    bridges: Vec<String>,
    unseen: Vec<Blind>,
}

fn network(file: &ConfFile) -> Option<&Network> {
    match &file.state {
        ConfState::Network(network) => Some(network),
        _ => None,
    }
}

/// `None` for a directory, which libcni passes over (`ConfFiles`); a symlink to one is taken for a file.
fn conf_state(host: &Host, rules: Rules, dir: &str, name: &str, found: &mut Found) -> Option<ConfState> {
    let path = format!("{}/{name}", dir.trim_end_matches('/'));
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if !matches!(extension, "conf" | "conflist" | "json") {
        return (!is_directory(host, &path)).then_some(ConfState::OtherExtension);
    }
    if name.contains(char::REPLACEMENT_CHARACTER) {
        let blind = Blind::new(format!("{path}: the name is not UTF-8, and cannot be opened by it"));
        return Some(ConfState::Unreadable(blind.grant(format!("give it a plain name (ls -b {} shows the one that it has)", quote(dir)))));
    }
    Some(match host.read(&path, CONF_LIMIT) {
        Ok(bytes) => {
            let dir = |name: &str| format!("{}/{name}", dir.trim_end_matches('/'));
            match parse(&bytes, extension == "conflist", rules, |network| drop_in_plugins(host, &dir(network))) {
                Ok((network, plugins)) => {
                    runtime_files(host, &network, &plugins, found);
                    found.bridges.extend(plugins.iter().filter_map(|plugin| Some(plugin.get("bridge")?.as_str()?.to_owned())));
                    match host_local::pool(host, name, &network, &plugins) {
                        Ok(pool) => found.pools.extend(pool),
                        Err(blind) => found.unseen.push(blind),
                    }
                    ConfState::Network(network)
                }
                Err(Refusal::Fault(fault)) => ConfState::Invalid(fault),
                Err(Refusal::Unlike(why)) => ConfState::Unreadable(Blind::new(format!("{path}: {why}"))),
                Err(Refusal::Blind(blind)) => ConfState::Unreadable(blind),
            }
        }
        Err(ReadError::NotRegular("a directory")) if is_directory(host, &path) => return None,
        Err(ReadError::Missing) => ConfState::Invalid(Fault::new(match host.link(&path) {
            Some(target) => format!("a symlink to {target}, which does not exist"),
            None => "it is gone".to_owned(),
        })),
        Err(ReadError::Blind(blind)) => ConfState::Unreadable(blind),
        Err(error) => ConfState::Invalid(Fault::new(error.to_string())),
    })
}

/// A directory itself, not a symlink to one.
fn is_directory(host: &Host, path: &str) -> bool {
    host.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).is_ok()
}

/// Why a file is no network.
enum Refusal {
    Fault(Fault),
    /// What Go's decoder may take and ours does not.
    Unlike(&'static str),
    /// A further file of it cannot be seen.
    Blind(Blind),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The library in use: what a file may hold differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// containerd 1.x.
    Libcni11,
    /// containerd 2.x, CRI-O, cri-dockerd: `cniVersions`, switches that may be strings, plugins in files of their own.
    Libcni13,
}

/// libcni's `NetworkConfFromFile` for a list, `NetworkPluginConfFromBytes` for a single plugin (`libcni/conf.go`); the network, and its
/// plugins as they are written.
fn parse(bytes: &[u8], list: bool, rules: Rules, drop_ins: impl Fn(&str) -> Result<Vec<Value>, Refusal>) -> Result<(Network, Vec<Value>), Refusal> {
    let text = String::from_utf8_lossy(bytes);
    let value: Value = serde_json::from_str(&text).map_err(|error| refused_json(&text, &error))?;
    let Some(object) = value.as_object() else { return Err(Fault::at(format!("JSON, but no object: it is {}", kind_of(&value)), 1, 1).into()) };
    let (name, plugins) = if list { conflist(&text, object, rules)? } else { conf(&text, object)? };
    let cni_version = version(&text, object, list && rules == Rules::Libcni13)?;
    let hint = if object.contains_key("type") { ": this is a single plugin, which belongs in a .conf" } else { "" };
    let mut written = object.get("plugins").filter(|_| list).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut network = Network { provider: String::new(), name, cni_version, plugins };
    if !list {
        written.push(value);
    } else if rules == Rules::Libcni13 && !is_true(object, "loadOnlyInlinedPlugins") {
        // They are added to those of the list.
        for plugin in drop_ins(&network.name)? {
            network.plugins.extend(plugin.as_object().and_then(|object| self::plugin(object).ok()));
            written.push(plugin);
        }
    }
    if network.plugins.is_empty() {
        return Err(Fault::new(format!("a .conflist needs a list \"plugins\"{hint}")).into());
    }
    network.provider = provider(&network.name, &network.plugins);
    Ok((network, written))
}

fn refused_json(text: &str, error: &serde_json::Error) -> Refusal {
    let message = error.to_string();
    if message.starts_with("recursion limit") {
        return Refusal::Unlike("nested more than 128 deep");
    }
    // Half a surrogate pair, which Go replaces.
    if ["unexpected end of hex escape", "lone leading surrogate", "invalid unicode code point"].iter().any(|half| message.starts_with(half)) {
        return Refusal::Unlike("a \\u escape that is half a character");
    }
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let hint = if text.starts_with('\u{feff}') { " (the file begins with a byte order mark)" } else { "" };
    Refusal::Fault(Fault::at(format!("not JSON: {message}{hint}"), error.line() as u64, (error.column() as u64).max(1)))
}

/// A `.conflist`: its keys are looked up as they are written; a name, and plugins that each have a type. Without the key
/// `plugins` it has none of its own.
fn conflist(text: &str, object: &Map<String, Value>, rules: Rules) -> Result<(String, Vec<Plugin>), Fault> {
    let name = match object.get("name") {
        Some(Value::String(name)) => name.clone(),
        Some(other) => return Err(at_key(text, "name", format!("\"name\" is {}, where a string is expected", kind_of(other)))),
        None => return Err(Fault::new("a .conflist needs a \"name\"")),
    };
    match object.get("cniVersion") {
        None | Some(Value::String(_)) => {}
        Some(other) => return Err(at_key(text, "cniVersion", format!("\"cniVersion\" is {}, where a string is expected", kind_of(other)))),
    }
    switches(text, object, rules)?;
    let written = match object.get("plugins") {
        Some(Value::Array(plugins)) if plugins.is_empty() => return Err(at_key(text, "plugins", "\"plugins\" is empty".to_owned())),
        Some(Value::Array(plugins)) => plugins.as_slice(),
        Some(other) => return Err(at_key(text, "plugins", format!("\"plugins\" is {}, where a list is expected", kind_of(other)))),
        None => &[],
    };
    let plugins = written.iter().enumerate().map(|(index, value)| {
        let named = format!("plugin {} of {}", index + 1, written.len());
        let object = value.as_object().ok_or_else(|| Fault::new(format!("{named} is {}, where an object is expected", kind_of(value))))?;
        plugin(object).map_err(|message| at_key(text, "plugins", format!("{named}: {message}")))
    });
    Ok((name, plugins.collect::<Result<_, _>>()?))
}

fn is_true(object: &Map<String, Value>, switch: &str) -> bool {
    object.get(switch).is_some_and(|value| value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(|word| word.eq_ignore_ascii_case("true"))))
}

/// `true` or `false`; libcni 1.3 takes them as strings, too.
fn switches(text: &str, object: &Map<String, Value>, rules: Rules) -> Result<(), Fault> {
    let known: &[&str] = if rules == Rules::Libcni11 { &["disableCheck"] } else { &["disableCheck", "disableGC", "loadOnlyInlinedPlugins"] };
    for &key in known {
        match object.get(key) {
            None | Some(Value::Bool(_)) => {}
            Some(Value::String(word)) if rules == Rules::Libcni13 && ["true", "false"].iter().any(|truth| word.eq_ignore_ascii_case(truth)) => {}
            Some(other) => return Err(at_key(text, key, format!("\"{key}\" is {}, where true or false is expected", kind_of(other)))),
        }
    }
    Ok(())
}

/// A `.conf` or `.json`: one plugin; its keys are matched in any case, as Go does for a struct.
fn conf(text: &str, object: &Map<String, Value>) -> Result<(String, Vec<Plugin>), Fault> {
    let plugin = plugin(object).map_err(|message| {
        let hint = if object.contains_key("plugins") { ": \"plugins\" belongs in a .conflist" } else { "" };
        at_key(text, if hint.is_empty() { "type" } else { "plugins" }, format!("{message}{hint}"))
    })?;
    Ok((string(object, "name").unwrap_or_default().unwrap_or_default(), vec![plugin]))
}

/// `types.PluginConf`: what has another type is refused, and the type may not be missing.
fn plugin(object: &Map<String, Value>) -> Result<Plugin, String> {
    for key in ["cniVersion", "name"] {
        string(object, key)?;
    }
    let kind = string(object, "type")?.filter(|kind| !kind.is_empty()).ok_or("it has no \"type\"")?;
    let ipam = match any_case(object, "ipam") {
        None | Some(Value::Null) => None,
        Some(Value::Object(ipam)) => string(ipam, "type")?.filter(|kind| !kind.is_empty()),
        Some(other) => return Err(format!("\"ipam\" is {}, where an object is expected", kind_of(other))),
    };
    match any_case(object, "dns") {
        None | Some(Value::Null) => {}
        Some(Value::Object(dns)) => {
            string(dns, "domain")?;
            for key in ["nameservers", "search", "options"] {
                strings(dns, key)?;
            }
        }
        Some(other) => return Err(format!("\"dns\" is {}, where an object is expected", kind_of(other))),
    }
    match any_case(object, "prevResult") {
        None | Some(Value::Null | Value::Object(_)) => {}
        Some(other) => return Err(format!("\"prevResult\" is {}, where an object is expected", kind_of(other))),
    }
    match any_case(object, "capabilities") {
        None | Some(Value::Null) => {}
        Some(Value::Object(capabilities)) if capabilities.values().all(|value| value.is_boolean() || value.is_null()) => {}
        Some(_) => return Err("\"capabilities\" is no object of true and false".to_owned()),
    }
    Ok(Plugin { kind, ipam })
}

/// The newest of `cniVersions` that is implemented, where the library looks at them, else `cniVersion`.
fn version(text: &str, object: &Map<String, Value>, several: bool) -> Result<String, Fault> {
    let own = string(object, "cniVersion").unwrap_or_default().unwrap_or_default();
    let Some(versions) = object.get("cniVersions").filter(|_| several) else { return Ok(own) };
    let numbers = |version: &str| -> Option<Vec<u64>> { version.split('.').map(|number| number.parse().ok()).collect() };
    let wrong = || at_key(text, "cniVersions", "\"cniVersions\" is no list of versions".to_owned());
    let mut best = (Vec::new(), own.clone());
    for version in versions.as_array().ok_or_else(wrong)?.iter().filter_map(Value::as_str).chain(Some(own.as_str()).filter(|own| !own.is_empty())) {
        let numbers = numbers(version).ok_or_else(wrong)?;
        if numbers.as_slice() <= [1, 1, 0].as_slice() && numbers > best.0 {
            best = (numbers, version.to_owned());
        }
    }
    Ok(best.1)
}

/// A string, or nothing; another type is refused.
fn string(object: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match any_case(object, key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("\"{key}\" is {}, where a string is expected", kind_of(other))),
    }
}

/// A list of strings, or nothing.
fn strings(object: &Map<String, Value>, key: &str) -> Result<(), String> {
    match any_case(object, key) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(items)) if items.iter().all(|item| item.is_string() || item.is_null()) => Ok(()),
        Some(_) => Err(format!("\"{key}\" is no list of strings")),
    }
}

fn any_case<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).or_else(|| object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A fault at the first line on which the key stands.
fn at_key(text: &str, key: &str, message: String) -> Fault {
    let quoted = format!("\"{key}\"");
    match text.lines().enumerate().find_map(|(index, line)| Some((index, line.find(&quoted)?))) {
        Some((line, column)) => Fault::at(message, line as u64 + 1, column as u64 + 1),
        None => Fault::new(message),
    }
}

/// Plugins in files of their own, below a directory of the network's name (`NetworkPluginConfsFromFiles`); one that is bad spoils
/// the network.
fn drop_in_plugins(host: &Host, dir: &str) -> Result<Vec<Value>, Refusal> {
    if dir.contains('\0') || dir.split('/').any(|part| part.len() > 255) {
        return Err(Fault::new("\"name\" cannot be the name of a directory, in which further plugins are looked for").into());
    }
    let Some(names) = host.list(dir).map_err(Refusal::Blind)? else {
        let is_file = host.exists(dir).map_err(Refusal::Blind)?;
        return if is_file { Err(Fault::new(format!("further plugins are looked for in {dir}, which is no directory")).into()) } else { Ok(Vec::new()) };
    };
    let paths = names.iter().filter(|name| name.rsplit_once('.').is_some_and(|(_, extension)| extension == "conf")).map(|name| format!("{dir}/{name}"));
    let files = paths.filter(|path| !is_directory(host, path)).take(MOST_DROP_INS);
    files.map(|path| drop_in(host, &path)).collect()
}

fn drop_in(host: &Host, path: &str) -> Result<Value, Refusal> {
    let fault = |message: &dyn std::fmt::Display| Refusal::Fault(Fault::new(format!("the plugin in {path}: {message}")));
    let bytes = host.read(path, CONF_LIMIT).map_err(|error| match error {
        ReadError::Blind(blind) => Refusal::Blind(blind),
        error => fault(&error),
    })?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| fault(&format!("not JSON: {error}")))?;
    let object = value.as_object().ok_or_else(|| fault(&"no object"))?;
    plugin(object).map_err(|message| fault(&message))?;
    Ok(value)
}

/// Whose network it is, by its plugins and, for the shared bridge plugin, by its name.
fn provider(name: &str, plugins: &[Plugin]) -> String {
    let first = plugins.first().map_or("", |plugin| plugin.kind.as_str());
    match first {
        "cilium-cni" => "cilium",
        "weave-net" => "weave",
        "aws-cni" => "aws-vpc",
        "azure-vnet" => "azure",
        "ovn-k8s-cni-overlay" => "ovn-kubernetes",
        "multus-shim" => "multus",
        "bridge" if name == "podman" => "podman",
        "bridge" if matches!(name, "crio" | "crio-bridge") => "cri-o",
        "bridge" if name == "containerd-net" => "containerd-sample",
        "bridge" if name == "nerdctl" || name == "nerdctl-bridge" => "nerdctl",
        "ptp" if name == "kindnet" => "kindnet",
        other => other,
    }
    .to_owned()
}

/// What the network's plugin opens before it can do anything. On a disk that does not run, /run says nothing.
fn runtime_files(host: &Host, network: &Network, plugins: &[Value], found: &mut Found) {
    let text = |of: &Value, keys: &[&str]| keys.iter().try_fold(of, |value, key| value.get(key)).and_then(Value::as_str).map(str::to_owned);
    let paths = plugins.iter().filter_map(|plugin| match plugin.get("type")?.as_str()? {
        "flannel" => Some(text(plugin, &["subnetFile"]).unwrap_or_else(|| "/run/flannel/subnet.env".to_owned())),
        "calico" => text(plugin, &["kubernetes", "kubeconfig"]),
        "cilium-cni" => Some("/run/cilium/cilium.sock".to_owned()),
        "multus-shim" => Some("/run/multus/multus.sock".to_owned()),
        _ => None,
    });
    let told = |path: &String| path.starts_with('/') && (host.is_live() || !["/run/", "/var/run/"].iter().any(|run| path.starts_with(run)));
    for path in paths.filter(told) {
        match host.exists(&path) {
            Ok(exists) => found.runtime_files.push(RuntimeFile { provider: network.provider.clone(), exists, path }),
            Err(blind) => found.unseen.push(blind),
        }
    }
}

/// As libcni's `FindInPath`: the first regular file of that name.
fn binary(host: &Host, dirs: &[Sourced<String>], kind: &str) -> Binary {
    // A tree without any plugin directory is a partial copy of a node: it cannot tell what was installed.
    if !host.is_live() && !dirs.iter().map(|dir| dir.value.as_str()).chain(PACKAGED).any(|dir| host.exists(dir).unwrap_or(true)) {
        let dirs: Vec<_> = dirs.iter().map(|dir| dir.value.as_str()).collect();
        return Binary::Unreadable(Blind::new("no CNI plugin directory in this tree").grant(format!("copy or mount {} below the root", dirs.join(" or "))));
    }
    // A name with a slash is looked for nowhere.
    for dir in dirs.iter().filter(|_| !kind.contains('/')) {
        let path = format!("{}/{kind}", dir.value);
        match host.open_at(&path, OFlag::O_PATH) {
            Ok(fd) => match nix::sys::stat::fstatat(&fd, "", AtFlags::AT_EMPTY_PATH) {
                Ok(stat) if stat.st_mode & 0o170_000 != 0o100_000 => {}
                Ok(stat) if stat.st_mode & 0o111 != 0 => return Binary::Found(path),
                _ => return Binary::NotExecutable(path),
            },
            // Not permitted, or not mounted: then it is not missing.
            Err(_) => {
                if let Err(blind) = host.exists(&path) {
                    return Binary::Unreadable(blind);
                }
            }
        }
    }
    let elsewhere = PACKAGED.into_iter().map(|dir| format!("{dir}/{kind}")).find(|path| !kind.contains('/') && host.exists(path).unwrap_or(false));
    elsewhere.map_or(Binary::Missing, Binary::Elsewhere)
}

/// By what they keep on the node, and by their pods' log directories.
fn installed(host: &Host, pods: &[String], unseen: &mut Vec<Blind>) -> BTreeMap<String, Mark> {
    let mut installed: BTreeMap<String, Mark> = BTreeMap::new();
    for provider in PROVIDERS {
        let mut is_there = |mark: &&str| {
            host.exists(mark).unwrap_or_else(|blind| {
                unseen.push(blind);
                false
            })
        };
        let path = provider.mark.filter(&mut is_there).map(str::to_owned);
        let pod = pods.iter().find(|dir| is_of(dir, provider.pod) && !is_of(dir, "cilium-operator") && !is_of(dir, "cilium-envoy"));
        if path.is_some() || pod.is_some() {
            let mark = installed.entry(provider.name.to_owned()).or_default();
            mark.path = path.or(mark.path.take());
            mark.pod_logs = pod.map(|dir| format!("{POD_LOGS}/{dir}")).or(mark.pod_logs.take());
        }
    }
    installed
}

/// Whether a pod's log directory, `NAMESPACE_NAME_UID`, is that of a DaemonSet's pod.
fn is_of(dir: &str, daemon_set: &str) -> bool {
    dir.split('_').nth(1).is_some_and(|pod| pod.starts_with(daemon_set))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, list: bool) -> String {
        match parse(text.as_bytes(), list, Rules::Libcni13, |_| Ok(Vec::new())) {
            Ok((network, _)) => panic!("{text} was taken: {network:?}"),
            Err(Refusal::Unlike(why)) => why.to_owned(),
            Err(Refusal::Blind(blind)) => blind.reason,
            Err(Refusal::Fault(fault)) => fault.place("f") + " " + &fault.message,
        }
    }

    fn taken(text: &str, list: bool) -> Network {
        match parse(text.as_bytes(), list, Rules::Libcni13, |_| Ok(Vec::new())) {
            Ok((network, _)) => network,
            Err(Refusal::Fault(fault)) => panic!("{text} was refused: {fault:?}"),
            Err(Refusal::Unlike(_) | Refusal::Blind(_)) => panic!("{text} was not read"),
        }
    }

    /// The outcomes are those of libcni's conf.go; the places are ours.
    #[test]
    fn what_libcni_refuses_is_refused_with_its_place() {
        for (text, list, message) in [
            ("", true, "f:1:1 not JSON: EOF while parsing a value"),
            ("{\n  \"name\": \"x\",\n}", true, "f:3:1 not JSON: trailing comma"),
            ("{} {}", true, "f:1:4 not JSON: trailing characters"),
            ("[]", true, "f:1:1 JSON, but no object: it is a list"),
            ("\u{feff}{}", true, "f:1:1 not JSON: expected value (the file begins with a byte order mark)"),
            ("{\"plugins\":[{\"type\":\"a\"}]}", true, "f a .conflist needs a \"name\""),
            ("{\"name\":5,\"plugins\":[{\"type\":\"a\"}]}", true, "f:1:2 \"name\" is a number, where a string is expected"),
            ("{\"name\":\"n\"}", true, "f a .conflist needs a list \"plugins\""),
            ("{\"name\":\"n\",\"type\":\"bridge\"}", true, "f a .conflist needs a list \"plugins\": this is a single plugin, which belongs in a .conf"),
            ("{\"name\":\"n\",\n\"plugins\":[]}", true, "f:2:1 \"plugins\" is empty"),
            ("{\"name\":\"n\",\"plugins\":{}}", true, "f:1:13 \"plugins\" is an object, where a list is expected"),
            ("{\"name\":\"n\",\"plugins\":[{}]}", true, "f:1:13 plugin 1 of 1: it has no \"type\""),
            ("{\"name\":\"n\",\"plugins\":[3]}", true, "f plugin 1 of 1 is a number, where an object is expected"),
            ("{\"name\":\"n\",\"cniVersion\":1,\"plugins\":[{\"type\":\"a\"}]}", true, "f:1:13 \"cniVersion\" is a number, where a string is expected"),
            ("{\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}]}", false, "f:1:13 it has no \"type\": \"plugins\" belongs in a .conflist"),
            ("{\"name\":\"n\"}", false, "f it has no \"type\""),
            ("{\"type\":\"\"}", false, "f:1:2 it has no \"type\""),
            ("{\"type\":[\"a\"]}", false, "f:1:2 \"type\" is a list, where a string is expected"),
            ("{\"type\":\"a\",\"ipam\":\"dhcp\"}", false, "f:1:2 \"ipam\" is a string, where an object is expected"),
            ("{\"type\":\"a\",\"capabilities\":{\"ips\":\"yes\"}}", false, "f:1:2 \"capabilities\" is no object of true and false"),
        ] {
            assert_eq!(refused(text, list), message, "{text}");
        }
        assert_eq!(refused(&"[".repeat(100_000), true), "nested more than 128 deep");
        assert_eq!(refused(r#"{"name":"\ud800","plugins":[{"type":"ptp"}]}"#, true), "a \\u escape that is half a character");
    }

    #[test]
    fn what_libcni_takes_is_taken() {
        // A .conf needs no name, and Go matches the keys of a struct in any case.
        assert_eq!(taken("{\"Type\":\"ptp\",\"IPAM\":{\"type\":\"host-local\"}}", false).binaries().collect::<Vec<_>>(), ["ptp", "host-local"]);
        assert_eq!(taken("{\"name\":\"\",\"plugins\":[{\"type\":\"a\"}]}", true).name, "");
        assert_eq!(
            taken("{\"name\":\"n\",\"cniVersion\":\"0.3.1\",\"cniVersions\":[\"1.0.0\",\"1.1.0\",\"9.0.0\"],\"plugins\":[{\"type\":\"a\"}]}", true).cni_version,
            "1.1.0"
        );
        // Bytes that are no UTF-8 are replaced by Go's decoder, not refused.
        assert!(parse(b"{\"type\":\"a\",\"name\":\"\xff\"}", false, Rules::Libcni13, |_| Ok(Vec::new())).is_ok());
    }

    #[test]
    fn a_version_that_no_plugin_knows_is_told_from_a_later_one() {
        let version = |version: &str| taken(&format!("{{\"type\":\"a\",\"cniVersion\":\"{version}\"}}"), false).has_unknown_version();
        assert!(["0.5.0", "1.0.5", "2.0.0", "v1.0.0", "1.0", "latest"].into_iter().all(version));
        assert!(!["", "0.1.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "1.2.0"].into_iter().any(version));
    }
}
