//! Who is told: readers of a [`crate::diagnose::Report`], never of the node.

pub mod text;
