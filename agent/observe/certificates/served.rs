//! What the servers of this node really present, by a TLS handshake with each; and when they are asked.
//!
//! Rarely: etcd, which wants a client certificate and is given none, logs every handshake (`rejected connection`). The kubelet and the
//! API server log none.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{Node, found};
use crate::config::Probes;
use crate::facts::certificates::{Certificate, Place, Role, Server};
use crate::facts::{Blind, Certificates, Observed, Sourced};
use crate::observe::health::is_the_nodes_network;
use crate::observe::host::Host;
use crate::observe::tls::{Failure, handshake};

/// A server on this machine that has not answered by then hangs.
const DEADLINE: Duration = Duration::from_secs(1);
/// After which what is served is asked for again although no file has changed: a server may have been started with other flags.
const RESYNC: Duration = Duration::from_hours(1);
/// While a server does not present what is in its file: at first. The API server reads a changed file within a minute
/// (`apiserver/pkg/server/dynamiccertificates` `FileRefreshDuration`).
const SOON: Duration = Duration::from_secs(30);
/// The wait is doubled up to this, so that a server that is started again is seen to be.
const LATER: Duration = Duration::from_mins(5);

/// The servers whose certificates are among the places.
pub(super) fn servers(node: &Node, places: &[Place]) -> Vec<Server> {
    let kubelet = Some(&node.kubelet.port).filter(|port| port.value != 0).map(|port| address(node.kubelet.address.as_ref(), port.value));
    let api_server = node.program("kube-apiserver").map(|program| {
        let port = program.flag("secure-port").and_then(|port| port.value.parse().ok()).unwrap_or(6443);
        address(program.flag("bind-address"), port)
    });
    let etcd = node.program("etcd").and_then(|program| listens(&program.flag("listen-client-urls")?.value));
    let of = |role: Role, address: Option<SocketAddr>| {
        let place = places.iter().find(|place| place.role == role && place.in_use && place.leaf().is_some())?;
        Some(Server { path: place.path.clone(), address: address?.to_string(), presents: None })
    };
    [of(Role::KubeletServing, kubelet), of(Role::ApiServer, api_server), of(Role::EtcdServer, etcd)].into_iter().flatten().collect()
}

/// Where a server that listens at an address can be called on its own machine.
fn address(listens: Option<&Sourced<String>>, port: u16) -> SocketAddr {
    let ip = listens.and_then(|address| address.value.parse::<IpAddr>().ok()).filter(|ip| !ip.is_unspecified());
    SocketAddr::new(ip.unwrap_or(Ipv4Addr::LOCALHOST.into()), port)
}

/// The first of etcd's `--listen-client-urls` that is for TLS; one of this machine only, if there is one.
fn listens(urls: &str) -> Option<SocketAddr> {
    let addresses = || urls.split(',').filter_map(|url| url.trim().strip_prefix("https://")?.trim_end_matches('/').parse::<SocketAddr>().ok());
    let local = addresses().find(|address| address.ip().is_loopback()).or_else(|| addresses().next())?;
    Some(if local.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), local.port()) } else { local })
}

/// Asks a server for its certificate; `None` if nobody listens there, or nobody there may be asked, or
/// this network is not the node's, where its loopback addresses are others'.
pub async fn ask(host: &Host, server: &Server, probes: Probes) -> Option<Observed<Certificate>> {
    let address = &server.address;
    let blind = |why: String| Some(Observed::Unknown(Blind::new(format!("what {address} presents: {why}"))));
    let Ok(socket) = address.parse::<SocketAddr>() else { return blind("that is no address".to_owned()) };
    if !probes.allow(socket.ip()) || is_the_nodes_network(host).is_err() {
        return None;
    }
    match handshake(socket, &socket.ip().to_string(), None, DEADLINE).await {
        Ok(served) => match served.chain.first().and_then(|der| X509Certificate::from_der(der).ok()).and_then(|(_, leaf)| found::fact(&leaf)) {
            Some(leaf) => Some(Observed::Known(leaf)),
            None => blind("it is no certificate that can be read".to_owned()),
        },
        Err(Failure::Connect(error)) if error.kind() == io::ErrorKind::ConnectionRefused => None,
        Err(Failure::Connect(error)) => blind(error.to_string()),
        Err(Failure::TimedOut) => blind(format!("no answer in {} s", DEADLINE.as_secs())),
        Err(Failure::Handshake(why)) => blind(why),
    }
}

/// Asks all of them, once.
pub async fn ask_all(host: &Host, certificates: &mut Certificates, probes: Probes) {
    for server in &mut certificates.servers {
        server.presents = ask(host, server, probes).await;
    }
}

/// When each server is asked next.
#[derive(Debug, Default)]
pub struct Schedule(BTreeMap<String, Turn>);

#[derive(Debug)]
struct Turn {
    /// The certificate that was in its file when it was asked.
    file: Option<Certificate>,
    wait: Duration,
    /// `None`: only once its file has changed.
    next: Option<Instant>,
}

impl Schedule {
    /// The servers to ask now: those whose file has changed since they were asked, and those whose time has come.
    #[must_use]
    pub fn due(&mut self, certificates: &Certificates, now: Instant) -> Vec<Server> {
        self.0.retain(|address, _| certificates.servers.iter().any(|server| server.address == *address));
        let is_due = |server: &&Server| match self.0.get(&server.address) {
            Some(turn) => turn.file.as_ref() != certificates.file_of(server) || turn.next.is_some_and(|next| next <= now),
            None => true,
        };
        certificates.servers.iter().filter(is_due).cloned().collect()
    }

    /// Notes what a server presented at `now`.
    pub fn asked(&mut self, certificates: &Certificates, server: &Server, now: Instant) {
        let file = certificates.file_of(server);
        let same = matches!((&server.presents, file), (Some(Observed::Known(presented)), Some(file)) if presented.is_same(file));
        let logs = certificates.place_of(server).is_none_or(|place| place.role == Role::EtcdServer);
        let before = self.0.get(&server.address).filter(|turn| turn.file.as_ref() == file).map_or(Duration::ZERO, |turn| turn.wait);
        let wait = if same { RESYNC } else { (before * 2).clamp(SOON, if logs { RESYNC } else { LATER }) };
        let next = (!(same && logs)).then(|| now + wait);
        self.0.insert(server.address.clone(), Turn { file: file.cloned(), wait: if same { Duration::ZERO } else { wait }, next });
    }

    /// When the next one is due, if no file changes.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|turn| turn.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::certificates::PlaceState;

    fn certificate(serial: &str) -> Certificate {
        Certificate {
            common_name: "node1".to_owned(),
            organizations: Vec::new(),
            issuer_common_name: "kubernetes".to_owned(),
            serial: serial.to_owned(),
            not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2027-01-01T00:00:00Z".parse().unwrap(),
            is_ca: false,
            usages: None,
            names: Vec::new(),
            trust: None,
        }
    }

    fn certificates(role: Role, serial: &str) -> Certificates {
        let place = found::place("/server.crt", role, PlaceState::Certificates(vec![certificate(serial)]));
        Certificates { places: vec![place], servers: vec![Server { path: "/server.crt".to_owned(), address: "127.0.0.1:1".to_owned(), presents: None }] }
    }

    fn presenting(certificates: &Certificates, serial: Option<&str>) -> Server {
        Server { presents: serial.map(|serial| Observed::Known(certificate(serial))), ..certificates.servers[0].clone() }
    }

    #[tokio::test]
    async fn a_server_is_asked_when_its_file_changes_and_else_rarely() {
        let now = Instant::now();
        let old = certificates(Role::KubeletServing, "1");
        let mut schedule = Schedule::default();
        assert_eq!(schedule.due(&old, now).len(), 1, "at first");
        schedule.asked(&old, &presenting(&old, Some("1")), now);
        assert!(schedule.due(&old, now + RESYNC - SOON).is_empty());
        assert_eq!(schedule.due(&old, now + RESYNC).len(), 1, "at the resync");
        let new = certificates(Role::KubeletServing, "2");
        assert_eq!(schedule.due(&new, now).len(), 1, "its file has changed");
        assert!(schedule.due(&Certificates::default(), now).is_empty());
        assert_eq!(schedule.next(), None, "a server that is gone is forgotten");
    }

    #[tokio::test]
    async fn while_it_presents_something_else_it_is_asked_again_less_and_less_often() {
        for (role, most) in [(Role::KubeletServing, LATER), (Role::EtcdServer, RESYNC)] {
            let facts = certificates(role, "2");
            let mut schedule = Schedule::default();
            let mut now = Instant::now();
            let mut waits = Vec::new();
            for presented in [Some("1"); 12] {
                schedule.asked(&facts, &presenting(&facts, presented), now);
                let next = schedule.next().unwrap();
                waits.push(next - now);
                now = next;
                assert_eq!(schedule.due(&facts, now).len(), 1);
            }
            assert!(waits.starts_with(&[SOON, SOON * 2, SOON * 4]) && waits.ends_with(&[most, most]), "{waits:?}");
            schedule.asked(&facts, &presenting(&facts, Some("2")), now);
            assert_eq!(schedule.next(), (role != Role::EtcdServer).then(|| now + RESYNC), "etcd is left alone until its file changes");
            schedule.asked(&facts, &presenting(&facts, None), now);
            assert_eq!(schedule.next(), Some(now + SOON), "nobody listens: it is starting");
        }
    }

    #[test]
    fn addresses_are_those_of_this_machine() {
        for (urls, expected) in [
            ("https://192.0.2.1:2379,https://127.0.0.1:2379", Some("127.0.0.1:2379")),
            ("https://192.0.2.1:2379/", Some("192.0.2.1:2379")),
            ("https://0.0.0.0:2379", Some("127.0.0.1:2379")),
            ("https://[::1]:2379", Some("[::1]:2379")),
            ("http://127.0.0.1:2379", None),
            ("unix:///run/etcd.sock, https://etcd.example:2379", None),
        ] {
            assert_eq!(listens(urls).map(|address| address.to_string()).as_deref(), expected, "{urls}");
        }
        let of = |listens: &str| address(Some(&Sourced::new(listens.to_owned(), "here")), 10250).to_string();
        assert_eq!([of("0.0.0.0"), of("::"), of(""), of("192.0.2.1")], ["127.0.0.1:10250", "127.0.0.1:10250", "127.0.0.1:10250", "192.0.2.1:10250"]);
    }
}
