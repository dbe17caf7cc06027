//! Every threshold and path that can be set.

use serde::{Deserialize, Serialize};

/// The effective configuration. Every key is optional in the file; unknown keys are refused with their line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: std::net::SocketAddr,
    pub node_name: Option<String>,
    pub state_dir: Option<std::path::PathBuf>,
    pub intervals: Intervals,
    pub certificates: Certificates,
    pub units: Units,
}

/// How certificates are judged, and which others there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certificates {
    /// Days left at which a certificate is `certificate-expiring`.
    pub expiring_days: u32,
    /// Days left at which a certificate is `certificate-expiring-soon`.
    pub expiring_soon_days: u32,
    /// Further certificate files of the node.
    pub paths: Vec<String>,
}

impl Default for Certificates {
    fn default() -> Self {
        Self { expiring_days: 30, expiring_soon_days: 7, paths: Vec::new() }
    }
}

/// Which systemd units are watched, besides those a Kubernetes node lives by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Units {
    /// Names, as systemd knows them: `my-runtime.service`.
    pub watch: Vec<String>,
}

/// How often the node is looked at without an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intervals {
    pub resync: std::time::Duration,
    pub pressure: std::time::Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self { resync: std::time::Duration::from_mins(5), pressure: std::time::Duration::from_secs(10) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 20258).into(),
            node_name: None,
            state_dir: None,
            intervals: Intervals::default(),
            certificates: Certificates::default(),
            units: Units::default(),
        }
    }
}
