//! What the facts mean. One check = one file here + its article of the same name; this list is the catalogue.
//!
//! A check is a pure function of facts and configuration.

pub mod cni_config_ambiguous;
pub mod cni_config_invalid;
pub mod cni_config_invalid_shadowed;
pub mod cni_config_missing;
pub mod cni_config_wrong_first;
pub mod cni_plugin_missing;
pub mod disk_pressure;
pub mod inode_pressure;
pub mod memory_pressure;
pub mod node_not_kubernetes;
pub mod pid_pressure;
mod pressure;

use crate::finding::Check;

/// Every check, in the order of the catalogue.
pub const ALL: &[&Check] = &[&memory_pressure::CHECK, &disk_pressure::CHECK, &inode_pressure::CHECK, &pid_pressure::CHECK, &node_not_kubernetes::CHECK];

/// The check of that code.
#[must_use]
pub fn get(code: &str) -> Option<&'static Check> {
    ALL.iter().copied().find(|check| check.code == code)
}
