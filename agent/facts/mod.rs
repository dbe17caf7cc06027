//! What we know of a node: plain data, states and never verdicts.
//!
//! One file a domain, named like its observer in [`crate::observe`]. Everything here is serde, so that
//! `nodetriage observe` on one machine and `nodetriage diagnose --facts` on another give the same report.
//! Secrets are dropped before a fact is made.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod certificates;
pub mod cni;
pub mod health;
pub mod journal;
pub mod kube_proxy;
pub mod kubelet;
pub mod node;
pub mod pressure;
pub mod record;
pub mod runtime;
pub mod shell;
pub mod timestamp;
pub mod units;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use certificates::Certificates;
pub use cni::Cni;
pub use health::Health;
pub use journal::Journal;
pub use kube_proxy::KubeProxy;
pub use kubelet::Kubelet;
pub use node::Node;
pub use pressure::Pressure;
pub use runtime::Runtime;
pub use timestamp::Timestamp;
pub use units::Units;

/// The version of the facts' own format; a file of another version is refused.
pub const SCHEMA: u32 = 1;

/// Everything one round of observation learned about a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub schema: u32,
    /// When this was put together, by the node's clock. The checks know no other clock.
    pub now: Timestamp,
    /// The instant certificates are judged at: `now`, or what `--at` asked for.
    pub certificates_at: Timestamp,
    pub node: Node,
    pub units: Observed<Units>,
    pub journal: Observed<Journal>,
    pub kubelet: Observed<Kubelet>,
    pub certificates: Observed<Certificates>,
    pub cni: Observed<Cni>,
    /// Absent from older files of facts.
    #[serde(default = "Observed::not_yet")]
    pub runtime: Observed<Runtime>,
    pub pressure: Observed<Pressure>,
    #[serde(default = "Observed::not_yet")]
    pub kube_proxy: Observed<KubeProxy>,
    #[serde(default = "Observed::not_yet")]
    pub health: Observed<Health>,
    /// When each domain was looked at, and how long that took.
    pub observed: BTreeMap<Domain, Observation>,
}

impl Facts {
    /// Facts of a node nobody has looked at yet: every domain is unknown.
    #[must_use]
    pub fn unobserved(now: Timestamp, node: Node) -> Self {
        Self {
            schema: SCHEMA,
            now,
            certificates_at: now,
            node,
            units: Observed::not_yet(),
            journal: Observed::not_yet(),
            kubelet: Observed::not_yet(),
            certificates: Observed::not_yet(),
            cni: Observed::not_yet(),
            runtime: Observed::not_yet(),
            pressure: Observed::not_yet(),
            kube_proxy: Observed::not_yet(),
            health: Observed::not_yet(),
            observed: BTreeMap::new(),
        }
    }

    /// What could not be seen: whole domains, and single things inside a domain that was seen.
    #[must_use]
    pub fn blind_spots(&self) -> Vec<(Domain, Blind)> {
        let mut spots = Vec::new();
        let mut domain = |domain, found: Vec<&Blind>| spots.extend(found.into_iter().map(|blind| (domain, blind.clone())));
        domain(Domain::Node, self.node.unseen.iter().collect());
        domain(Domain::Units, self.units.blind_or(Units::blind_spots));
        domain(Domain::Journal, self.journal.blind_or(|journal| journal.unseen.iter().chain(&journal.past.unseen).collect()));
        domain(Domain::Kubelet, self.kubelet.blind_or(Kubelet::blind_spots));
        domain(Domain::Certificates, self.certificates.blind_or(Certificates::blind_spots));
        domain(Domain::Cni, self.cni.blind_or(Cni::blind_spots));
        domain(Domain::Runtime, self.runtime.blind_or(Runtime::blind_spots));
        domain(Domain::Pressure, self.pressure.blind_or(Pressure::blind_spots));
        domain(Domain::KubeProxy, self.kube_proxy.blind_or(KubeProxy::blind_spots));
        domain(Domain::Health, self.health.blind_or(Health::blind_spots));
        spots
    }

    /// The node's name, or the word to replace in a command.
    #[must_use]
    pub fn node_name(&self) -> &str {
        self.node.name.as_ref().map_or("NODE-NAME", |name| name.value.as_str())
    }

    /// kubeadm can issue certificates here: this is a control-plane node, or has the CA's key as only one has, even if its
    /// manifests are gone.
    #[must_use]
    pub fn can_issue(&self) -> bool {
        let has_key = |place: &certificates::Place| {
            place.path == "/etc/kubernetes/pki/ca.crt" && place.key.as_ref().is_some_and(|key| matches!(key.state, certificates::KeyState::Found { .. }))
        };
        self.node.control_plane || self.certificates.known().is_some_and(|certificates| certificates.places.iter().any(has_key))
    }

    /// The commands that make a new kubeconfig for this node's kubelet and put it in place
    /// (kubernetes.io: Troubleshooting kubeadm, "Kubelet client certificate rotation fails").
    /// Only a control-plane node has the CA's key to make one; pasted elsewhere they change nothing.
    #[must_use]
    pub fn new_kubelet_conf(&self) -> Vec<String> {
        self.new_kubelet_conf_and(None)
    }

    /// As [`Self::new_kubelet_conf`], with a command between the new file and the kubelet's restart.
    #[must_use]
    pub fn new_kubelet_conf_and(&self, before_restart: Option<&str>) -> Vec<String> {
        let path = self.kubelet.known().and_then(|kubelet| kubelet.kubeconfig.as_ref()).map_or("/etc/kubernetes/kubelet.conf", |found| &found.file.path.value);
        let (name, path) = (self.node_name(), shell::quote(path));
        let file = shell::quote(&format!("{name}.conf"));
        let make = format!("kubeadm kubeconfig user --org system:nodes --client-name {} > {file}", shell::quote(&format!("system:node:{name}")));
        let then = before_restart.map_or_else(String::new, |command| format!("{command} && "));
        let place = format!("test -s {file} && install -m 600 {file} {path} && {then}systemctl restart kubelet");
        if self.can_issue() {
            vec![make, place]
        } else {
            vec!["# on a control-plane node:".to_owned(), make, format!("# then here, with {file} copied over:"), place]
        }
    }

    /// Whether this machine shows any sign of being a Kubernetes node; if not, nothing is judged missing.
    #[must_use]
    pub fn is_kubernetes_node(&self) -> bool {
        !self.node.signs.is_empty() || self.units.known().is_some_and(|units| units.get("kubelet.service").is_some_and(units::Unit::is_installed))
    }
}

/// An independently observed part of the node. Its name is a label in metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    Node,
    Units,
    Journal,
    Kubelet,
    Certificates,
    Cni,
    Runtime,
    Pressure,
    KubeProxy,
    Health,
}

impl Domain {
    /// Every domain that is observed at run time, in the order of a round.
    pub const ALL: [Self; 9] =
        [Self::Units, Self::Journal, Self::Kubelet, Self::Certificates, Self::Cni, Self::Runtime, Self::Pressure, Self::KubeProxy, Self::Health];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Units => "units",
            Self::Journal => "journal",
            Self::Kubelet => "kubelet",
            Self::Certificates => "certificates",
            Self::Cni => "cni",
            Self::Runtime => "runtime",
            Self::Pressure => "pressure",
            Self::KubeProxy => "kubeproxy",
            Self::Health => "health",
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When a domain was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub at: Timestamp,
    /// Milliseconds from the first to the last call that asked the node.
    pub took_ms: f64,
}

/// Why something could not be seen, and what to grant so that it can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    pub reason: String,
    /// The mount, capability, flag or command that would let us see, if one would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

impl Blind {
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), grant: None }
    }

    #[must_use]
    pub fn grant(mut self, grant: impl Into<String>) -> Self {
        self.grant = Some(grant.into());
        self
    }
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What was asked is known, or we are blind. "It does not exist" is known; "permission denied" is blind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Observed<T> {
    Known(T),
    Unknown(Blind),
}

impl<T> Observed<T> {
    fn not_yet() -> Self {
        Self::Unknown(Blind::new("not looked at yet"))
    }

    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// The value.
    ///
    /// # Errors
    /// The blindness, which a check hands on with `?`.
    pub fn ok(&self) -> Result<&T, Blind> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Unknown(blind) => Err(blind.clone()),
        }
    }

    pub fn blind(&self) -> Option<&Blind> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(blind) => Some(blind),
        }
    }

    fn blind_or<'a>(&'a self, inner: impl FnOnce(&'a T) -> Vec<&'a Blind>) -> Vec<&'a Blind> {
        match self {
            Self::Known(value) => inner(value),
            Self::Unknown(blind) => vec![blind],
        }
    }
}

impl<T> From<Result<T, Blind>> for Observed<T> {
    fn from(result: Result<T, Blind>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(blind) => Self::Unknown(blind),
        }
    }
}

/// A value and where it was read: `/var/lib/kubelet/config.yaml:8`, `--root-dir`, `default`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sourced<T> {
    pub value: T,
    pub source: String,
}

impl<T> Sourced<T> {
    pub fn new(value: T, source: impl Into<String>) -> Self {
        Self { value, source: source.into() }
    }

    /// The kubelet's or the runtime's own default.
    pub fn default_value(value: T) -> Self {
        Self::new(value, "default")
    }
}
