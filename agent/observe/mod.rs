//! How we learn it: the only code that touches the node.

pub mod cni;
pub mod host;
pub mod pressure;
