//! What the certificate checks share: which certificates are judged, one finding for all that one procedure mends, and that procedure.

use crate::facts::certificates::{Certificate, Place, PlaceState, Role};
use crate::facts::shell::quote;
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Facts, Sourced, Timestamp};
use crate::finding::{Component, Finding};

/// When the harm is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    Done,
    Ahead,
}

/// One thing to do, whatever it mends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// A new kubeconfig for a worker's kubelet.
    KubeletClient,
    /// `kubeadm certs renew`, on a control-plane node with its kubelet.
    Kubeadm,
    KubeletServing,
    Ca(Role),
    /// The CA in this file.
    CaFile(String),
    /// k3s and RKE2 renew what is about to expire when they start; their directory's name is `k3s` or `rke2`.
    Rancher(&'static str),
    MicroK8s,
    /// The node's clock.
    Clock,
    /// Whoever made it.
    Other(String),
}

/// What is wrong with a certificate.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    /// After the certificate's name: `expired 3 h ago`.
    what: String,
    since: Option<Timestamp>,
    /// What it stops, where that is not what a certificate of its role always stops.
    stops: Option<String>,
    /// What to look at before anything is replaced.
    look_first: Option<&'static str>,
    /// It is made anew, not renewed: what is there cannot be used.
    replace: bool,
    /// Where else it was seen, and what.
    evidence: Option<(String, String)>,
}

impl Wrong {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), since: None, stops: None, look_first: None, replace: false, evidence: None }
    }

    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    pub fn stops(mut self, stops: impl Into<String>) -> Self {
        self.stops = Some(stops.into());
        self
    }

    pub fn look_first(mut self, command: &'static str) -> Self {
        self.look_first = Some(command);
        self
    }

    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    pub fn evidence(mut self, source: impl Into<String>, saw: impl Into<String>) -> Self {
        self.evidence = Some((source.into(), saw.into()));
        self
    }
}

/// A certificate that was judged.
struct Judged<'a> {
    place: &'a Place,
    certificate: &'a Certificate,
    wrong: Wrong,
}

/// Judges every certificate in use. Those that are mended together make one finding, whose subject is the most important of them.
pub(super) fn find(facts: &Facts, harm: Harm, judge: impl Fn(&Place, &Certificate) -> Option<Wrong>) -> Result<Vec<Finding>, Blind> {
    find_by(facts, harm, |place| mend(facts, place), judge)
}

/// As [`find`], with its own word on what mends them.
pub(super) fn find_by(
    facts: &Facts,
    harm: Harm,
    mend: impl Fn(&Place) -> Mend,
    judge: impl Fn(&Place, &Certificate) -> Option<Wrong>,
) -> Result<Vec<Finding>, Blind> {
    let mut groups: Vec<(Mend, Vec<Judged>)> = Vec::new();
    for (place, certificate) in in_use(facts)? {
        let Some(wrong) = judge(place, certificate) else { continue };
        let mend = mend(place);
        let judged = Judged { place, certificate, wrong };
        match groups.iter_mut().find(|(other, _)| *other == mend) {
            Some((_, group)) => group.push(judged),
            None => groups.push((mend, vec![judged])),
        }
    }
    Ok(groups.iter().filter_map(|(mend, group)| finding(facts, harm, mend, group)).collect())
}

/// The certificates that somebody judges: what a program presents, and each that it trusts.
fn in_use(facts: &Facts) -> Result<Vec<(&Place, &Certificate)>, Blind> {
    let places = &facts.certificates.ok()?.places;
    Ok(places
        .iter()
        .filter(|place| place.in_use)
        .flat_map(|place| {
            let certificates = place.certificates();
            // At its start the kubelet wants every certificate of its kubeconfig's user to be valid (`isClientConfigStillValid`).
            let all = place.role.is_ca() || place.role == Role::KubeletClient;
            certificates.get(..if all { certificates.len() } else { certificates.len().min(1) }).unwrap_or_default().iter().map(move |one| (place, one))
        })
        .filter(|(place, certificate)| !is_vouched_for_by_nobody(place, certificate))
        .collect())
}

/// The kubelet's serving certificate of its first start is signed by a CA named NODE-ca@EPOCH whose key was thrown away
/// (client-go `util/cert` `GenerateSelfSignedCertKey`): whoever connects cannot verify it, valid or not, and the kubelet never renews it.
fn is_vouched_for_by_nobody(place: &Place, certificate: &Certificate) -> bool {
    place.role == Role::KubeletServing && certificate.issuer_common_name.contains("-ca@")
}

fn mend(facts: &Facts, place: &Place) -> Mend {
    let below = |dir: &str| place.path.starts_with(dir);
    match place.role {
        _ if below("/var/lib/rancher/k3s/") => Mend::Rancher("k3s"),
        _ if below("/var/lib/rancher/rke2/") => Mend::Rancher("rke2"),
        _ if below("/var/snap/microk8s/") => Mend::MicroK8s,
        Role::KubeletClient if facts.node.control_plane => Mend::Kubeadm,
        Role::KubeletClient => Mend::KubeletClient,
        Role::KubeletServing => Mend::KubeletServing,
        role if role.is_ca() => Mend::Ca(role),
        Role::Other => Mend::Other(place.path.clone()),
        _ if kubeadm_name(place).is_some() => Mend::Kubeadm,
        _ => Mend::Other(place.path.clone()),
    }
}

/// One finding about certificates that are mended together; the first is the most important.
fn finding(facts: &Facts, harm: Harm, mend: &Mend, group: &[Judged]) -> Option<Finding> {
    let first = group.first()?;
    let mut told: Vec<(&str, &str)> = Vec::new();
    let mut evidence = Vec::new();
    for Judged { place, certificate, wrong } in group {
        let identity = (certificate.issuer_common_name.as_str(), certificate.serial.as_str());
        // The kubelet keeps a copy of its kubeconfig's certificate: the same one is told once.
        if !told.contains(&identity) {
            told.push(identity);
            evidence.push((place.location(), describe(facts, place, certificate)));
            if told.len() == 1 {
                evidence.extend(place.named_by.as_ref().map(|named_by| (named_by.clone(), format!("names {}", place.path))));
                evidence.extend(wrong.evidence.clone());
            }
        }
    }
    let others = match told.len() {
        0 | 1 => String::new(),
        2 => ", with another of this node".to_owned(),
        n => format!(", with {} others of this node", n - 1),
    };
    let stops = first.wrong.stops.clone().unwrap_or_else(|| stops(facts, first.place));
    let then = match harm {
        Harm::Done => format!(", so {stops}"),
        Harm::Ahead => format!("; then {stops}"),
    };
    let summary = format!("{} {}{others}{}", name(first.place), first.wrong.what, if stops.is_empty() { "" } else { &then });
    let mut finding = Finding::new(component(first.place.role), first.place.path.clone(), summary).since(first.wrong.since);
    for (source, saw) in evidence {
        finding = finding.evidence(source, saw);
    }
    let places: Vec<&Place> = group.iter().map(|judged| judged.place).collect();
    let commands = if first.wrong.replace { places.iter().flat_map(|place| replacement(facts, place)).collect() } else { commands(facts, mend, &places) };
    let look = first.wrong.look_first.map(str::to_owned);
    Some(look.into_iter().chain(commands).fold(finding, Finding::remedy))
}

/// What a certificate says of itself: `notAfter 2026-12-01 00:10:03 UTC (3 h ago), CN=…, O=…, issuer CN=…; a link to …`.
pub(super) fn describe(facts: &Facts, place: &Place, certificate: &Certificate) -> String {
    let left = certificate.not_after.seconds_since(facts.certificates_at);
    let age = if left >= 0 { format!("in {}", human_span(left)) } else { format!("{} ago", human_span(-left)) };
    let organizations: String = certificate.organizations.iter().map(|o| format!(", O={o}")).collect();
    let target = place.target.as_ref().map_or_else(String::new, |target| format!("; a link to {target}"));
    format!(
        "notAfter {} ({age}), CN={}{organizations}, issuer CN={}{target}",
        certificate.not_after.human(),
        certificate.common_name,
        certificate.issuer_common_name
    )
}

pub(super) fn component(role: Role) -> Component {
    match role {
        Role::KubeletClient | Role::KubeletServing => Component::Kubelet,
        Role::ClusterCa | Role::Other => Component::Node,
        _ => Component::ControlPlane,
    }
}

/// In whose use it is.
pub(super) fn name(place: &Place) -> String {
    let file = place.path.rsplit('/').next().unwrap_or_default();
    match place.role {
        Role::KubeletClient => "the kubelet's client certificate",
        Role::KubeletServing => "the kubelet's serving certificate",
        Role::ClusterCa => "the cluster's CA",
        Role::ApiServer => "the API server's serving certificate",
        Role::ApiServerKubeletClient => "the API server's client certificate for kubelets",
        Role::ApiServerEtcdClient => "the API server's client certificate for etcd",
        Role::FrontProxyCa => "the front proxy's CA",
        Role::FrontProxyClient => "the front proxy's client certificate",
        Role::EtcdCa => "etcd's CA",
        Role::EtcdServer => "etcd's serving certificate",
        Role::EtcdPeer => "etcd's peer certificate",
        Role::EtcdHealthcheckClient => "kubeadm's client certificate for etcd",
        Role::KubeconfigClient => return format!("the client certificate of {file}"),
        Role::Other => return format!("the certificate {file}"),
    }
    .to_owned()
}

/// What a bad one stops; empty where we do not know what it is for.
pub(super) fn stops(facts: &Facts, place: &Place) -> String {
    match place.role {
        Role::KubeletClient if better(facts, place).is_some() => "the kubelet, which lives on its rotated one, will not start again",
        Role::KubeletClient => "the API server refuses the kubelet",
        Role::KubeletServing => "who verifies it gets no logs, no exec and no metrics of this node",
        Role::ClusterCa => "nothing it signed is trusted any more",
        Role::ApiServer => "its clients refuse the API server",
        Role::ApiServerKubeletClient => "the kubelets refuse the API server: no logs, no exec",
        Role::ApiServerEtcdClient => "etcd refuses the API server",
        Role::FrontProxyCa | Role::FrontProxyClient => "aggregated APIs such as metrics.k8s.io refuse the API server",
        Role::EtcdCa => "etcd, its peers and the API server refuse each other",
        Role::EtcdServer => "the API server refuses etcd",
        Role::EtcdPeer => "etcd's members refuse each other",
        Role::EtcdHealthcheckClient => "kubeadm cannot ask etcd",
        Role::KubeconfigClient => match place.path.rsplit('/').next() {
            Some("controller-manager.conf") => "the API server refuses the controller manager",
            Some("scheduler.conf") => "the API server refuses the scheduler",
            _ => "the API server refuses whoever uses it",
        },
        Role::Other => "",
    }
    .to_owned()
}

/// Another client certificate of the kubelet, the rotated one, that is valid.
pub(super) fn better<'a>(facts: &'a Facts, place: &Place) -> Option<&'a Place> {
    let mut places = facts.certificates.known().into_iter().flat_map(|certificates| &certificates.places);
    let rotated = places.find(|other| other.role == Role::KubeletClient && other.in_use && other.path != place.path && is_rotated(other))?;
    let leaf = rotated.leaf()?;
    let other = place.leaf().is_none_or(|own| own.serial != leaf.serial) && leaf.organizations.iter().any(|group| group == "system:nodes");
    (other && leaf.not_after >= facts.certificates_at && leaf.not_before <= facts.certificates_at).then_some(rotated)
}

/// The node's name in the cluster, where it was given. A hostname alone does not tell it: a cloud's node may be called otherwise.
pub(super) fn sure_name(facts: &Facts) -> Option<&Sourced<String>> {
    facts.node.name.as_ref().filter(|name| !["/proc/sys/kernel/hostname", "/etc/hostname"].contains(&name.source.as_str()))
}

/// The program that reads it at its start.
pub(super) fn reader(facts: &Facts, place: &Place) -> Option<&'static str> {
    Some(match place.role {
        Role::KubeletClient | Role::KubeletServing => "the kubelet",
        Role::ClusterCa if place.entry.is_some() => "the kubelet",
        Role::ClusterCa if !facts.node.control_plane => return None,
        Role::ClusterCa | Role::ApiServer | Role::ApiServerKubeletClient | Role::ApiServerEtcdClient | Role::FrontProxyCa | Role::FrontProxyClient => {
            "kube-apiserver"
        }
        Role::EtcdCa | Role::EtcdServer | Role::EtcdPeer => "etcd",
        Role::KubeconfigClient if place.path.ends_with("/controller-manager.conf") => "kube-controller-manager",
        Role::KubeconfigClient if place.path.ends_with("/scheduler.conf") => "kube-scheduler",
        Role::EtcdHealthcheckClient | Role::KubeconfigClient | Role::Other => return None,
    })
}

/// The kubelet replaces it by itself; what stands in a kubeconfig or in `tlsCertFile` stays as it is.
fn is_rotated(place: &Place) -> bool {
    place.path.ends_with("/kubelet-client-current.pem") || place.path.ends_with("/kubelet-server-current.pem")
}

/// Seconds left, if the certificate is valid now and will end within `days`, and that is somebody's worry.
pub(super) fn ends_within(facts: &Facts, place: &Place, certificate: &Certificate, days: u32) -> Option<i64> {
    let left = certificate.not_after.seconds_since(facts.certificates_at);
    let in_time = rotates(facts, place) && !is_overdue(facts, place, certificate);
    // certificate-embedded-stale tells of one that the kubelet does not live on any more.
    let superseded = place.role == Role::KubeletClient && better(facts, place).is_some();
    (left >= 0 && left < i64::from(days) * 86_400 && !in_time && !superseded && !is_replaced(place, certificate)).then_some(left)
}

/// A kubelet that rotates renews at 70 to 90 % of the life: past that its rotation has failed
/// (client-go `util/certificate/certificate_manager.go` `nextRotationDeadline`).
pub(super) fn is_overdue(facts: &Facts, place: &Place, certificate: &Certificate) -> bool {
    let left = certificate.not_after.seconds_since(facts.certificates_at);
    let life = certificate.not_after.seconds_since(certificate.not_before);
    rotates(facts, place) && is_leaf(place, certificate) && left >= 0 && left <= life / 10
}

/// The kubelet renews it by itself.
fn rotates(facts: &Facts, place: &Place) -> bool {
    is_rotated(place) && facts.kubelet.known().is_some_and(|kubelet| kubelet.rotate_certificates.value || place.role == Role::KubeletServing)
}

/// The one a program presents: the first of its file.
pub(super) fn is_leaf(place: &Place, certificate: &Certificate) -> bool {
    place.leaf().is_some_and(|leaf| std::ptr::eq(leaf, certificate))
}

/// In a file of several CAs an old one does no harm once another of its name lasts longer.
pub(super) fn is_replaced(place: &Place, certificate: &Certificate) -> bool {
    let lasts_longer = |other: &Certificate| other.common_name == certificate.common_name && other.not_after > certificate.not_after;
    place.role.is_ca() && place.certificates().iter().any(lasts_longer)
}

/// What `kubeadm certs renew` calls it (`cmd/kubeadm/app/phases/certs/renewal`).
fn kubeadm_name(place: &Place) -> Option<&str> {
    Some(match place.role {
        _ if !place.path.starts_with("/etc/kubernetes/") => return None,
        Role::ApiServer => "apiserver",
        Role::ApiServerKubeletClient => "apiserver-kubelet-client",
        Role::ApiServerEtcdClient => "apiserver-etcd-client",
        Role::FrontProxyClient => "front-proxy-client",
        Role::EtcdServer => "etcd-server",
        Role::EtcdPeer => "etcd-peer",
        Role::EtcdHealthcheckClient => "etcd-healthcheck-client",
        Role::KubeconfigClient => match place.path.rsplit('/').next() {
            Some(file @ ("admin.conf" | "super-admin.conf" | "controller-manager.conf" | "scheduler.conf")) => file,
            _ => return None,
        },
        _ => return None,
    })
}

/// The static pod that has to be started again to use it.
fn static_pod(place: &Place) -> Option<&'static str> {
    match place.role {
        Role::ApiServer | Role::ApiServerKubeletClient | Role::ApiServerEtcdClient | Role::FrontProxyClient => Some("kube-apiserver"),
        Role::EtcdServer | Role::EtcdPeer => Some("etcd"),
        Role::KubeconfigClient if place.path.ends_with("/controller-manager.conf") => Some("kube-controller-manager"),
        Role::KubeconfigClient if place.path.ends_with("/scheduler.conf") => Some("kube-scheduler"),
        _ => None,
    }
}

/// The commands that mend these places.
fn commands(facts: &Facts, mend: &Mend, places: &[&Place]) -> Vec<String> {
    match mend {
        Mend::KubeletClient | Mend::Kubeadm => kubeadm(facts, places),
        Mend::KubeletServing => places.iter().flat_map(|place| kubelet_serving(place)).collect(),
        Mend::Ca(_) => places.first().map_or_else(Vec::new, |place| ca(facts, &place.path)),
        Mend::CaFile(path) => ca(facts, path),
        Mend::Rancher(name) => vec![format!("systemctl restart {}", rancher_unit(facts, name))],
        Mend::MicroK8s => vec!["microk8s refresh-certs --cert server.crt".to_owned(), "microk8s refresh-certs --cert front-proxy-client.crt".to_owned()],
        Mend::Clock => vec!["timedatectl status".to_owned(), "chronyc makestep || systemctl restart systemd-timesyncd".to_owned()],
        Mend::Other(path) => vec![format!("openssl x509 -noout -subject -issuer -dates -in {}", quote(path))],
    }
}

/// The commands that make another in the place of one that cannot be used.
pub(super) fn replacement(facts: &Facts, place: &Place) -> Vec<String> {
    let key = place.path.replace(".crt", ".key");
    let old = if place.state == PlaceState::Missing { Vec::new() } else { vec![aside(&place.path)] };
    match (mend(facts, place), kubeadm_name(place)) {
        (Mend::KubeletClient | Mend::Kubeadm, _) if is_rotated(place) && has_a_kubeconfig_certificate(facts, place) => {
            vec![aside(&place.path), "systemctl restart kubelet".to_owned()]
        }
        (Mend::Kubeadm, Some(name)) => {
            let mut commands = old;
            match name.strip_suffix(".conf") {
                Some(name) => commands.push(format!("kubeadm init phase kubeconfig {name}")),
                // kubeadm makes what is missing, certificate and key together; it takes extra names from the configuration it was given.
                None => commands.extend([aside(&key), format!("kubeadm init phase certs {name}  # with --config, if the cluster was made with one")]),
            }
            commands.extend(static_pod(place).map(|pod| restart(&format!("component={pod}"))));
            commands
        }
        (Mend::KubeletServing, _) if place.path.ends_with("/kubelet.crt") => vec![aside(&place.path), aside(&key), "systemctl restart kubelet".to_owned()],
        (mend, _) => commands(facts, &mend, &[place]),
    }
}

/// The kubelet can start with its kubeconfig's own certificate, and makes a new copy of it.
fn has_a_kubeconfig_certificate(facts: &Facts, rotated: &Place) -> bool {
    let places = facts.certificates.known().into_iter().flat_map(|certificates| &certificates.places);
    let mut own = places.filter(|place| place.role == Role::KubeletClient && place.path != rotated.path).filter_map(Place::leaf);
    own.any(|leaf| leaf.not_after > facts.certificates_at)
}

/// New certificates first, then the kubelet with its new kubeconfig; at last the static pods stop, and the kubelet starts them again
/// with the new ones: a manifest that is moved away and back does nothing while the kubelet is down.
fn kubeadm(facts: &Facts, places: &[&Place]) -> Vec<String> {
    let mut commands = Vec::new();
    let mut names: Vec<_> = places.iter().filter_map(|place| kubeadm_name(place)).collect();
    names.dedup();
    match names.as_slice() {
        [] => {}
        [one] => commands.push(format!("kubeadm certs renew {one}")),
        _ => commands.push("kubeadm certs renew all".to_owned()),
    }
    let kubelet = places.iter().find(|place| place.role == Role::KubeletClient);
    commands.extend(kubelet.into_iter().flat_map(|place| kubelet_client(facts, place)));
    let mut pods: Vec<_> = places.iter().filter_map(|place| static_pod(place)).collect();
    pods.sort_unstable();
    pods.dedup();
    match pods.as_slice() {
        [] => {}
        [one] => commands.push(restart(&format!("component={one}"))),
        _ => commands.push(restart("tier=control-plane")),
    }
    commands
}

/// Stops static pods, which the kubelet starts again at once (kubeadm's labels).
fn restart(label: &str) -> String {
    format!("crictl pods --namespace kube-system --label {label} --quiet | xargs -r crictl stopp")
}

/// A new kubeconfig for the kubelet, or the old one pointed to the rotated certificate where that is valid.
/// The kubelet prefers its own copy of an earlier certificate while that lasts: it is moved out of the way.
fn kubelet_client(facts: &Facts, place: &Place) -> Vec<String> {
    if better(facts, place).is_some() {
        return vec!["kubeadm init phase kubelet-finalize all && systemctl restart kubelet".to_owned()];
    }
    let mut places = facts.certificates.known().into_iter().flat_map(|certificates| &certificates.places);
    let copy = places.find(|place| place.role == Role::KubeletClient && is_rotated(place));
    facts.new_kubelet_conf_and(copy.map(|copy| aside(&copy.path)).as_deref())
}

/// Out of the way, and not lost.
fn aside(path: &str) -> String {
    format!("mv {} {}", quote(path), quote(&format!("{path}.old")))
}

/// Without its serving certificate the kubelet makes or asks for another at its start.
fn kubelet_serving(place: &Place) -> Vec<String> {
    if is_rotated(place) {
        return vec![
            format!("{} && systemctl restart kubelet", aside(&place.path)),
            "kubectl get csr  # approve the one of this node: kubectl certificate approve NAME".to_owned(),
        ];
    }
    vec![
        format!("openssl x509 -noout -subject -issuer -dates -in {}  # tlsCertFile: whoever made it has to renew it", quote(&place.path)),
        "systemctl restart kubelet".to_owned(),
    ]
}

/// kubeadm renews no CA. Signed again with the same key, it keeps everything it ever signed valid.
fn ca(facts: &Facts, path: &str) -> Vec<String> {
    let file = path.strip_suffix(".crt").map_or("/etc/kubernetes/pki/ca.crt", |_| path);
    let new = format!("/root/{}", file.trim_start_matches("/etc/kubernetes/pki/").replace('/', "-"));
    let key = quote(&file.replace(".crt", ".key"));
    let (file, new) = (quote(file), quote(&new));
    let first = if facts.node.control_plane {
        format!("openssl x509 -in {file} -signkey {key} -days 3650 -out {new}")
    } else {
        format!("scp CONTROL-PLANE:{file} {new}")
    };
    vec![
        first,
        format!("test -s {new} && install -m 644 {new} {file}"),
        "# then on every node and in every kubeconfig: kubernetes.io, Manual Rotation of CA Certificates".to_owned(),
    ]
}

/// A server has the cluster's own certificates; on an agent only those of `agent/` lie.
fn rancher_unit(facts: &Facts, name: &str) -> &'static str {
    let server = format!("/var/lib/rancher/{name}/server/");
    let is_server = facts.certificates.known().is_some_and(|certificates| certificates.places.iter().any(|place| place.path.starts_with(&server)));
    match (name, is_server) {
        ("k3s", true) => "k3s",
        ("k3s", false) => "k3s-agent",
        (_, true) => "rke2-server",
        (_, false) => "rke2-agent",
    }
}
