//! Every threshold and path that can be set.

use serde::{Deserialize, Serialize};

/// The effective configuration. Every key is optional in the file; unknown keys are refused with their line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Days left at which a certificate is `certificate-expiring`.
    pub certificate_expiring_days: u32,
    /// Days left at which a certificate is `certificate-expiring-soon`.
    pub certificate_expiring_soon_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { certificate_expiring_days: 30, certificate_expiring_soon_days: 7 }
    }
}
