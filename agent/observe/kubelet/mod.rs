//! How the kubelet is configured: its flags, its configuration file, its kubeconfig.

use std::collections::BTreeMap;

use serde_json::Value;

use super::host::{Host, ReadError};
use crate::facts::kubelet::{EvictionThreshold, Fault, File, FileState, Kubeconfig, ThresholdValue};
use crate::facts::{Kubelet, Sourced};

const LIMIT: u64 = 4 << 20;
/// kubeadm's drop-in, `10-kubeadm.conf`: what the kubelet is started with when nothing tells otherwise.
const KUBEADM: [(&str, &str); 3] = [
    ("config", "/var/lib/kubelet/config.yaml"),
    ("kubeconfig", "/etc/kubernetes/kubelet.conf"),
    ("bootstrap-kubeconfig", "/etc/kubernetes/bootstrap-kubelet.conf"),
];
/// The flags whose values are kept; none of them carries a secret.
const KEPT: [&str; 12] = [
    "config",
    "kubeconfig",
    "bootstrap-kubeconfig",
    "cert-dir",
    "root-dir",
    "client-ca-file",
    "container-runtime-endpoint",
    "hostname-override",
    "eviction-hard",
    "pod-manifest-path",
    "rotate-certificates",
    "node-ip",
];
/// `pkg/kubelet/eviction/defaults_linux.go`.
const EVICTION_DEFAULTS: [(&str, &str); 5] =
    [("memory.available", "100Mi"), ("nodefs.available", "10%"), ("nodefs.inodesFree", "5%"), ("imagefs.available", "15%"), ("imagefs.inodesFree", "5%")];

/// Reads the configuration. `command_line` is the kubelet's argv and where it was read.
#[must_use]
pub fn observe(host: &Host, command_line: Option<(Vec<String>, String)>) -> Kubelet {
    let (flags, command_line_source) = match command_line {
        Some((argv, source)) => (flags(&argv), source),
        None => (KUBEADM.into_iter().map(|(flag, value)| (flag.to_owned(), value.to_owned())).collect(), "default".to_owned()),
    };
    let flag = |name: &str| flags.get(name).map(|value| Sourced::new(value.clone(), format!("--{name}")));
    let (config, values, text) = match flag("config") {
        Some(path) => read_config(host, path),
        None => (None, Value::Null, String::new()),
    };
    let file = config.as_ref().map_or(String::new(), |config| config.path.value.clone());
    let setting = |path: &[&str]| -> Option<Sourced<Value>> {
        let value = path.iter().try_fold(&values, |value, key| value.get(key))?;
        Some(Sourced::new(value.clone(), format!("{file}:{}", line_of(&text, path[path.len() - 1]))))
    };
    let string = |path: &[&str]| {
        let setting = setting(path)?;
        let value = setting.value.as_str().filter(|value| !value.is_empty())?;
        Some(Sourced::new(value.to_owned(), setting.source))
    };
    let client_ca = flag("client-ca-file").or_else(|| string(&["authentication", "x509", "clientCAFile"]));
    Kubelet {
        command_line_source,
        client_ca_file: client_ca.map(|path| File { state: ca_state(host, &path.value), path }),
        root_dir: flag("root-dir").unwrap_or_else(|| Sourced::default_value("/var/lib/kubelet".to_owned())),
        cert_dir: flag("cert-dir").unwrap_or_else(|| Sourced::default_value("/var/lib/kubelet/pki".to_owned())),
        static_pod_path: flag("pod-manifest-path").or_else(|| string(&["staticPodPath"])),
        container_runtime_endpoint: flag("container-runtime-endpoint").or_else(|| string(&["containerRuntimeEndpoint"])),
        rotate_certificates: setting(&["rotateCertificates"])
            .and_then(|setting| Some(Sourced::new(setting.value.as_bool()?, setting.source)))
            .unwrap_or_else(|| Sourced::default_value(false)),
        eviction_hard: eviction(flag("eviction-hard").as_ref(), setting(&["evictionHard"]).as_ref(), setting(&["mergeDefaultEvictionSettings"]).as_ref()),
        kubeconfig: flag("kubeconfig").map(|path| kubeconfig(host, path)),
        bootstrap_kubeconfig: flag("bootstrap-kubeconfig").map(|path| File { state: presence(host, &path.value), path }),
        ignored_fields: Vec::new(),
        config,
        flags,
    }
}

/// `--name=value`, `--name value`, and `--name` alone (true).
fn flags(argv: &[String]) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    let mut words = argv.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else { continue };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (flag, words.next_if(|next| !next.starts_with("--")).cloned().unwrap_or_else(|| "true".to_owned())),
        };
        if KEPT.contains(&name) {
            kept.insert(name.to_owned(), value);
        }
    }
    kept
}

fn read_config(host: &Host, path: Sourced<String>) -> (Option<File>, Value, String) {
    let text = match host.read_text(&path.value, LIMIT) {
        Ok(text) => text,
        Err(error) => return (Some(File { path, state: state_of(error) }), Value::Null, String::new()),
    };
    let (state, value) = match parse_config(&text) {
        Ok(value) => (FileState::Valid, value),
        Err(fault) => (FileState::Invalid(fault), Value::Null),
    };
    (Some(File { path, state }), value, text)
}

/// The refusals of `pkg/kubelet/kubeletconfig` at start: empty, no YAML, another kind, a field of another type.
fn parse_config(text: &str) -> Result<Value, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new("the file is empty"));
    }
    let value = yaml(text)?;
    if !value.is_object() {
        return Err(Fault::new("not a mapping"));
    }
    let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if word("kind") != "KubeletConfiguration" || word("apiVersion") != "kubelet.config.k8s.io/v1beta1" {
        let line = line_of(text, if word("kind") == "KubeletConfiguration" { "apiVersion" } else { "kind" });
        let saw = format!("kind {:?} of {:?}, where KubeletConfiguration of kubelet.config.k8s.io/v1beta1 is expected", word("kind"), word("apiVersion"));
        return Err(Fault::at(saw, line, 1));
    }
    types(&value, text)?;
    Ok(value)
}

/// Fields whose wrong type the kubelet refuses (`KubeletConfiguration`, staging/src/k8s.io/kubelet/config/v1beta1/types.go).
fn types(value: &Value, text: &str) -> Result<(), Fault> {
    type Is = fn(&Value) -> bool;
    let is_string: Is = Value::is_string;
    let is_int: Is = |value| value.is_i64() || value.is_u64();
    let is_bool: Is = Value::is_boolean;
    let is_list: Is = Value::is_array;
    let is_map: Is = Value::is_object;
    let kinds: [(&str, Is, &[&str]); 5] = [
        (
            "a string",
            is_string,
            &[
                "staticPodPath",
                "address",
                "clusterDomain",
                "cgroupDriver",
                "resolvConf",
                "containerRuntimeEndpoint",
                "healthzBindAddress",
                "tlsCertFile",
                "volumePluginDir",
                "providerID",
            ],
        ),
        (
            "a whole number",
            is_int,
            &[
                "port",
                "readOnlyPort",
                "healthzPort",
                "maxPods",
                "podsPerCore",
                "podPidsLimit",
                "registryPullQPS",
                "registryBurst",
                "eventRecordQPS",
                "imageGCHighThresholdPercent",
                "imageGCLowThresholdPercent",
                "oomScoreAdj",
                "nodeLeaseDurationSeconds",
                "maxOpenFiles",
            ],
        ),
        (
            "true or false",
            is_bool,
            &[
                "rotateCertificates",
                "serverTLSBootstrap",
                "failSwapOn",
                "failCgroupV1",
                "protectKernelDefaults",
                "mergeDefaultEvictionSettings",
                "registerNode",
                "serializeImagePulls",
                "cgroupsPerQOS",
                "enableServer",
            ],
        ),
        ("a list", is_list, &["clusterDNS", "enforceNodeAllocatable", "allowedUnsafeSysctls", "registerWithTaints", "tlsCipherSuites"]),
        (
            "a mapping",
            is_map,
            &["evictionHard", "evictionSoft", "authentication", "authorization", "featureGates", "memorySwap", "systemReserved", "kubeReserved", "logging"],
        ),
    ];
    for (expected, is, fields) in kinds {
        for field in fields {
            if let Some(found) = value.get(*field).filter(|found| !found.is_null() && !is(found)) {
                return Err(Fault::at(format!("{field} is {found}, where {expected} is expected"), line_of(text, field), 1));
            }
        }
    }
    Ok(())
}

/// YAML, with the parser's bounds on nesting and aliases.
pub(super) fn yaml(text: &str) -> Result<Value, Fault> {
    serde_saphyr::from_str::<Value>(text).map_err(|error| {
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default().to_owned();
        match error.location() {
            Some(location) => Fault::at(message, location.line(), location.column()),
            None => Fault::new(message),
        }
    })
}

/// The first line on which `key:` stands; 1 if none.
pub(super) fn line_of(text: &str, key: &str) -> u64 {
    let at = text.lines().position(|line| line.trim_start_matches([' ', '-']).strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    at.map_or(1, |index| index as u64 + 1)
}

fn state_of(error: ReadError) -> FileState {
    match error {
        ReadError::Missing => FileState::Missing,
        ReadError::Blind(blind) => FileState::Unreadable(blind),
        other => FileState::Invalid(Fault::new(other.to_string())),
    }
}

fn presence(host: &Host, path: &str) -> FileState {
    host.read(path, LIMIT).map_or_else(state_of, |_| FileState::Valid)
}

fn ca_state(host: &Host, path: &str) -> FileState {
    match host.read(path, LIMIT) {
        Err(error) => state_of(error),
        Ok(bytes) if bytes.is_empty() => FileState::Invalid(Fault::new("the file is empty")),
        Ok(bytes) => match super::certificates::parse(&bytes) {
            Ok(_) => FileState::Valid,
            Err(message) => FileState::Invalid(Fault::new(message)),
        },
    }
}

/// `evictionHard` replaces all defaults, unless they are merged; the flag replaces both (`cmd/kubelet/app/server.go` `loadConfigFile`).
fn eviction(flag: Option<&Sourced<String>>, file: Option<&Sourced<Value>>, merge: Option<&Sourced<Value>>) -> Vec<EvictionThreshold> {
    let mut written: BTreeMap<String, (String, String)> = BTreeMap::new();
    let merge = merge.is_some_and(|merge| merge.value == Value::Bool(true));
    let file_map = file.as_ref().and_then(|file| file.value.as_object()).filter(|map| !map.is_empty());
    if (flag.is_none() && file_map.is_none()) || merge {
        written.extend(EVICTION_DEFAULTS.map(|(signal, value)| (signal.to_owned(), (value.to_owned(), "default".to_owned()))));
    }
    if let Some(flag) = flag {
        let pairs = flag.value.split(',').filter_map(|pair| pair.split_once('<'));
        written.extend(pairs.map(|(signal, value)| (signal.to_owned(), (value.to_owned(), flag.source.clone()))));
    } else if let (Some(map), Some(file)) = (file_map, file) {
        written.extend(map.iter().filter_map(|(signal, value)| Some((signal.clone(), (value.as_str()?.to_owned(), file.source.clone())))));
    }
    written.into_iter().filter_map(|(signal, (value, source))| Some(EvictionThreshold { signal, value: threshold(&value)?, source })).collect()
}

/// `10%` or a quantity; 0 % and 100 % switch a signal off.
fn threshold(text: &str) -> Option<ThresholdValue> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f32 = percent.trim().parse().ok()?;
        return (percent > 0.0 && percent < 100.0).then_some(ThresholdValue::Percent(percent));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: f64 = match &text[digits.len()..] {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    let number: f64 = digits.parse().ok().filter(|number: &f64| *number >= 0.0)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative, and a quantity is whole
    Some(ThresholdValue::Quantity((number * factor) as u64))
}

fn kubeconfig(host: &Host, path: Sourced<String>) -> Kubeconfig {
    let text = host.read_text(&path.value, LIMIT);
    let mut found = Kubeconfig { file: File { path, state: FileState::Valid }, server: None, user: None, client_certificate: None };
    match text {
        Err(error) => found.file.state = state_of(error),
        Ok(text) => {
            if let Err(fault) = resolve(host, &text, &mut found) {
                found.file.state = FileState::Invalid(fault);
            }
        }
    }
    found
}

/// Follows current-context → context → cluster and user (client-go `clientcmd`).
fn resolve(host: &Host, text: &str, found: &mut Kubeconfig) -> Result<(), Fault> {
    let path = found.file.path.value.clone();
    let value = yaml(text)?;
    let at = |message: String, key: &str| Fault::at(message, line_of(text, key), 1);
    let context_name = value.get("current-context").and_then(Value::as_str).filter(|name| !name.is_empty());
    let context_name = context_name.ok_or_else(|| at("no current-context".to_owned(), "current-context"))?;
    let context = named(&value, "contexts", context_name, "context")
        .ok_or_else(|| at(format!("current-context {context_name:?} names no context"), "current-context"))?;
    let name = |key: &str| context.get(key).and_then(Value::as_str).unwrap_or_default();
    let cluster = named(&value, "clusters", name("cluster"), "cluster")
        .ok_or_else(|| at(format!("the context's cluster {:?} is not in clusters", name("cluster")), "cluster"))?;
    let user = named(&value, "users", name("user"), "user").ok_or_else(|| at(format!("the context's user {:?} is not in users", name("user")), "user"))?;
    found.user = Some(name("user").to_owned());
    let server = cluster
        .get("server")
        .and_then(Value::as_str)
        .filter(|server| !server.is_empty())
        .ok_or_else(|| at("the cluster has no server".to_owned(), "cluster"))?;
    found.server = Some(Sourced::new(server.to_owned(), format!("{path}:{}", line_of(text, "server"))));
    for (entry, key) in [(cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")] {
        let Some(file) = entry.get(key).and_then(Value::as_str) else { continue };
        let file = beside(&path, file);
        if key == "client-certificate" {
            found.client_certificate = Some(Sourced::new(file.clone(), format!("{path}:{}", line_of(text, key))));
        }
        if presence(host, &file) == FileState::Missing {
            return Err(at(format!("{key} {file} does not exist"), key));
        }
    }
    if user.get("client-certificate-data").is_some() {
        found.client_certificate = Some(Sourced::new("inline".to_owned(), format!("{path}:{}", line_of(text, "client-certificate-data"))));
    }
    Ok(())
}

/// The `inner` of the entry called `name` in a kubeconfig's list.
pub(super) fn named<'a>(value: &'a Value, list: &str, name: &str, inner: &str) -> Option<&'a Value> {
    value.get(list)?.as_array()?.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))?.get(inner)
}

/// Relative paths in a kubeconfig are relative to it.
pub(super) fn beside(kubeconfig: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", kubeconfig.rsplit_once('/').map_or("", |(dir, _)| dir)) }
}
