//! What the certificate checks share: which certificates are judged, their names, and the commands that renew them.

use crate::facts::certificates::{Certificate, Place, Role};
use crate::facts::timestamp::human_span;
use crate::facts::{Blind, Facts};
use crate::finding::{Component, Finding};

/// Judges every certificate in use: the one presented, or for a CA each of its file.
pub(super) fn each(facts: &Facts, judge: impl Fn(&Place, &Certificate) -> Option<Finding>) -> Result<Vec<Finding>, Blind> {
    let certificates = facts.certificates.ok()?;
    Ok(certificates.places.iter().filter(|place| place.in_use).filter_map(|place| judge(place, place.leaf()?)).collect())
}

/// A finding about a certificate, with what it says of itself.
pub(super) fn finding(facts: &Facts, place: &Place, leaf: &Certificate, what: &str) -> Finding {
    let organizations: String = leaf.organizations.iter().map(|o| format!(", O={o}")).collect();
    let saw = format!("notAfter {}, CN={}{organizations}, serial {}", leaf.not_after.human(), leaf.common_name, leaf.serial);
    let mut finding = Finding::new(component(place.role), place.path.clone(), format!("{} {what}", name(place.role))).evidence(place.location(), saw);
    if let Some(target) = &place.target {
        finding = finding.evidence(place.path.clone(), format!("links to {target}"));
    }
    renewal(facts, place).into_iter().fold(finding, Finding::remedy)
}

pub(super) fn component(role: Role) -> Component {
    match role {
        Role::KubeletClient | Role::KubeletServing => Component::Kubelet,
        Role::ClusterCa | Role::Other => Component::Node,
        _ => Component::ControlPlane,
    }
}

fn name(role: Role) -> &'static str {
    match role {
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
        Role::EtcdHealthcheckClient => "etcd's health check certificate",
        Role::KubeconfigClient => "the client certificate of a kubeconfig",
        Role::Other => "a certificate",
    }
}

/// The commands that replace it on a kubeadm cluster (`kubeadm certs renew --help`).
fn renewal(facts: &Facts, place: &Place) -> Vec<String> {
    let restart = "restart the static pod: mv its manifest out of /etc/kubernetes/manifests, wait 20 s, mv it back";
    let renew = |what: &str| vec![format!("kubeadm certs renew {what}  # then {restart}")];
    match place.role {
        Role::KubeletClient => facts.new_kubelet_conf(),
        Role::KubeletServing => vec![format!("rm {0} {1} && systemctl restart kubelet", place.path, place.path.replace(".crt", ".key"))],
        Role::ApiServer => renew("apiserver"),
        Role::ApiServerKubeletClient => renew("apiserver-kubelet-client"),
        Role::ApiServerEtcdClient => renew("apiserver-etcd-client"),
        Role::FrontProxyClient => renew("front-proxy-client"),
        Role::EtcdServer => renew("etcd-server"),
        Role::EtcdPeer => renew("etcd-peer"),
        Role::EtcdHealthcheckClient => renew("etcd-healthcheck-client"),
        Role::KubeconfigClient => renew(place.path.rsplit('/').next().unwrap_or_default()),
        Role::ClusterCa | Role::FrontProxyCa | Role::EtcdCa => {
            vec!["kubeadm init phase certs --help  # a CA is replaced by hand: kubernetes.io, Manual Rotation of CA Certificates".to_owned()]
        }
        Role::Other => Vec::new(),
    }
}

/// Days left, if the certificate is valid now and will end within `days`.
/// A kubelet that rotates renews at 70 to 90 % of the life: before 90 % its certificate is nobody's worry
/// (client-go util/certificate/certificate_manager.go `nextRotationDeadline`).
pub(super) fn ends_within(facts: &Facts, place: &Place, leaf: &Certificate, days: u32) -> Option<String> {
    let left = leaf.not_after.seconds_since(facts.certificates_at);
    let life = leaf.not_after.seconds_since(leaf.not_before);
    let rotates = place.role == Role::KubeletClient && facts.kubelet.known().is_some_and(|kubelet| kubelet.rotate_certificates.value);
    let in_time = rotates && left > life / 10;
    (left > 0 && left < i64::from(days) * 86_400 && !in_time).then(|| human_span(left))
}
