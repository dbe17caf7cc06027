//! Whether the kubelet, kube-proxy and the API server answer, and who listens on their ports.
//!
//! Asked are only addresses that the node's own configuration names, without credentials, with a deadline: `GET /healthz` and
//! `/livez` on this node, and one TLS handshake with the API server. Between two questions no connection is kept.
//!
//! What it costs the API server: nothing but a handshake in ten minutes while connections of this node to it stand, which the
//! kernel's table of sockets shows; while none does, or the kubelet complains of it, one a minute.

mod api_server;
mod ask;
mod names;
mod network;
pub(super) mod sockets;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::board::Board;
use super::host::Host;
use super::look::Look;
use super::units::jittered;
use crate::config::{Config, Probes};
use crate::facts::certificates::{Certificates, Place, Role};
use crate::facts::health::{Answer, ApiServer, Endpoint, Listener, Reach};

use crate::facts::{Blind, Domain, Facts, Health, KubeProxy, Kubelet, Observed, Sourced, Timestamp};
use api_server::Server;
pub(super) use network::is_the_nodes as is_the_nodes_network;
use sockets::{Holders, Sockets};

/// Who has said nothing for this long is said not to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The daemon's first question, for its first report: who takes longer is asked again with [`PATIENCE`] before anything is said.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait for the node's files.
const LOOK: Duration = Duration::from_secs(10);
/// Between two questions to who is well, on this node.
const LOCAL: Duration = Duration::from_secs(30);
/// Between two looks at the way to the API server.
const API_SERVER: Duration = Duration::from_mins(1);
/// Between two looks at the API server's certificate while the node's own connections to it stand.
const CERTIFICATE: Duration = Duration::from_mins(10);
/// After a first bad answer; doubled with each further one up to the usual interval, on this node up to [`LOCAL_AGAIN`].
const AGAIN: Duration = Duration::from_secs(2);
const LOCAL_AGAIN: Duration = Duration::from_secs(8);
/// What is due within this is done together.
const NEARLY: Duration = Duration::from_secs(8);
/// Between two looks at who listens on their ports while all are well.
const LISTENERS: Duration = Duration::from_mins(5);
/// Whose network is seen from here changes with a restart only.
const NETWORK: Duration = Duration::from_mins(10);
/// A kubelet that complains of the API server makes us ask, but not more often than this.
const COMPLAINT: Duration = Duration::from_secs(10);
/// What has not changed is put on the board again after this, as a sign of life.
const SAME: Duration = Duration::from_mins(5);
/// The signals of the checks of the API server.
const COMPLAINTS: &str = "api-server-";

/// What is to be asked, and what of the facts makes asking again worth while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Targets {
    kubelet: Option<Target>,
    kube_proxy: Option<Target>,
    /// The kubelet's kubeconfig, and the server in it.
    kubeconfig: Option<(String, Sourced<String>)>,
    /// The CAs that the node's files name: with another one, the same certificate may be trusted no more.
    authorities: Vec<Place>,
    ports: Vec<u16>,
    /// Those who should hold these ports.
    processes: Vec<u32>,
    /// The kubelet's unit: its state, its process.
    unit: Option<(String, Option<u32>)>,
    /// When the kubelet last complained of the API server.
    complaint: Option<Timestamp>,
}

/// An address on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    address: SocketAddr,
    path: &'static str,
    /// Where its port was set.
    source: String,
}

impl Targets {
    fn of(facts: &Facts) -> Self {
        let Some(kubelet) = facts.kubelet.known().filter(|_| facts.is_kubernetes_node() && facts.node.live) else { return Self::default() };
        let kube_proxy = facts.kube_proxy.known();
        let unit = facts.units.known().and_then(|units| units.get("kubelet.service")?.active.as_ref());
        let kube_proxy_pid = kube_proxy.and_then(|kube_proxy| Some(kube_proxy.running()?.pid));
        let complaints = facts.journal.known().map(|journal| journal.signals.iter().filter(|(code, _)| code.starts_with(COMPLAINTS)));
        Self {
            kubelet: kubelet_target(kubelet),
            kube_proxy: kube_proxy.filter(|kube_proxy| kube_proxy.runs()).and_then(kube_proxy_target),
            kubeconfig: kubelet.kubeconfig.as_ref().and_then(|config| Some((config.file.path.value.clone(), config.server.clone()?))),
            authorities: facts.certificates.known().map(authorities).unwrap_or_default(),
            ports: ports(kubelet, kube_proxy),
            processes: unit.and_then(|active| active.main_pid).into_iter().chain(kube_proxy_pid).collect(),
            unit: unit.map(|active| (active.state.clone(), active.main_pid)),
            complaint: complaints.and_then(|complaints| complaints.map(|(_, seen)| seen.last).max()),
        }
    }
}

fn authorities(certificates: &Certificates) -> Vec<Place> {
    certificates.places.iter().filter(|place| place.role == Role::ClusterCa).cloned().collect()
}

/// An address to listen on, as one to connect to.
fn local(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn kubelet_target(kubelet: &Kubelet) -> Option<Target> {
    let port = Some(kubelet.healthz_port.value).filter(|port| *port != 0)?;
    let address = SocketAddr::new(local(kubelet.healthz_bind_address.value.parse().ok()?), port);
    Some(Target { address, path: "/healthz", source: kubelet.healthz_port.source.clone() })
}

/// `:10256` is every address.
fn kube_proxy_target(kube_proxy: &KubeProxy) -> Option<Target> {
    let bind = &kube_proxy.healthz_bind_address;
    let text = if bind.value.starts_with(':') { format!("0.0.0.0{}", bind.value) } else { bind.value.clone() };
    let address: SocketAddr = text.parse().ok()?;
    let address = SocketAddr::new(local(address.ip()), Some(address.port()).filter(|port| *port != 0)?);
    Some(Target { address, path: "/livez", source: bind.source.clone() })
}

/// The ports on which somebody in particular should listen.
fn ports(kubelet: &Kubelet, kube_proxy: Option<&KubeProxy>) -> Vec<u16> {
    let addresses = kube_proxy.into_iter().flat_map(|kube_proxy| [&kube_proxy.healthz_bind_address, &kube_proxy.metrics_bind_address]);
    let own_api_server = kubelet.own_api_server_port().map(|(port, _)| port);
    let mut ports: Vec<u16> = [kubelet.port.value, kubelet.healthz_port.value].into_iter().filter(|port| *port != 0).collect();
    ports.extend(addresses.filter_map(|address| KubeProxy::port(&address.value)).chain(own_api_server));
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// When one is to be asked next.
#[derive(Clone, Copy, Debug)]
struct Turn {
    due: Instant,
    misses: u32,
}

impl Turn {
    fn now() -> Self {
        Self { due: Instant::now(), misses: 0 }
    }

    /// Or nearly: whoever is woken for one asks the other as well.
    fn is_due(self) -> bool {
        Instant::now() + NEARLY >= self.due
    }

    /// `None`: it was not asked for long enough to say.
    fn took(&mut self, well: Option<bool>, usual: Duration, longest: Duration) {
        let wait = match well {
            None => return,
            Some(true) => {
                self.misses = 0;
                usual
            }
            Some(false) => {
                self.misses = self.misses.saturating_add(1);
                (AGAIN * 2_u32.saturating_pow(self.misses.saturating_sub(1).min(10))).min(longest)
            }
        };
        self.due = Instant::now() + jittered(wait);
    }
}

/// What is read from the node's files before anybody is asked.
struct Seen {
    sockets: Result<Sockets, Blind>,
    /// `None`: as before.
    listeners: Option<Observed<Vec<Listener>>>,
    server: Option<Server>,
    /// Whether it is the node's network that is seen from here.
    network: Result<(), Blind>,
}

/// Asks, and remembers whom to ask when.
struct Prober {
    host: Arc<Host>,
    probes: Probes,
    look: Look<Seen>,
    network: Option<(Instant, Result<(), Blind>)>,
    holders: Arc<Mutex<Holders>>,
    targets: Targets,
    kubelet: Turn,
    kube_proxy: Turn,
    api_server: Turn,
    /// When the API server's certificate is to be looked at again.
    certificate: Instant,
    asked: Option<Instant>,
    /// When who listens was last looked at.
    listened: Option<Instant>,
    health: Health,
}

impl Prober {
    fn new(host: Arc<Host>, config: &Config) -> Self {
        Self {
            host,
            probes: config.probes,
            look: Look::new(LOOK),
            network: None,
            holders: Arc::default(),
            targets: Targets::default(),
            kubelet: Turn::now(),
            kube_proxy: Turn::now(),
            api_server: Turn::now(),
            certificate: Instant::now(),
            asked: None,
            listened: None,
            health: Health::default(),
        }
    }

    /// Whose circumstances have changed is asked at once.
    fn aim(&mut self, targets: Targets) {
        let unit_changed = targets.unit != self.targets.unit;
        if targets.kubelet != self.targets.kubelet || unit_changed {
            self.kubelet = Turn::now();
        }
        if targets.kube_proxy != self.targets.kube_proxy || targets.processes != self.targets.processes {
            self.kube_proxy = Turn::now();
        }
        if targets.ports != self.targets.ports || targets.processes != self.targets.processes || unit_changed {
            self.listened = None;
        }
        if targets.kubeconfig != self.targets.kubeconfig || targets.authorities != self.targets.authorities {
            (self.api_server, self.certificate) = (Turn::now(), Instant::now());
        }
        // While it is known to be ill, it is asked in its own time.
        if targets.complaint > self.targets.complaint && self.api_server.misses == 0 {
            let soonest = self.asked.map_or_else(Instant::now, |asked| asked + COMPLAINT);
            self.api_server.due = self.api_server.due.min(soonest);
            self.certificate = self.certificate.min(soonest);
        }
        self.targets = targets;
    }

    fn next(&self) -> Instant {
        self.kubelet.due.min(self.kube_proxy.due).min(self.api_server.due)
    }

    /// Asks everybody whose turn it is, and waits for each no longer than `deadline`.
    async fn round(&mut self, deadline: Duration) -> Result<(), Blind> {
        let turns = [self.kubelet, self.kube_proxy, self.api_server].map(Turn::is_due);
        // While all are well, the table of sockets is for the API server's turn.
        let is_quiet = !turns[2] && self.kubelet.misses == 0 && self.kube_proxy.misses == 0;
        let seen = if is_quiet { None } else { Some(self.see().await?) };
        let network = self.network().await?;
        let may = |address: SocketAddr| self.may_ask(address, &network);
        let (kubelet, kube_proxy, api_server) = tokio::join!(
            ask(self.targets.kubelet.as_ref().filter(|_| turns[0]), &may, deadline),
            ask(self.targets.kube_proxy.as_ref().filter(|_| turns[1]), &may, deadline),
            async { self.reach(seen.as_ref().filter(|_| turns[2])?, &may, deadline).await },
        );
        keep(&mut self.health.kubelet, self.targets.kubelet.as_ref(), kubelet, &mut self.kubelet, deadline);
        keep(&mut self.health.kube_proxy, self.targets.kube_proxy.as_ref(), kube_proxy, &mut self.kube_proxy, deadline);
        if let Some(seen) = seen {
            if let Some(listeners) = seen.listeners {
                self.health.listeners = listeners;
                self.listened = Some(Instant::now());
            }
            if turns[2] {
                self.keep_api_server(seen.server, api_server, deadline);
            }
        }
        Ok(())
    }

    async fn see(&mut self) -> Result<Seen, Blind> {
        let (host, holders, targets) = (Arc::clone(&self.host), Arc::clone(&self.holders), self.targets.clone());
        // Who listens on the ports of those who are well is no news.
        let listened = self.kubelet.misses == 0 && self.kube_proxy.misses == 0 && self.listened.is_some_and(|at| at.elapsed() < LISTENERS);
        let seen = self.look.at(move || see(&host, &targets, listened, &mut holders.lock().unwrap_or_else(PoisonError::into_inner))).await?;
        self.network = Some((Instant::now(), seen.network.clone()));
        Ok(seen)
    }

    async fn network(&mut self) -> Result<Result<(), Blind>, Blind> {
        match &self.network {
            Some((at, network)) if at.elapsed() < NETWORK => Ok(network.clone()),
            _ => Ok(self.see().await?.network),
        }
    }

    /// Whether somebody may be asked from here.
    fn may_ask(&self, address: SocketAddr, network: &Result<(), Blind>) -> Result<(), Blind> {
        network.clone()?;
        match self.probes {
            Probes::All => Ok(()),
            Probes::Loopback if address.ip().is_loopback() => Ok(()),
            Probes::Loopback => Err(Blind::new(format!("{address} is not asked: probes is loopback")).grant("set probes: all, and let nodetriage reach it")),
            Probes::None => Err(Blind::new(format!("{address} is not asked: probes is none")).grant("set probes: all or loopback")),
        }
    }

    /// How far a client of this node comes with the API server; `None` if it is not its turn.
    async fn reach(&self, seen: &Seen, may: &impl Fn(SocketAddr) -> Result<(), Blind>, deadline: Duration) -> Option<Observed<Reach>> {
        let server = seen.server.as_ref()?;
        // Asking a name server is asking, too.
        if self.probes == Probes::None && server.address().is_none() {
            return Some(Observed::Unknown(Blind::new(format!("{} is not asked: probes is none", server.url.value)).grant("set probes: all")));
        }
        let addresses = match server.addresses().await {
            Ok(addresses) => addresses,
            Err(told) => return Some(told),
        };
        let connected = seen.sockets.as_ref().ok().and_then(|sockets| Server::connected(&addresses, sockets));
        let look_at_certificate = Instant::now() >= self.certificate;
        let allowed = addresses.iter().try_for_each(|address| may(*address));
        match (connected, allowed) {
            (Some(connected), Err(_)) => Some(Observed::Known(connected)),
            (Some(connected), Ok(())) if !look_at_certificate => Some(Observed::Known(connected)),
            (None, Err(blind)) => Some(Observed::Unknown(blind)),
            (connected, Ok(())) => match (server.reach(&addresses, deadline).await, connected) {
                // The node's own connections are better witnesses than one that was slow.
                (Observed::Known(reach), Some(connected)) if !matches!(reach, Reach::Untrusted { .. } | Reach::Answered { .. }) => {
                    Some(Observed::Known(connected))
                }
                (reach, _) => Some(reach),
            },
        }
    }

    fn keep_api_server(&mut self, server: Option<Server>, reach: Option<Observed<Reach>>, deadline: Duration) {
        let Some(server) = server else {
            self.health.api_server = None;
            self.api_server.took(Some(true), API_SERVER, API_SERVER);
            return;
        };
        let Some(reach) = reach else { return };
        let is_early = deadline < PATIENCE && reach.known().is_some_and(|reach| matches!(reach, Reach::NoConnection { .. } | Reach::Silent { .. }));
        let reach = if is_early { early() } else { reach };
        self.asked = Some(Instant::now());
        let well = reach.known().is_none_or(Reach::is_well);
        self.api_server.took((!is_early).then_some(well), API_SERVER, API_SERVER);
        if matches!(reach.known(), Some(Reach::Answered { .. })) {
            self.certificate = Instant::now() + jittered(CERTIFICATE);
        }
        self.health.api_server = Some(ApiServer { server: server.url, reach });
    }
}

fn early<T>() -> Observed<T> {
    Observed::Unknown(Blind::new("no answer yet"))
}

/// `listened`: who listens is known well enough.
fn see(host: &Host, targets: &Targets, listened: bool, holders: &mut Holders) -> Seen {
    let server = targets.kubeconfig.as_ref().and_then(|(kubeconfig, _)| Server::read(host, kubeconfig));
    let sockets = Sockets::read(host, server.as_ref().and_then(Server::address).filter(|_| listened));
    let listeners = match &sockets {
        Ok(sockets) if !sockets.complete => None,
        Ok(sockets) => Some(Observed::Known(holders.listeners(host, sockets, &targets.ports, &targets.processes))),
        Err(blind) => Some(Observed::Unknown(blind.clone())),
    };
    Seen { network: network::is_the_nodes(host), sockets, listeners, server }
}

/// What somebody on this node answers, if there is one to be asked and he may be.
async fn ask(target: Option<&Target>, may: &impl Fn(SocketAddr) -> Result<(), Blind>, deadline: Duration) -> Option<Observed<Answer>> {
    let target = target?;
    if let Err(blind) = may(target.address) {
        return Some(Observed::Unknown(blind));
    }
    let answer = ask::get(target.address, target.path, deadline).await;
    // kube-proxy before 1.28 has /healthz only (`pkg/proxy/healthcheck/proxy_health.go`).
    match answer {
        Observed::Known(Answer::Http { status: 404, .. }) if target.path == "/livez" => Some(ask::get(target.address, "/healthz", deadline).await),
        answer => Some(answer),
    }
}

/// Keeps an answer, or the last one while it is not its turn.
fn keep(kept: &mut Option<Endpoint>, target: Option<&Target>, answer: Option<Observed<Answer>>, turn: &mut Turn, deadline: Duration) {
    let Some(target) = target else {
        *kept = None;
        turn.took(Some(true), LOCAL, LOCAL);
        return;
    };
    let Some(answer) = answer else { return };
    let is_early = deadline < PATIENCE && answer.known().is_some_and(|answer| matches!(answer, Answer::NoConnection(_) | Answer::Silent(_)));
    let answer = if is_early { early() } else { answer };
    turn.took((!is_early).then(|| answer.known().is_none_or(Answer::is_well)), LOCAL, LOCAL_AGAIN);
    let url = format!("http://{}{}", target.address, target.path);
    *kept = Some(Endpoint { url: Sourced::new(url, target.source.clone()), answer });
}

/// Of a disk, on which nobody answers and nobody listens.
fn nobody() -> Health {
    Health { listeners: Observed::Known(Vec::new()), ..Health::default() }
}

/// Asks once.
///
/// # Errors
/// Blind, if the node's files do not answer.
pub async fn observe(host: &Arc<Host>, config: &Config, facts: &Facts) -> Result<Health, Blind> {
    if !host.is_live() {
        return Ok(nobody());
    }
    let mut prober = Prober::new(Arc::clone(host), config);
    prober.aim(Targets::of(facts));
    prober.round(PATIENCE).await?;
    Ok(prober.health)
}

/// Asks at long intervals, and at once when what is asked about changes.
pub async fn watch(host: Arc<Host>, config: Arc<Config>, board: Arc<Board>) {
    let mut news = board.news();
    let known = |facts: &Facts| [Domain::Kubelet, Domain::KubeProxy, Domain::Units].iter().all(|domain| facts.observed.contains_key(domain));
    while !board.read(known) && news.changed().await.is_ok() {}
    if !host.is_live() {
        board.put(Domain::Health, Duration::ZERO, |facts| facts.health = Observed::Known(nobody()));
        return std::future::pending().await;
    }
    let mut prober = Prober::new(Arc::clone(&host), &config);
    let mut deadline = FIRST;
    let mut last: Option<(Instant, Observed<Health>)> = None;
    loop {
        prober.aim(board.read(Targets::of));
        let start = Instant::now();
        let health = match prober.round(deadline).await {
            Ok(()) => Observed::Known(prober.health.clone()),
            Err(blind) => Observed::Unknown(blind),
        };
        let is_blind = health.known().is_none();
        // What is as it was wakes nobody.
        if last.as_ref().is_none_or(|(at, last)| *last != health || at.elapsed() > SAME) {
            last = Some((start, health.clone()));
            board.put(Domain::Health, start.elapsed(), |facts| facts.health = health);
        }
        deadline = PATIENCE;
        let next = if is_blind { Instant::now() + LOCAL } else { prober.next() };
        tokio::select! {
            () = sleep_until(next) => {}
            () = changed(&board, &prober.targets) => {}
        }
    }
}

async fn changed(board: &Board, before: &Targets) {
    let mut news = board.news();
    while board.read(Targets::of) == *before && news.changed().await.is_ok() {}
}
