//! The settings in effect: a flag, else the merged files, else the kubelet's default.

use std::collections::BTreeMap;

use super::quantity::{duration, quantity, threshold};
use crate::facts::kubelet::{EvictionThreshold, File, FileState, Reservation, Surroundings};
use crate::facts::{Kubelet, Sourced};
use crate::observe::yaml::Node;

/// Where settings come from.
pub(super) struct Settings<'a> {
    pub flags: &'a BTreeMap<String, Sourced<String>>,
    pub config: Option<&'a Node>,
}

/// `pkg/kubelet/eviction/defaults_linux.go`.
const EVICTION_DEFAULTS: [(&str, &str); 5] =
    [("memory.available", "100Mi"), ("nodefs.available", "10%"), ("nodefs.inodesFree", "5%"), ("imagefs.available", "15%"), ("imagefs.inodesFree", "5%")];

/// Every setting that is a fact; the files themselves are filled in by the caller.
/// Defaults are those of `pkg/kubelet/apis/config/v1beta1/defaults.go` and `cmd/kubelet/app/options/options.go`.
pub(super) fn kubelet(settings: &Settings, command_line_source: String) -> Kubelet {
    let text = |flag: &str, path: &[&str]| settings.text(flag, path);
    let text_or = |flag: &str, path: &[&str], default: &str| settings.text(flag, path).unwrap_or_else(|| Sourced::default_value(default.to_owned()));
    Kubelet {
        command_line_source,
        flags: BTreeMap::new(),
        other_flags: Vec::new(),
        config: None,
        config_dir: None,
        drop_ins: Vec::new(),
        ignored_fields: Vec::new(),
        kubeconfig: None,
        bootstrap_kubeconfig: None,
        client_ca_file: text("client-ca-file", &["authentication", "x509", "clientCAFile"]).map(|path| File { path, state: FileState::Valid }),
        root_dir: text_or("root-dir", &[], "/var/lib/kubelet"),
        cert_dir: text_or("cert-dir", &[], "/var/lib/kubelet/pki"),
        static_pod_path: text("pod-manifest-path", &["staticPodPath"]),
        resolv_conf: settings.resolv_conf(),
        container_runtime_endpoint: text("container-runtime-endpoint", &["containerRuntimeEndpoint"]),
        cgroup_driver: text_or("cgroup-driver", &["cgroupDriver"], "cgroupfs"),
        healthz_bind_address: text_or("healthz-bind-address", &["healthzBindAddress"], "127.0.0.1"),
        healthz_port: settings.number("healthz-port", "healthzPort", 10_248),
        address: text("address", &["address"]),
        port: settings.number("port", "port", 10_250),
        cluster_dns: settings.cluster_dns(),
        fail_swap_on: settings.bool("fail-swap-on", "failSwapOn").unwrap_or_else(|| Sourced::default_value(true)),
        fail_cgroup_v1: settings.bool("fail-cgroupv1", "failCgroupV1"),
        rotate_certificates: settings.bool("rotate-certificates", "rotateCertificates").unwrap_or_else(|| Sourced::default_value(false)),
        server_tls_bootstrap: settings.bool("rotate-server-certificates", "serverTLSBootstrap").unwrap_or_else(|| Sourced::default_value(false)),
        tls_cert_file: text("tls-cert-file", &["tlsCertFile"]),
        tls_private_key_file: text("tls-private-key-file", &["tlsPrivateKeyFile"]),
        image_gc_high_threshold_percent: settings.number("image-gc-high-threshold", "imageGCHighThresholdPercent", 85),
        image_gc_low_threshold_percent: settings.number("image-gc-low-threshold", "imageGCLowThresholdPercent", 80),
        eviction_hard: settings.eviction_hard(),
        eviction_soft: settings.eviction_soft(),
        eviction_minimum_reclaim: settings.eviction_minimum_reclaim(),
        eviction_pressure_transition_seconds: settings.eviction_pressure_transition(),
        reserved_memory: settings.reserved_memory(),
        merge_default_eviction_settings: settings.bool("", "mergeDefaultEvictionSettings").unwrap_or_else(|| Sourced::default_value(false)),
        surroundings: Surroundings::default(),
    }
}

impl Settings<'_> {
    fn flag(&self, name: &str) -> Option<&Sourced<String>> {
        self.flags.get(name)
    }

    fn file(&self, path: &[&str]) -> Option<&Node> {
        if path.is_empty() { None } else { self.config?.find(path) }
    }

    /// A string that is not empty.
    fn text(&self, flag: &str, path: &[&str]) -> Option<Sourced<String>> {
        let written = || self.file(path).and_then(|node| Some(node.sourced(node.text()?.to_owned())));
        self.flag(flag).cloned().or_else(written).filter(|text| !text.value.is_empty())
    }

    fn bool(&self, flag: &str, field: &str) -> Option<Sourced<bool>> {
        // As strconv.ParseBool.
        let parse = |text: &str| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        };
        let set = self.flag(flag).and_then(|flag| Some(Sourced::new(parse(&flag.value)?, flag.source.clone())));
        set.or_else(|| self.file(&[field]).and_then(|node| Some(node.sourced(node.bool()?))))
    }

    /// A number that fits its kind; what does not is refused elsewhere, and the default stands in for it here.
    fn number<T: TryFrom<i64> + std::str::FromStr>(&self, flag: &str, field: &str, default: T) -> Sourced<T> {
        let set = self.flag(flag).and_then(|flag| Some(Sourced::new(flag.value.parse().ok()?, flag.source.clone())));
        let written = || self.file(&[field]).and_then(|node| Some(node.sourced(T::try_from(node.int()?).ok()?)));
        set.or_else(written).unwrap_or_else(|| Sourced::default_value(default))
    }

    /// Empty where it is set so: then pods inherit nothing.
    fn resolv_conf(&self) -> Sourced<String> {
        let written = || self.file(&["resolvConf"]).and_then(|node| Some(node.sourced(node.text()?.to_owned())));
        self.flag("resolv-conf").cloned().or_else(written).unwrap_or_else(|| Sourced::default_value("/etc/resolv.conf".to_owned()))
    }

    fn cluster_dns(&self) -> Sourced<Vec<String>> {
        if let Some(flag) = self.flag("cluster-dns") {
            return Sourced::new(flag.value.split(',').filter(|server| !server.is_empty()).map(str::to_owned).collect(), flag.source.clone());
        }
        match self.file(&["clusterDNS"]) {
            Some(node) => node.sourced(node.items().iter().filter_map(Node::text).map(str::to_owned).collect()),
            None => Sourced::default_value(Vec::new()),
        }
    }

    /// The flag replaces everything. The `--config` file's mapping replaces the defaults, unless it merges them; a drop-in's is laid
    /// over what was there, the defaults included (`loadConfigFile` and `mergeKubeletConfigurations` of `cmd/kubelet/app/server.go`).
    fn eviction_hard(&self) -> Vec<EvictionThreshold> {
        let mut written: BTreeMap<String, Sourced<String>> = BTreeMap::new();
        if let Some(flag) = self.flag("eviction-hard") {
            written.extend(pairs(flag, '<'));
        } else {
            let file = self.file(&["evictionHard"]);
            let of_drop_in = |node: &Node| self.config.is_some_and(|config| node.at.file != config.at.file);
            let merge = self.bool("", "mergeDefaultEvictionSettings").is_some_and(|merge| merge.value);
            if file.is_none_or(|node| node.entries().is_empty() || of_drop_in(node)) || merge {
                written.extend(EVICTION_DEFAULTS.map(|(signal, value)| (signal.to_owned(), Sourced::default_value(value.to_owned()))));
            }
            written.extend(file.iter().flat_map(|node| texts(node)));
        }
        written.into_iter().filter_map(|(signal, value)| eviction_threshold(signal, &value, None)).collect()
    }

    fn reserved_memory(&self) -> Vec<Reservation> {
        let of = |(flag, field): (&str, &str)| {
            let memory = match self.flag(flag) {
                Some(flag) => pairs(flag, '=').find(|(resource, _)| resource == "memory")?.1,
                None => self.file(&[field, "memory"]).and_then(|node| Some(node.sourced(node.text()?.to_owned())))?,
            };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
            let bytes = Sourced::new(quantity(&memory.value).filter(|bytes| *bytes >= 0.0)? as u64, memory.source);
            Some(Reservation { field: field.to_owned(), bytes })
        };
        [("system-reserved", "systemReserved"), ("kube-reserved", "kubeReserved")].into_iter().filter_map(of).collect()
    }

    /// A mapping of a flag, else of a field.
    fn map(&self, flag: &str, field: &str, separator: char) -> BTreeMap<String, Sourced<String>> {
        match self.flag(flag) {
            Some(flag) => pairs(flag, separator).collect(),
            None => self.file(&[field]).iter().flat_map(|node| texts(node)).collect(),
        }
    }

    fn eviction_minimum_reclaim(&self) -> Vec<EvictionThreshold> {
        let written = self.map("eviction-minimum-reclaim", "evictionMinimumReclaim", '=');
        written.into_iter().filter_map(|(signal, value)| eviction_threshold(signal, &value, None)).collect()
    }

    /// Zero stands for the default.
    fn eviction_pressure_transition(&self) -> Sourced<u64> {
        let field = ["evictionPressureTransitionPeriod"];
        let written = self.text("eviction-pressure-transition-period", &field);
        let seconds = |text: Sourced<String>| Some(Sourced::new(u64::try_from(duration(&text.value)? / 1_000_000_000).ok()?, text.source));
        written.and_then(seconds).filter(|period| period.value > 0).unwrap_or_else(|| Sourced::default_value(300))
    }

    /// A soft threshold without its grace period is refused by the kubelet, and not in effect.
    fn eviction_soft(&self) -> Vec<EvictionThreshold> {
        let grace = self.map("eviction-soft-grace-period", "evictionSoftGracePeriod", '=');
        self.map("eviction-soft", "evictionSoft", '<')
            .into_iter()
            .filter_map(|(signal, value)| {
                let grace = duration(&grace.get(&signal)?.value)?;
                eviction_threshold(signal, &value, Some(u64::try_from(grace / 1_000_000_000).ok()?))
            })
            .collect()
    }
}

fn eviction_threshold(signal: String, value: &Sourced<String>, grace_seconds: Option<u64>) -> Option<EvictionThreshold> {
    let source = value.source.clone();
    threshold(&value.value).ok().flatten().map(|value| EvictionThreshold { signal, value, source, grace_seconds })
}

/// `a<1,b<2` of a flag.
fn pairs(flag: &Sourced<String>, separator: char) -> impl Iterator<Item = (String, Sourced<String>)> {
    let pairs = flag.value.split(',').filter_map(move |pair| pair.split_once(separator));
    pairs.map(|(key, value)| (key.trim().to_owned(), Sourced::new(value.trim().to_owned(), flag.source.clone())))
}

/// The strings of a mapping, each with its own place.
fn texts(node: &Node) -> impl Iterator<Item = (String, Sourced<String>)> {
    node.entries().iter().filter_map(|(key, value)| Some((key.name.clone(), value.sourced(value.text()?.to_owned()))))
}
