use serde::{Deserialize, Serialize};

use super::{Blind, Observed, Sourced, Timestamp};

/// Every place on the node that holds, or should hold, a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    pub places: Vec<Place>,
    /// The servers on this node that present one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
}

/// A server, and what it really presents: it may not have read its file again since that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The place whose certificate it is started with.
    pub path: String,
    /// Where it can be called on this node: `127.0.0.1:10250`.
    pub address: String,
    /// What it presented when it was last asked; absent where it was not, or nobody listened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presents: Option<Observed<Certificate>>,
}

/// A file, or an entry of a kubeconfig, with the certificates in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As the node names it. A symlink is named, not its target.
    pub path: String,
    /// What the symlink says, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// In a kubeconfig: `client-certificate-data of user system:node:node1`, with its line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    /// What names it, where that is not the well-known path: `/etc/kubernetes/manifests/kube-apiserver.yaml --tls-cert-file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_by: Option<String>,
    pub role: Role,
    /// A program on this node uses it. What is not used is listed and never alarmed on.
    pub in_use: bool,
    pub state: PlaceState,
    /// Its private key, where one belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// By which names and addresses clients on this node call the server that presents it, and where each is configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub called: Vec<Sourced<String>>,
}

/// Where a certificate's private key lies. Nothing of the key itself is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The file; a kubeconfig, if the key is inline.
    pub path: String,
    pub state: KeyState,
}

/// What was found of a private key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    Found {
        /// Its public half is the certificate's. Unknown for kinds of keys that we cannot compare.
        matches: Observed<bool>,
        /// The permission bits of its file.
        mode: u32,
        /// The group of its file.
        gid: u32,
    },
    Missing,
    /// No private key that a program could use.
    Invalid(String),
    Unreadable(Blind),
}

/// A certificate inside a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key's name: `client-certificate-data`, `certificate-authority-data`.
    pub key: String,
    /// The name of the user or cluster it belongs to.
    pub of: String,
    pub line: u64,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    KubeletClient,
    KubeletServing,
    /// The CA that signs client and serving certificates of the cluster.
    ClusterCa,
    ApiServer,
    ApiServerKubeletClient,
    ApiServerEtcdClient,
    FrontProxyCa,
    FrontProxyClient,
    EtcdCa,
    EtcdServer,
    EtcdPeer,
    EtcdHealthcheckClient,
    /// The user of a kubeconfig other than the kubelet's (admin, scheduler, controller-manager).
    KubeconfigClient,
    /// Given by the configuration, of unknown use.
    Other,
}

impl Role {
    /// The label in metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KubeletClient => "kubelet-client",
            Self::KubeletServing => "kubelet-serving",
            Self::ClusterCa => "cluster-ca",
            Self::ApiServer => "api-server",
            Self::ApiServerKubeletClient => "api-server-kubelet-client",
            Self::ApiServerEtcdClient => "api-server-etcd-client",
            Self::FrontProxyCa => "front-proxy-ca",
            Self::FrontProxyClient => "front-proxy-client",
            Self::EtcdCa => "etcd-ca",
            Self::EtcdServer => "etcd-server",
            Self::EtcdPeer => "etcd-peer",
            Self::EtcdHealthcheckClient => "etcd-healthcheck-client",
            Self::KubeconfigClient => "kubeconfig-client",
            Self::Other => "other",
        }
    }

    #[must_use]
    pub fn is_ca(self) -> bool {
        matches!(self, Self::ClusterCa | Self::FrontProxyCa | Self::EtcdCa)
    }
}

/// What was found at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaceState {
    /// At least one certificate, in the order of the file: the first is the one presented.
    Certificates(Vec<Certificate>),
    Missing,
    /// Not a certificate: empty, truncated, no PEM, undecodable DER.
    Invalid(String),
    Unreadable(Blind),
}

/// One certificate's meaning. No key material.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub common_name: String,
    /// `O` of the subject: for a client, its groups.
    pub organizations: Vec<String>,
    pub issuer_common_name: String,
    /// Hexadecimal, upper case, without leading zeros.
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub is_ca: bool,
    /// Extended key usage: `clientAuth`, `serverAuth`, `any`, and others by their number; absent where it is not restricted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usages: Option<Vec<String>>,
    /// Subject alternative names: DNS names and addresses, at most [`Certificate::MOST_NAMES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Whether the CA that must have issued it really did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
}

/// The signature, checked against the CA that programs on this node would check it with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// The CA's file (and the CN in it), `/etc/kubernetes/pki/ca.crt (CN=kubernetes)`.
    pub authority: String,
    /// The CA that really judges it is not on this node; `authority` is one that is usually the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stand_in: bool,
    /// A CA of the issuer's common name is among them.
    pub same_name: bool,
    /// A signature by one of the authority's certificates verifies. Unknown for algorithms we cannot check.
    pub verified: Observed<bool>,
    /// When the CA certificate ends that signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_not_after: Option<Timestamp>,
}

impl Certificate {
    /// Names kept of one certificate.
    pub const MOST_NAMES: usize = 200;
}

impl Place {
    /// The certificates at this place, in the order of the file; none if there is no usable one.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        match &self.state {
            PlaceState::Certificates(certificates) => certificates,
            _ => &[],
        }
    }

    /// The certificate a program would present: the first of the file.
    #[must_use]
    pub fn leaf(&self) -> Option<&Certificate> {
        self.certificates().first()
    }

    /// `/etc/kubernetes/kubelet.conf:19` for an entry of a kubeconfig, else the path.
    #[must_use]
    pub fn location(&self) -> String {
        match &self.entry {
            Some(entry) => format!("{}:{}", self.path, entry.line),
            None => self.path.clone(),
        }
    }
}

impl Certificate {
    /// The two are one certificate, by what makes it unique: its issuer and its serial number (RFC 5280, 4.1.2.2), and its dates,
    /// for issuers that count wrong.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let identity = |one: &Self| (one.issuer_common_name.clone(), one.serial.clone(), one.not_before, one.not_after);
        identity(self) == identity(other)
    }
}

impl Certificates {
    /// The place whose certificate a server is started with.
    #[must_use]
    pub fn place_of(&self, server: &Server) -> Option<&Place> {
        self.places.iter().find(|place| place.path == server.path && place.in_use)
    }

    /// The certificate in a server's file.
    #[must_use]
    pub fn file_of(&self, server: &Server) -> Option<&Certificate> {
        self.place_of(server)?.leaf()
    }

    /// Takes over what servers were last seen to present.
    pub fn keep_presented(&mut self, before: &Self) {
        for server in &mut self.servers {
            let same = before.servers.iter().find(|other| other.path == server.path && other.address == server.address);
            server.presents = same.and_then(|other| other.presents.clone());
        }
    }

    /// Of the certificates in use: what could not be read, signatures that could not be checked, keys that could not be compared.
    pub(super) fn blind_spots(&self) -> Vec<&Blind> {
        let seen = self.places.iter().filter(|place| place.in_use).flat_map(|place| {
            let file = match &place.state {
                PlaceState::Unreadable(blind) => Some(blind),
                PlaceState::Certificates(certificates) => certificates.iter().find_map(|certificate| certificate.trust.as_ref()?.verified.blind()),
                PlaceState::Missing | PlaceState::Invalid(_) => None,
            };
            let key = match place.key.as_ref().map(|key| &key.state) {
                Some(KeyState::Unreadable(blind)) => Some(blind),
                Some(KeyState::Found { matches, .. }) => matches.blind(),
                _ => None,
            };
            [file, key]
        });
        let presented = self.servers.iter().filter_map(|server| server.presents.as_ref()?.blind());
        seen.flatten().chain(presented).collect()
    }
}
