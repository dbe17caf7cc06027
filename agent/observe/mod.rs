//! How we learn it: the only code that touches the node.
//!
//! One file a domain, named like its facts. Each looks once for `check`; those that the daemon can wake by an event
//! (units, journal) also watch, putting what they learn on the [`board::Board`].

pub mod board;
pub mod certificates;
pub mod cni;
pub mod host;
pub mod journal;
pub mod kubelet;
pub mod pressure;
pub mod signals;
pub mod units;

use std::time::{Instant, SystemTime};

use crate::config::Config;
use crate::facts::{Domain, Facts, Node, Observation, Observed, Sourced, Timestamp};
use host::Host;

/// Looks at everything once.
pub async fn round(host: &Host, name: Option<Sourced<String>>) -> Facts {
    let now = Timestamp::from(SystemTime::now());
    let mut facts = Facts::unobserved(now, node(host, name));
    let mut timed = |domain, start: Instant| {
        facts.observed.insert(domain, Observation { at: now, took_ms: start.elapsed().as_secs_f64() * 1000.0 });
    };
    let start = Instant::now();
    let units = if host.is_live() || std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some() {
        match units::connect(host).await {
            Ok(connection) => units::observe(&connection).await,
            Err(blind) => Err(blind),
        }
    } else {
        units::from_files(host)
    };
    timed(Domain::Units, start);
    let start = Instant::now();
    let journal = journal::observe(host, &Config::default());
    timed(Domain::Journal, start);
    let start = Instant::now();
    let kubelet = kubelet::observe(host, None);
    timed(Domain::Kubelet, start);
    let start = Instant::now();
    let certificates = certificates::observe(host, &kubelet);
    timed(Domain::Certificates, start);
    let start = Instant::now();
    let cni = cni::observe(host, Some(&kubelet));
    timed(Domain::Cni, start);
    let start = Instant::now();
    let pressure = pressure::observe(host, &kubelet);
    timed(Domain::Pressure, start);
    facts.units = units.into();
    facts.journal = journal.into();
    facts.kubelet = Observed::Known(kubelet);
    facts.certificates = Observed::Known(certificates);
    facts.cni = cni.into();
    facts.pressure = Observed::Known(pressure);
    facts
}

fn node(host: &Host, name: Option<Sourced<String>>) -> Node {
    let line = |path: &str| host.read_text(path, 1 << 16).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let signs = [
        "/etc/kubernetes/kubelet.conf",
        "/etc/kubernetes/manifests",
        "/etc/kubernetes/pki",
        "/var/lib/kubelet",
        "/var/lib/rancher/k3s",
        "/var/lib/rancher/rke2",
    ];
    Node {
        name: name.or_else(|| line("/etc/hostname").map(|name| Sourced::new(name.to_lowercase(), "/etc/hostname"))),
        root: host.path().display().to_string(),
        live: host.is_live(),
        signs: signs.into_iter().filter(|path| host.exists(path).unwrap_or(false)).map(str::to_owned).collect(),
        os: line("/etc/os-release").and_then(|text| Some(text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?.trim_matches('"').to_owned())),
        kernel: line("/proc/sys/kernel/osrelease"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        control_plane: host.exists("/etc/kubernetes/manifests/kube-apiserver.yaml").unwrap_or(false),
    }
}
