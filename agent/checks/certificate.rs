//! What the certificate checks share: which certificates are judged, and one finding for all that one procedure mends.

mod mend;

use crate::facts::certificates::{Certificate, Place, Role};
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Facts, Sourced, Timestamp};
use crate::finding::{Component, Finding};
pub(super) use mend::{Mend, replacement, start_again};

/// When the harm is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    Done,
    Ahead,
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
    find_by(facts, harm, |place| mend::of(facts, place), judge)
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
    let commands = if first.wrong.replace { places.iter().flat_map(|place| replacement(facts, place)).collect() } else { mend::commands(facts, mend, &places) };
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
