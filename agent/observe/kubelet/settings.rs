//! The settings in effect: what flags and files have together, else the kubelet's default.

use std::collections::BTreeMap;

use super::quantity::{duration, quantity, threshold};
use crate::facts::kubelet::{EvictionThreshold, File, FileState, Reservation, Surroundings};
use crate::facts::{Kubelet, Sourced};
use crate::observe::yaml::{Node, Tree};

/// Where settings come from.
pub(super) struct Settings<'a> {
    pub flags: &'a BTreeMap<String, Sourced<String>>,
    /// The merged files with the flags laid over them.
    pub config: &'a Node,
    /// The `--config` file.
    pub file: Option<&'a str>,
}

/// `pkg/kubelet/eviction/defaults_linux.go`.
const EVICTION_DEFAULTS: [(&str, &str); 5] =
    [("memory.available", "100Mi"), ("nodefs.available", "10%"), ("nodefs.inodesFree", "5%"), ("imagefs.available", "15%"), ("imagefs.inodesFree", "5%")];

/// Every setting that is a fact; the files themselves are filled in by the caller.
/// Defaults are those of `pkg/kubelet/apis/config/v1beta1/defaults.go` and `cmd/kubelet/app/options/options.go`.
pub(super) fn kubelet(settings: &Settings, command_line_source: String) -> Kubelet {
    let text = |path: &[&str]| settings.text(path);
    let text_or = |field: &str, default: &str| settings.text(&[field]).unwrap_or_else(|| Sourced::default_value(default.to_owned()));
    let flag_or = |name: &str, default: &str| {
        settings.flags.get(name).filter(|flag| !flag.value.is_empty()).cloned().unwrap_or_else(|| Sourced::default_value(default.to_owned()))
    };
    let bool_or = |field: &str, default: bool| settings.bool(field).unwrap_or_else(|| Sourced::default_value(default));
    Kubelet {
        command_line_source,
        version: None,
        flags: BTreeMap::new(),
        other_flags: Vec::new(),
        odd_flags: Vec::new(),
        settings: settings.all(),
        config: None,
        config_dir: None,
        drop_ins: Vec::new(),
        ignored_fields: Vec::new(),
        kubeconfig: None,
        bootstrap_kubeconfig: None,
        client_ca_file: text(&["authentication", "x509", "clientCAFile"]).map(|path| File { path, state: FileState::Valid }),
        root_dir: flag_or("root-dir", "/var/lib/kubelet"),
        cert_dir: flag_or("cert-dir", "/var/lib/kubelet/pki"),
        static_pod_path: text(&["staticPodPath"]),
        resolv_conf: settings.resolv_conf(),
        container_runtime_endpoint: text(&["containerRuntimeEndpoint"]),
        cgroup_driver: text_or("cgroupDriver", "cgroupfs"),
        healthz_bind_address: text_or("healthzBindAddress", "127.0.0.1"),
        healthz_port: settings.number("healthzPort", 10_248),
        address: text(&["address"]),
        port: settings.number("port", 10_250),
        cluster_dns: settings.cluster_dns(),
        fail_swap_on: bool_or("failSwapOn", true),
        fail_cgroup_v1: settings.bool("failCgroupV1"),
        rotate_certificates: bool_or("rotateCertificates", false),
        server_tls_bootstrap: bool_or("serverTLSBootstrap", false),
        tls_cert_file: text(&["tlsCertFile"]),
        tls_private_key_file: text(&["tlsPrivateKeyFile"]),
        image_gc_high_threshold_percent: settings.number("imageGCHighThresholdPercent", 85),
        image_gc_low_threshold_percent: settings.number("imageGCLowThresholdPercent", 80),
        eviction_hard: settings.eviction_hard(),
        eviction_soft: settings.eviction_soft(),
        eviction_minimum_reclaim: settings.eviction_minimum_reclaim(),
        eviction_pressure_transition_seconds: settings.eviction_pressure_transition(),
        reservations: settings.reservations(),
        merge_default_eviction_settings: bool_or("mergeDefaultEvictionSettings", false),
        surroundings: Surroundings::default(),
    }
}

impl Settings<'_> {
    fn node(&self, path: &[&str]) -> Option<&Node> {
        self.config.find(path)
    }

    /// A string that is not empty.
    fn text(&self, path: &[&str]) -> Option<Sourced<String>> {
        let node = self.node(path)?;
        Some(node.sourced(node.text()?.to_owned())).filter(|text| !text.value.is_empty())
    }

    fn bool(&self, field: &str) -> Option<Sourced<bool>> {
        let node = self.node(&[field])?;
        Some(node.sourced(node.bool()?))
    }

    /// A number that fits its kind; what does not is refused elsewhere, and the default stands in for it here.
    fn number<T: TryFrom<i64>>(&self, field: &str, default: T) -> Sourced<T> {
        let set = self.node(&[field]).and_then(|node| Some(node.sourced(T::try_from(node.int()?).ok()?)));
        set.unwrap_or_else(|| Sourced::default_value(default))
    }

    /// Empty where it is set so: then pods inherit nothing.
    fn resolv_conf(&self) -> Sourced<String> {
        let written = self.node(&["resolvConf"]).and_then(|node| Some(node.sourced(node.text()?.to_owned())));
        written.unwrap_or_else(|| Sourced::default_value("/etc/resolv.conf".to_owned()))
    }

    fn cluster_dns(&self) -> Sourced<Vec<String>> {
        match self.node(&["clusterDNS"]) {
            Some(node) => node.sourced(node.items().iter().filter_map(Node::text).map(str::to_owned).collect()),
            None => Sourced::default_value(Vec::new()),
        }
    }

    /// The flag replaces everything. The `--config` file's mapping replaces the defaults, unless it merges them; a drop-in's is laid
    /// over what was there, the defaults included (`loadConfigFile` and `mergeKubeletConfigurations` of `cmd/kubelet/app/server.go`).
    fn eviction_hard(&self) -> Vec<EvictionThreshold> {
        let set = self.node(&["evictionHard"]);
        let of_drop_in = |node: &Node| node.at.line > 0 && self.file.is_some_and(|file| *node.at.file != *file);
        let merge = self.bool("mergeDefaultEvictionSettings").is_some_and(|merge| merge.value);
        let mut written: BTreeMap<String, Sourced<String>> = BTreeMap::new();
        if set.is_none_or(|node| node.entries().is_empty() || of_drop_in(node)) || merge {
            written.extend(EVICTION_DEFAULTS.map(|(signal, value)| (signal.to_owned(), Sourced::default_value(value.to_owned()))));
        }
        written.extend(set.iter().flat_map(|node| texts(node)));
        written.into_iter().filter_map(|(signal, value)| eviction_threshold(signal, &value, None)).collect()
    }

    fn reservations(&self) -> Vec<Reservation> {
        let of = |field: &'static str| {
            let amounts = self.node(&[field]).into_iter().flat_map(texts);
            amounts.filter_map(move |(resource, amount)| {
                let value = quantity(&amount.value).filter(|value| *value >= 0.0)?;
                Some(Reservation { field: field.to_owned(), resource, amount: Sourced::new(value, amount.source) })
            })
        };
        ["systemReserved", "kubeReserved"].into_iter().flat_map(of).collect()
    }

    fn map(&self, field: &str) -> BTreeMap<String, Sourced<String>> {
        self.node(&[field]).into_iter().flat_map(texts).collect()
    }

    fn eviction_minimum_reclaim(&self) -> Vec<EvictionThreshold> {
        self.map("evictionMinimumReclaim").into_iter().filter_map(|(signal, value)| eviction_threshold(signal, &value, None)).collect()
    }

    /// Zero stands for the default.
    fn eviction_pressure_transition(&self) -> Sourced<u64> {
        let written = self.text(&["evictionPressureTransitionPeriod"]);
        let seconds = |text: Sourced<String>| Some(Sourced::new(u64::try_from(duration(&text.value)? / 1_000_000_000).ok()?, text.source));
        written.and_then(seconds).filter(|period| period.value > 0).unwrap_or_else(|| Sourced::default_value(300))
    }

    /// A soft threshold without its grace period is refused by the kubelet, and not in effect.
    fn eviction_soft(&self) -> Vec<EvictionThreshold> {
        let grace = self.map("evictionSoftGracePeriod");
        self.map("evictionSoft")
            .into_iter()
            .filter_map(|(signal, value)| {
                let grace = duration(&grace.get(&signal)?.value)?;
                eviction_threshold(signal, &value, Some(u64::try_from(grace / 1_000_000_000).ok()?))
            })
            .collect()
    }

    /// Every field that is set. Lists stand in one line, headers may hold a credential.
    fn all(&self) -> BTreeMap<String, Sourced<String>> {
        let mut found = BTreeMap::new();
        flatten(self.config, "", &mut found);
        found
    }
}

/// More fields than a configuration has.
const MOST_SETTINGS: usize = 1_000;
/// A value is cut where nobody reads on, in characters.
const LONGEST: usize = 200;

fn flatten(node: &Node, path: &str, found: &mut BTreeMap<String, Sourced<String>>) {
    if found.len() >= MOST_SETTINGS || ["kind", "apiVersion", "staticPodURL", "staticPodURLHeader"].contains(&path) {
        return;
    }
    let plain = |node: &Node| node.text().map_or_else(|| node.to_string(), str::to_owned);
    let value = match &node.tree {
        Tree::Null => return,
        Tree::Map(entries) => {
            for (key, value) in entries {
                let below = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
                flatten(value, &below, found);
            }
            return;
        }
        Tree::List(items) if items.iter().any(|item| matches!(item.tree, Tree::Map(_) | Tree::List(_))) => {
            items.iter().enumerate().for_each(|(index, item)| flatten(item, &format!("{path}[{index}]"), found));
            return;
        }
        Tree::List(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        _ => plain(node),
    };
    found.insert(path.to_owned(), node.sourced(value.chars().take(LONGEST).collect()));
}

fn eviction_threshold(signal: String, value: &Sourced<String>, grace_seconds: Option<u64>) -> Option<EvictionThreshold> {
    let source = value.source.clone();
    threshold(&value.value).ok().flatten().map(|value| EvictionThreshold { signal, value, source, grace_seconds })
}

/// The strings of a mapping, each with its own place.
fn texts(node: &Node) -> impl Iterator<Item = (String, Sourced<String>)> {
    node.entries().iter().filter_map(|(key, value)| Some((key.name.clone(), value.sourced(value.text()?.to_owned()))))
}
