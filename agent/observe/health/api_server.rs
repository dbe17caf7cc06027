//! How far a client of this node comes with the API server that the kubelet's kubeconfig names.
//!
//! The kubelet itself holds a connection to it as long as all is well, which the kernel's table of sockets shows: then it is not
//! asked at all but for a look at its certificate now and then.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ask::words;
use super::names::{Named, Resolver};
use super::sockets::Sockets;
use crate::facts::health::Reach;
use crate::facts::kubelet::endpoint;
use crate::facts::{Blind, Observed, Sourced};
use crate::observe::certificates;
use crate::observe::host::Host;
use crate::observe::kubeconfig::{beside, current_context, load};
use crate::observe::tls::{self, Failure, Verdict};
use crate::observe::yaml::{Node, Tree};

const CA_LIMIT: u64 = 4 << 20;
/// Of a name with several.
const MOST_ADDRESSES: usize = 3;
/// How long a server that did not begin TLS may take to accept a plain connection.
const ACCEPT: Duration = Duration::from_millis(500);

/// The API server of a kubeconfig, and what a client that uses it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub url: Sourced<String>,
    host: String,
    port: u16,
    tls: bool,
    /// The name that its certificate must be made out to.
    called: String,
    /// The CA's certificates in DER; `None`: whatever it presents is taken, or the machine's own CAs decide, which are not known here.
    roots: Option<Vec<Vec<u8>>>,
    resolver: Resolver,
}

impl Server {
    /// From the kubelet's kubeconfig. `None`: it names no server that could be reached.
    pub(super) fn read(host: &Host, kubeconfig: &str) -> Option<Self> {
        let config = load(host, kubeconfig).ok()?;
        let cluster = current_context(&config).ok()?.cluster;
        let url = cluster.find(&["server"])?;
        let url = url.sourced(url.text()?.to_owned());
        let (name, port) = endpoint(&url.value).ok()?;
        let text = |key: &str| cluster.find(&[key]).and_then(Node::text).filter(|text| !text.is_empty());
        let skips = cluster.find(&["insecure-skip-tls-verify"]).is_some_and(|skip| skip.tree == Tree::Bool(true));
        let roots = match (text("certificate-authority-data"), text("certificate-authority")) {
            _ if skips => None,
            (Some(data), _) => base64::engine::general_purpose::STANDARD.decode(data.split_whitespace().collect::<String>()).ok(),
            (None, Some(path)) => host.read(&beside(kubeconfig, path), CA_LIMIT).ok(),
            (None, None) => None,
        };
        let roots = roots.and_then(|bytes| certificates::parse(&bytes).ok());
        let tls = !url.value.starts_with("http://");
        let called = text("tls-server-name").unwrap_or(&name).to_owned();
        Some(Self { host: name, port, tls, called, roots, resolver: Resolver::read(host), url })
    }

    /// The address by which it is called, if not by a name.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse::<std::net::IpAddr>().ok()?.to_canonical(), self.port))
    }

    /// Its addresses.
    ///
    /// # Errors
    /// What that says of reaching it.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Observed<Reach>> {
        match self.resolver.resolve(&self.host).await {
            Named::Addresses(found) => Ok(found.into_iter().take(MOST_ADDRESSES).map(|ip| SocketAddr::new(ip.to_canonical(), self.port)).collect()),
            Named::Nothing(error) => Err(Observed::Known(Reach::Unresolved { error })),
            Named::Blind(blind) => Err(Observed::Unknown(blind)),
        }
    }

    /// What the node's own connections tell.
    pub(super) fn connected(addresses: &[SocketAddr], sockets: &Sockets) -> Option<Reach> {
        sockets.connected_to(addresses).then_some(Reach::Connected)
    }

    /// Connects, and shakes hands as a client that gives no certificate. Of several addresses one is enough, as for the kubelet.
    pub(super) async fn reach(&self, addresses: &[SocketAddr], deadline: Duration) -> Observed<Reach> {
        let mut last = Observed::Unknown(Blind::new("it has no address"));
        for address in addresses {
            last = if self.tls { self.shake(*address, deadline).await } else { connect(*address, deadline).await };
            if last.known().is_some_and(Reach::is_well) {
                break;
            }
        }
        last
    }

    async fn shake(&self, address: SocketAddr, deadline: Duration) -> Observed<Reach> {
        let served = match tls::handshake(address, &self.called, self.roots.as_deref(), deadline).await {
            Ok(served) => served,
            Err(Failure::Connect(error)) => return unconnected(address, &error),
            Err(Failure::TimedOut) => {
                let seconds = deadline.as_secs();
                let accepts = matches!(timeout(ACCEPT.min(deadline), TcpStream::connect(address)).await, Ok(Ok(_)));
                return Observed::Known(if accepts { Reach::Silent { address, seconds } } else { Reach::NoConnection { address, seconds } });
            }
            Err(Failure::Handshake(error)) => return Observed::Known(Reach::NotTls { address, error }),
        };
        let error = match served.verdict {
            None | Some(Verdict::Trusted) => return Observed::Known(Reach::Answered { address }),
            Some(Verdict::UnknownIssuer) => "it is signed by another CA than the kubeconfig's".to_owned(),
            Some(Verdict::OtherName) => format!("it is not made out to {}", self.called),
            Some(Verdict::Expired) => "it has expired".to_owned(),
            Some(Verdict::NotYetValid) => "it is not valid yet".to_owned(),
            Some(Verdict::Refused(error)) => error,
        };
        Observed::Known(Reach::Untrusted { address, error, issuer: served.chain.first().map(|der| issuer(der)).unwrap_or_default() })
    }
}

/// `CN=kubernetes`, as far as it can be read.
fn issuer(der: &[u8]) -> String {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    X509Certificate::from_der(der).map_or_else(|_| String::new(), |(_, certificate)| certificate.issuer().to_string().chars().take(200).collect())
}

async fn connect(address: SocketAddr, deadline: Duration) -> Observed<Reach> {
    match timeout(deadline, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Observed::Known(Reach::Answered { address }),
        Ok(Err(error)) => unconnected(address, &error),
        Err(_) => Observed::Known(Reach::NoConnection { address, seconds: deadline.as_secs() }),
    }
}

fn unconnected(address: SocketAddr, error: &std::io::Error) -> Observed<Reach> {
    match error.kind() {
        ErrorKind::ConnectionRefused => Observed::Known(Reach::Refused { address }),
        ErrorKind::TimedOut => Observed::Known(Reach::NoConnection { address, seconds: 0 }),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::AddrNotAvailable => {
            Observed::Known(Reach::NoRoute { address, error: words(error) })
        }
        _ => Observed::Unknown(Blind::new(format!("cannot connect to {address}: {}", words(error)))),
    }
}
