//! How we learn it: the only code that touches the node.
//!
//! One file a domain, named like its facts. Each looks once for `check`; those that the daemon can wake by an event
//! (units, journal) also watch, putting what they learn on the [`board::Board`].

pub mod board;
pub mod certificates;
pub mod cni;
pub mod cri;
pub mod files_watch;
pub mod health;
pub mod host;
pub mod journal;
pub mod kube_proxy;
mod kubeconfig;
pub mod kubelet;
pub mod look;
pub mod node;
pub mod pressure;
pub mod runtime;
pub mod signals;
pub mod tls;
pub mod units;
mod yaml;

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use crate::config::Config;
use crate::facts::{Domain, Facts, Node, Observation, Observed, Timestamp};
use crate::finding::Signal;
use host::Host;

/// Looks at everything once. `signals` are the log lines that checks count, each with the check's code.
pub async fn round(host: &Host, config: &Config, signals: &[(&'static str, &'static Signal)]) -> Facts {
    let now = Timestamp::from(SystemTime::now());
    let mut facts = Facts::unobserved(now, Node::default());
    let mut observed = BTreeMap::new();
    let mut timed = |domain, start: Instant| {
        observed.insert(domain, Observation { at: now, took_ms: start.elapsed().as_secs_f64() * 1000.0 });
    };
    let start = Instant::now();
    facts.units = units::observe(host, config).await.into();
    timed(Domain::Units, start);
    let start = Instant::now();
    facts.journal = journal::observe(host, config, signals).into();
    timed(Domain::Journal, start);
    let start = Instant::now();
    let kubelet = kubelet::observe(host, &facts.units);
    facts.node = node::observe(host, config.node_name.clone(), Some(&kubelet));
    timed(Domain::Kubelet, start);
    let start = Instant::now();
    let mut found = certificates::observe(host, &kubelet, &facts.units, &config.certificates.paths);
    if host.is_live() {
        certificates::ask_all(host, &mut found, config.probes).await;
    }
    facts.certificates = Observed::Known(found);
    timed(Domain::Certificates, start);
    let start = Instant::now();
    facts.cni = cni::observe(host, Some(&kubelet), &facts.units).into();
    timed(Domain::Cni, start);
    let start = Instant::now();
    facts.runtime = Observed::Known(runtime::ask(host, config, &facts.units, runtime::observe(host, Some(&kubelet), &facts.units)).await);
    timed(Domain::Runtime, start);
    let start = Instant::now();
    facts.pressure = Observed::Known(pressure::observe(host, &kubelet, &facts.units, facts.runtime.known(), &pressure::Probe::new(config.pressure.clone())));
    timed(Domain::Pressure, start);
    let start = Instant::now();
    facts.kube_proxy = Observed::Known(kube_proxy::observe(host, Some(&kubelet), &facts.units));
    timed(Domain::KubeProxy, start);
    facts.kubelet = Observed::Known(kubelet);
    let start = Instant::now();
    facts.health = health::observe(&std::sync::Arc::new(host.clone()), config, &facts).await.into();
    timed(Domain::Health, start);
    facts.observed = observed;
    facts
}
