use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Blind, Observed, Sourced};

/// Whether what should answer on this node does, and who listens on its ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `/healthz` of the kubelet; absent where that is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<Endpoint>,
    /// `/livez` of kube-proxy; absent where it does not run, or is set not to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_proxy: Option<Endpoint>,
    /// The API server that the kubelet's kubeconfig names; absent where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<ApiServer>,
    /// Who listens on the ports of the kubelet, of kube-proxy and of this node's own API server. Of others nothing is kept.
    #[serde(default = "not_looked_at")]
    pub listeners: Observed<Vec<Listener>>,
}

fn not_looked_at<T>() -> Observed<T> {
    Observed::Unknown(Blind::new("not looked at"))
}

/// An address that is asked over HTTP, without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `http://127.0.0.1:10248/healthz`, and where the port was set.
    pub url: Sourced<String>,
    pub answer: Observed<Answer>,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It answered with this status, and these words (the first line, at most [`Answer::MOST`] bytes).
    Http {
        status: u16,
        body: String,
    },
    /// It answered with something else than HTTP, or hung up.
    NotHttp(String),
    Refused,
    /// It took the connection and said nothing for so many seconds.
    Silent(u64),
    /// No connection came about within so many seconds.
    NoConnection(u64),
    /// The kernel knows no way there; its words.
    NoRoute(String),
}

impl Answer {
    pub const MOST: usize = 200;

    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self, Self::Http { status: 200..=299, .. })
    }

    /// In words: `connection refused`, `HTTP 500: no`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Http { status, body } if body.is_empty() => format!("HTTP {status}"),
            Self::Http { status, body } => format!("HTTP {status}: {body}"),
            Self::NotHttp(what) => what.clone(),
            Self::Refused => "connection refused".to_owned(),
            Self::Silent(seconds) => format!("takes the connection and says nothing for {seconds} s"),
            Self::NoConnection(seconds) => format!("no answer within {seconds} s"),
            Self::NoRoute(error) => error.clone(),
        }
    }
}

/// The API server as this node reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiServer {
    /// `clusters[].cluster.server` of the kubelet's kubeconfig.
    pub server: Sourced<String>,
    pub reach: Observed<Reach>,
}

/// How far a client of this node comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Connections of this node to it stand, and what was sent on them was acknowledged. It was not asked.
    Connected,
    /// It was asked, and its certificate is one that a client with this kubeconfig trusts.
    Answered {
        address: SocketAddr,
    },
    Refused {
        address: SocketAddr,
    },
    /// No connection within so many seconds.
    NoConnection {
        address: SocketAddr,
        seconds: u64,
    },
    /// It took the connection and did not begin TLS for so many seconds.
    Silent {
        address: SocketAddr,
        seconds: u64,
    },
    NoRoute {
        address: SocketAddr,
        error: String,
    },
    /// Its name has no address; what the node's resolver said.
    Unresolved {
        error: String,
    },
    /// It presents a certificate that a client with this kubeconfig does not trust; why.
    Untrusted {
        address: SocketAddr,
        error: String,
        issuer: String,
    },
    /// What answers is no TLS server.
    NotTls {
        address: SocketAddr,
        error: String,
    },
}

impl Reach {
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self, Self::Connected | Self::Answered { .. })
    }
}

/// A listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub port: u16,
    /// The process that holds it. Unknown where the descriptors of other users' processes may not be seen.
    pub holder: Observed<Holder>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    /// Its name, as `ps -o comm` has it.
    pub command: String,
    /// The unit it belongs to, or the pod as `namespace/name`, by its cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Owner>,
}

/// What a process belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    Unit(String),
    /// `namespace/name`, or its UID where the name is not told.
    Pod(String),
}

impl Holder {
    /// `nginx (pid 4711, nginx.service)`
    #[must_use]
    pub fn words(&self) -> String {
        match &self.of {
            Some(Owner::Unit(unit)) => format!("{} (pid {}, {unit})", self.command, self.pid),
            Some(Owner::Pod(pod)) => format!("{} (pid {}, pod {pod})", self.command, self.pid),
            None => format!("{} (pid {})", self.command, self.pid),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { kubelet: None, kube_proxy: None, api_server: None, listeners: not_looked_at() }
    }
}

impl Health {
    /// Who listens on a port, if somebody does and it could be seen.
    #[must_use]
    pub fn listener(&self, port: u16) -> Option<&Listener> {
        self.listeners.known()?.iter().find(|listener| listener.port == port)
    }

    /// The process on a port, where it is known and not called `own`.
    #[must_use]
    pub fn stranger(&self, port: u16, own: &[&str]) -> Option<&Holder> {
        self.listener(port)?.holder.known().filter(|holder| !own.contains(&holder.command.as_str()))
    }

    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        let endpoints = [&self.kubelet, &self.kube_proxy].into_iter().flatten().filter_map(|endpoint| endpoint.answer.blind());
        let api_server = self.api_server.iter().filter_map(|api_server| api_server.reach.blind());
        endpoints.chain(api_server).chain(self.listeners.blind()).collect()
    }
}
