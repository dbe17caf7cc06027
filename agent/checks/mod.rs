//! What the facts mean. One check = one file here + its article of the same name; this list is the catalogue.
//!
//! A check is a pure function of facts and configuration.

pub mod node_not_kubernetes;

use crate::finding::Check;

/// Every check, in the order of the catalogue.
pub const ALL: &[&Check] = &[&node_not_kubernetes::CHECK];

/// The check of that code.
#[must_use]
pub fn get(code: &str) -> Option<&'static Check> {
    ALL.iter().copied().find(|check| check.code == code)
}
