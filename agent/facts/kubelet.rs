use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Blind, Observed, Sourced};

/// How the kubelet is configured, each value with where it came from.
///
/// Precedence is the kubelet's (`cmd/kubelet/app/server.go`): flags over `--config-dir` drop-ins over the `--config` file over defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kubelet {
    /// `/proc/<pid>/cmdline`, the unit file with its ExecStart, or `default` where neither could be read.
    pub command_line_source: String,
    /// The kubelet that is installed, as `1.36.2`; absent where nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Sourced<String>>,
    /// The flags we know, by name without dashes; the values of others are dropped, for they may be secrets.
    pub flags: BTreeMap<String, Sourced<String>>,
    /// The names of the other flags, each with where it was set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_flags: Vec<Sourced<String>>,
    /// Flags that some kubelet refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub odd_flags: Vec<OddFlag>,
    /// Every field of the configuration that is set, dotted, as flags and files together have it: `evictionHard.memory.available`.
    /// What is not here has the kubelet's default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Sourced<String>>,
    /// The `--config` file; absent when the kubelet runs by flags alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<File>,
    /// The `--config-dir` directory, if set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_dir: Option<File>,
    /// The `*.conf` files in it, in the order they are merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_ins: Vec<File>,
    /// Fields of these files that the kubelet ignores: unknown or duplicate.
    #[serde(default)]
    pub ignored_fields: Vec<IgnoredField>,
    /// `--kubeconfig`; absent in standalone mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<Kubeconfig>,
    /// `--bootstrap-kubeconfig`, used only while the kubeconfig has no usable certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_kubeconfig: Option<File>,
    /// `authentication.x509.clientCAFile` or `--client-ca-file`, if set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<File>,
    pub root_dir: Sourced<String>,
    /// `--cert-dir`.
    pub cert_dir: Sourced<String>,
    /// `staticPodPath`, if set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_pod_path: Option<Sourced<String>>,
    /// `resolvConf`: what pods inherit their resolvers from; empty for none.
    pub resolv_conf: Sourced<String>,
    /// `containerRuntimeEndpoint`; absent where the kubelet uses its own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_runtime_endpoint: Option<Sourced<String>>,
    /// `cgroupDriver`, which a runtime that tells its own driver overrides.
    pub cgroup_driver: Sourced<String>,
    pub healthz_bind_address: Sourced<String>,
    /// `healthzPort`; 0 switches it off.
    pub healthz_port: Sourced<u16>,
    /// `address`, if set: where the kubelet's own API listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Sourced<String>>,
    /// `port`: the kubelet's own API, 10250 by default.
    pub port: Sourced<u16>,
    pub cluster_dns: Sourced<Vec<String>>,
    pub fail_swap_on: Sourced<bool>,
    /// `failCgroupV1`, if set: its default changed from false to true in 1.35.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_cgroup_v1: Option<Sourced<bool>>,
    pub rotate_certificates: Sourced<bool>,
    /// `serverTLSBootstrap`: the serving certificate is requested from the cluster.
    pub server_tls_bootstrap: Sourced<bool>,
    /// `tlsCertFile`, if set: the serving certificate is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cert_file: Option<Sourced<String>>,
    /// `tlsPrivateKeyFile`, if set: that certificate's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_private_key_file: Option<Sourced<String>>,
    /// `imageGCHighThresholdPercent`: disk usage at which images are removed.
    pub image_gc_high_threshold_percent: Sourced<u8>,
    /// `imageGCLowThresholdPercent`: disk usage down to which images are removed.
    pub image_gc_low_threshold_percent: Sourced<u8>,
    /// The hard eviction thresholds in effect, one a signal.
    pub eviction_hard: Vec<EvictionThreshold>,
    /// The soft eviction thresholds in effect, one a signal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eviction_soft: Vec<EvictionThreshold>,
    /// `evictionMinimumReclaim`: how much more than its threshold the kubelet makes available, one a signal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eviction_minimum_reclaim: Vec<EvictionThreshold>,
    /// `evictionPressureTransitionPeriod`, in seconds: how long a condition stays after its threshold was last crossed.
    #[serde(default = "transition_period")]
    pub eviction_pressure_transition_seconds: Sourced<u64>,
    /// What `systemReserved` and `kubeReserved` set aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<Reservation>,
    /// `mergeDefaultEvictionSettings`: thresholds the file leaves out keep their defaults.
    pub merge_default_eviction_settings: Sourced<bool>,
    pub surroundings: Surroundings,
}

/// `pkg/kubelet/apis/config/v1beta1/defaults.go`.
fn transition_period() -> Sourced<u64> {
    Sourced::default_value(300)
}

/// What the configuration meets on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The name the kubelet registers under: `--hostname-override`, else the hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<Sourced<String>>,
    /// The rows of `/proc/swaps`; absent where no kernel runs to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Vec<Swap>>,
    /// 1 or 2, by what is mounted at `/sys/fs/cgroup`; absent where no kernel runs to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_version: Option<u8>,
    /// What lies at `staticPodPath`, if it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_pods: Option<FileState>,
    /// The manifests of static pods there, in the order in which the kubelet reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Manifest>,
    /// What lies at `resolvConf`, unless that is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Resolver>,
    /// Who may read and write the kubelet's configuration files and kubeconfigs; absent where no node runs, for a copy of a
    /// disk keeps no owners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<Permissions>,
    /// CPUs that are online; absent where no kernel runs to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// The node names under which static pods of this node have run, by their log directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirror_names: Vec<Sourced<String>>,
    /// The addresses of the node's interfaces, where `--node-ip` is to be held against them; absent where no kernel runs to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Observed<Vec<IpAddr>>>,
    /// What lies at `volumePluginDir`, if it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_plugins: Option<FileState>,
    /// API server addresses that others on this node use: `https://192.0.2.1:6443` of other kubeconfigs and of the
    /// API server's own manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_servers: Vec<Sourced<String>>,
}

/// A manifest of a static pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub path: String,
    /// Whether the kubelet takes it.
    pub state: FileState,
    /// `kube-system/kube-apiserver`: the pod that it describes, as far as it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// What it names of the node's files and is not there, in the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Fault>,
}

impl Manifest {
    /// `kube-apiserver` of `/etc/kubernetes/manifests/kube-apiserver.yaml`: kubeadm and kops call a manifest as what it runs.
    #[must_use]
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().unwrap_or_default()
    }

    /// The kubelet refuses it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.state, FileState::Invalid(_))
    }
}

/// Owner and mode of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    pub path: String,
    pub uid: u32,
    /// The nine bits, as chmod(1) takes them.
    pub mode: u32,
    /// A key, a token or a password stands in it.
    pub secret: bool,
}

/// What pods do not get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// `systemReserved` or `kubeReserved`.
    pub field: String,
    /// `cpu`, `memory`, `ephemeral-storage` or `pid`.
    pub resource: String,
    /// CPUs, bytes or processes.
    pub amount: Sourced<f64>,
}

/// A flag that some kubelet refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OddFlag {
    /// Without dashes; the word itself where it is no flag.
    pub name: String,
    pub source: String,
    pub oddity: Oddity,
    /// The kubelet's process has it. Otherwise it would be started with it.
    pub live: bool,
}

/// Why a flag may be refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Oddity {
    /// No kubelet from [`OLDEST`] to [`NEWEST`] has it.
    Unknown {
        /// The flag it most resembles.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        did_you_mean: Option<String>,
    },
    /// Older kubelets have it, and from this minor release of Kubernetes 1 on none.
    Gone { release: u32 },
    /// Its value is none that a kubelet takes: what is wrong with it.
    Refused(String),
}

/// The oldest minor release of Kubernetes 1 whose flags and fields are known here.
pub const OLDEST: u32 = 20;
/// The newest one.
pub const NEWEST: u32 = 36;

/// A swap device or file in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    pub path: String,
    pub bytes: u64,
}

/// A resolv.conf(5) that pods inherit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    pub state: FileState,
    /// In the order of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<Sourced<String>>,
    /// The domains of the last `search` line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Sourced<Vec<String>>>,
    /// systemd-resolved's file of the real servers, where it is there and names some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
}

/// A file that the kubelet needs, where its path was set, and what lies there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub path: Sourced<String>,
    pub state: FileState,
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// There, and what it should be.
    Valid,
    Missing,
    /// There, and not what it should be: the faults in the order of the file, at least one.
    Invalid(Vec<Fault>),
    Unreadable(Blind),
}

/// What is wrong with a file, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub message: String,
    /// Counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

impl Fault {
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: None, column: None }
    }

    #[must_use]
    pub fn at(message: impl Into<String>, line: u64, column: u64) -> Self {
        Self { message: message.into(), line: Some(line), column: Some(column) }
    }

    /// `/path:12:3`, as editors take it.
    #[must_use]
    pub fn place(&self, path: &str) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{path}:{line}:{column}"),
            (Some(line), None) => format!("{path}:{line}"),
            _ => path.to_owned(),
        }
    }
}

/// A field in the configuration file that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredField {
    /// Dotted, from the top: `authentication.x509.clientCaFile`.
    pub field: String,
    /// The file it stands in.
    pub path: String,
    pub line: u64,
    pub column: u64,
    /// A second appearance of a key; otherwise the key is unknown.
    pub duplicate: bool,
    /// The known field it most resembles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did_you_mean: Option<String>,
    /// A known field that the installed kubelet is too old for: the minor release of Kubernetes 1 that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u32>,
}

/// The kubelet's kubeconfig as its current context resolves it. Credentials are not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubeconfig {
    pub file: File,
    /// `clusters[].cluster.server` of the current context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Sourced<String>>,
    /// The user's name in the current context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the client certificate is: a path, or `inline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Sourced<String>>,
}

/// One eviction threshold (`pkg/kubelet/eviction/api/types.go`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvictionThreshold {
    /// `memory.available`, `nodefs.available`, `nodefs.inodesFree`, `imagefs.available`, `imagefs.inodesFree`, `pid.available`.
    pub signal: String,
    pub value: ThresholdValue,
    /// The line of this very threshold, a flag, or `default`.
    pub source: String,
    /// How long a soft threshold must be crossed before pods are evicted, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
}

/// A threshold as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThresholdValue {
    /// Of the capacity, 0 to 100, as written.
    Percent(f32),
    /// Bytes, inodes or processes.
    Quantity(u64),
}

impl ThresholdValue {
    /// The threshold in the signal's unit, by the kubelet's arithmetic (`GetThresholdQuantity`):
    /// `int64(float64(capacity) * float64(float32 percentage))`.
    #[must_use]
    pub fn of(self, capacity: u64) -> u64 {
        match self {
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as the kubelet rounds
            Self::Percent(percent) => (capacity as f64 * f64::from(percent / 100.0)) as u64,
            Self::Quantity(quantity) => quantity,
        }
    }
}

impl std::fmt::Display for ThresholdValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Quantity(quantity) => write!(f, "{quantity}"),
        }
    }
}

impl File {
    /// Its faults, if it is there and not what it should be.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        match &self.state {
            FileState::Invalid(faults) => faults,
            _ => &[],
        }
    }
}

impl Kubelet {
    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        let files = [
            self.config.as_ref(),
            self.config_dir.as_ref(),
            self.kubeconfig.as_ref().map(|kubeconfig| &kubeconfig.file),
            self.bootstrap_kubeconfig.as_ref(),
            self.client_ca_file.as_ref(),
        ];
        files
            .into_iter()
            .flatten()
            .chain(&self.drop_ins)
            .map(|file| &file.state)
            .chain(self.surroundings.manifests.iter().map(|manifest| &manifest.state))
            .filter_map(|state| match state {
                FileState::Unreadable(blind) => Some(blind),
                _ => None,
            })
            .chain(self.surroundings.addresses.as_ref().and_then(Observed::blind))
            .collect()
    }

    /// The files the configuration is read from, in the order they are merged.
    pub fn config_files(&self) -> impl Iterator<Item = &File> {
        self.config.iter().chain(&self.drop_ins)
    }

    /// The minor release of the installed kubelet: 36 of 1.36.2.
    #[must_use]
    pub fn release(&self) -> Option<u32> {
        Self::release_of(self.version.as_ref())
    }

    /// The minor release of a version of Kubernetes 1.
    #[must_use]
    pub fn release_of(version: Option<&Sourced<String>>) -> Option<u32> {
        version?.value.strip_prefix("1.")?.split('.').next()?.parse().ok()
    }

    /// What a field of the configuration is set to; absent where it has its default.
    #[must_use]
    pub fn setting(&self, field: &str) -> Option<&Sourced<String>> {
        self.settings.get(field)
    }

    #[must_use]
    pub fn eviction_threshold(&self, signal: &str) -> Option<&EvictionThreshold> {
        self.eviction_hard.iter().find(|threshold| threshold.signal == signal)
    }

    /// Where this node's own API server listens, by its manifest; absent where it has none.
    #[must_use]
    pub fn own_api_server(&self) -> Option<&Sourced<String>> {
        self.surroundings.api_servers.iter().find(|server| server.source.contains("/kube-apiserver.yaml:"))
    }

    /// The port of this node's own API server and where that is told: its manifest, or where the kubelet refuses that one, the usual port.
    #[must_use]
    pub fn own_api_server_port(&self) -> Option<(u16, &str)> {
        const USUAL: u16 = 6443;
        let written = self.own_api_server().and_then(|server| Some((endpoint(&server.value).ok()?.1, server.source.as_str())));
        let refused = || self.surroundings.manifests.iter().find(|manifest| manifest.stem() == "kube-apiserver" && manifest.is_refused());
        written.or_else(|| Some((USUAL, refused()?.path.as_str())))
    }

    /// The node was joined to a cluster once, or is just joining: there is a kubeconfig, or a file to make one with.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        let there = |file: &File| file.state != FileState::Missing;
        self.kubeconfig.as_ref().is_none_or(|kubeconfig| there(&kubeconfig.file)) || self.bootstrap_kubeconfig.as_ref().is_some_and(there)
    }

    /// There is a bootstrap kubeconfig that can be used: the kubelet makes itself a new kubeconfig with it.
    #[must_use]
    pub fn can_bootstrap(&self) -> bool {
        self.bootstrap_kubeconfig.as_ref().is_some_and(|file| file.state == FileState::Valid)
    }
}

/// Host and port of an API server's URL, as client-go takes it (`rest.DefaultServerURL`): the scheme may be left out.
///
/// # Errors
/// What is wrong with it.
pub fn endpoint(server: &str) -> Result<(String, u16), &'static str> {
    let (default_port, rest) = match server.split_once("://") {
        Some(("https", rest)) => (443, rest),
        Some(("http", rest)) => (80, rest),
        Some(_) => return Err("the scheme is neither https nor http"),
        None => (443, server),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or("after ] there is no port")?)),
            None => return Err("there is no closing ]"),
        },
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("there is no host");
    }
    if host.chars().any(|c| c.is_whitespace() || c.is_control() || "<>\"^`{|}\\".contains(c)) {
        return Err("the host holds a character that no host has");
    }
    let port = match port {
        None | Some("") => default_port,
        Some(port) => port.parse().map_err(|_| "the port is no number from 1 to 65535")?,
    };
    if port == 0 { Err("the port is no number from 1 to 65535") } else { Ok((host.to_owned(), port)) }
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn servers_as_client_go_takes_them() {
        let ok = |server: &str| endpoint(server).unwrap();
        assert_eq!(ok("https://192.0.2.1:6443"), ("192.0.2.1".to_owned(), 6443));
        assert_eq!(ok("https://api.example.com"), ("api.example.com".to_owned(), 443));
        assert_eq!(ok("https://[2001:db8::1]:6443/prefix"), ("2001:db8::1".to_owned(), 6443));
        assert_eq!(ok("192.0.2.1:6443"), ("192.0.2.1".to_owned(), 6443));
        for bad in ["", "https://", "ftp://x", "https://x:65536", "https://x:0", "https://x:64a3", "https://a b:6443", "https://[::1"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
