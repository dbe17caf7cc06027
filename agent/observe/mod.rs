//! How we learn it: the only code that touches the node.
//!
//! One file a domain, named like its facts. Each looks once for `check`; those that the daemon can wake by an event
//! (units, journal) also watch, putting what they learn on the [`board::Board`].

pub mod board;
pub mod certificates;
pub mod cni;
pub mod files_watch;
pub mod host;
pub mod journal;
mod kubeconfig;
pub mod kubelet;
pub mod look;
pub mod node;
pub mod pressure;
pub mod runtime;
pub mod units;
mod yaml;

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use crate::config::Config;
use crate::facts::{Blind, Domain, Facts, Node, Observation, Observed, Timestamp};
use host::Host;

/// Looks at everything once.
pub async fn round(host: &Host, name: Option<String>) -> Facts {
    let now = Timestamp::from(SystemTime::now());
    let mut facts = Facts::unobserved(now, Node::default());
    let mut observed = BTreeMap::new();
    let mut timed = |domain, start: Instant| {
        observed.insert(domain, Observation { at: now, took_ms: start.elapsed().as_secs_f64() * 1000.0 });
    };
    let start = Instant::now();
    let units = units::observe(host, &Config::default()).await;
    timed(Domain::Units, start);
    let start = Instant::now();
    facts.units = units.into();
    let kubelet = kubelet::observe(host, &facts.units);
    facts.node = node::observe(host, name, Some(&kubelet));
    timed(Domain::Kubelet, start);
    let start = Instant::now();
    let certificates = certificates::observe(host, &kubelet, &[]);
    timed(Domain::Certificates, start);
    let start = Instant::now();
    let cni = cni::observe(host, Some(&kubelet));
    timed(Domain::Cni, start);
    let start = Instant::now();
    let pressure = pressure::observe(host, &kubelet);
    timed(Domain::Pressure, start);
    facts.journal = Observed::Unknown(Blind::new("reading the journal is not built yet"));
    facts.kubelet = Observed::Known(kubelet);
    facts.certificates = Observed::Known(certificates);
    facts.cni = cni.into();
    facts.pressure = Observed::Known(pressure);
    facts.observed = observed;
    facts
}
