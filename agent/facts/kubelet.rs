use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Blind, Sourced};

/// How the kubelet is configured, each value with where it came from.
///
/// Precedence is the kubelet's (`cmd/kubelet/app/server.go`): flags over the `--config` file over defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kubelet {
    /// `/proc/<pid>/cmdline`, `kubelet.service ExecStart`, or `default` where neither could be read.
    pub command_line_source: String,
    /// The flags we know and keep, by name without dashes; other flags are dropped, for they may carry secrets.
    pub flags: BTreeMap<String, String>,
    /// The `--config` file; absent when the kubelet runs by flags alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<File>,
    /// Fields of the `--config` file that the kubelet ignores: unknown or duplicate.
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
    /// `containerRuntimeEndpoint`; absent where the kubelet uses its own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_runtime_endpoint: Option<Sourced<String>>,
    pub rotate_certificates: Sourced<bool>,
    /// The hard eviction thresholds in effect, one a signal.
    pub eviction_hard: Vec<EvictionThreshold>,
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
    /// There, and not what it should be.
    Invalid(Fault),
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
    pub line: u64,
    /// A second appearance of a key; otherwise the key is unknown.
    pub duplicate: bool,
    /// The known field it most resembles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did_you_mean: Option<String>,
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

/// One hard eviction threshold (`pkg/kubelet/eviction/api/types.go`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvictionThreshold {
    /// `memory.available`, `nodefs.available`, `nodefs.inodesFree`, `imagefs.available`, `imagefs.inodesFree`, `pid.available`.
    pub signal: String,
    pub value: ThresholdValue,
    pub source: String,
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

impl Kubelet {
    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        [self.config.as_ref(), self.kubeconfig.as_ref().map(|kubeconfig| &kubeconfig.file), self.client_ca_file.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|file| match &file.state {
                FileState::Unreadable(blind) => Some(blind),
                _ => None,
            })
            .collect()
    }

    #[must_use]
    pub fn eviction_threshold(&self, signal: &str) -> Option<&EvictionThreshold> {
        self.eviction_hard.iter().find(|threshold| threshold.signal == signal)
    }
}

impl Kubelet {
    /// The node was joined to a cluster once: there is a kubeconfig.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.kubeconfig.as_ref().is_none_or(|kubeconfig| kubeconfig.file.state != FileState::Missing)
    }
}
