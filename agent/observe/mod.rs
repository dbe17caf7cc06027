//! How we learn it: the only code that touches the node.

pub mod certificates;
pub mod cni;
pub mod host;
pub mod kubelet;
pub mod pressure;
