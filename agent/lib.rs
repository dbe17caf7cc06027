#![doc = include_str!("ARCHITECTURE.md")]

// In the order the data flows: what is configured, what we know, how we learn it, what it means,
// what explains what, since when.
pub mod config;
pub mod facts;
pub mod observe;

pub mod finding;

pub mod checks;

pub mod diagnose;

pub mod history;

pub mod publish;

pub mod listen;
pub mod memory;
pub mod state;

pub mod daemon;
